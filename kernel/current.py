"""What runs here and now: the application of this process, and the job of the running task.

`current_app()` (`kernel.own`), `current_task()` (`kernel.task`) and `current_request()` (`kernel.request`) read it.
They are calls, not proxies: what they return is typed and is what it seems.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Literal, Protocol

from kernel.envelope import Envelope
from kernel.ports.results import Rank

#: Where a body runs: in a worker, inside of its caller, or called as a plain function.
Place = Literal["worker", "eager", "direct"]


class Running(Protocol):
    """What is known of the task that runs."""

    envelope: Envelope
    #: Where it runs.
    node: str
    #: Ids of what it has sent.
    children: list[str] | None
    #: Workflows that it has added to the group it is a member of.
    added: list[Any] | None
    #: Keep the result, for so many seconds.
    store: bool
    ttl: float
    #: What it has told while it runs, once it has told something.
    live: Any
    #: Seconds; 0.0 none.
    soft_limit: float
    hard_limit: float

    @property
    def place(self) -> Place:
        """Who runs it."""

    @property
    def queue(self) -> str:
        """The queue that it was sent to."""

    @property
    def redelivered(self) -> int:
        """Earlier deliveries of this message that ended without ack or release; -1: the transport cannot tell."""

    @property
    def task(self) -> Any:
        """The `Task` that runs."""

    @property
    def rank(self) -> Rank:
        """The rank of everything that this run writes."""

    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """Its arguments, decoded anew."""


class Direct:
    """A task that was called as the function that it is, or is not running at all: there is no message."""

    __slots__ = ("envelope", "live", "store", "task", "ttl")

    node = queue = ""
    soft_limit = hard_limit = 0.0
    children: list[str] | None = None
    added: list[Any] | None = None
    redelivered = 0
    rank: Rank = (0, 0, 0)
    place: Place = "direct"

    def __init__(self, task: Any, id: str = "", ttl: float = 0.0) -> None:
        """With an id, the task of somebody else that something is to be said of."""
        self.task = task
        self.envelope = Envelope(id, task.name, b"", "")
        self.store = id != ""
        self.ttl = ttl
        self.live: Any = None

    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """Nobody has kept them."""
        return [], {}


#: Set by a worker around each task, also for log records.
running: ContextVar[Running | None] = ContextVar("kernel_running", default=None)

#: Most children of one task that are remembered.
MOST_CHILDREN = 1000


def note_child(parent: Running, id: str) -> None:
    """Note what the running task has sent."""
    if parent.children is None:
        parent.children = []
    if len(parent.children) < MOST_CHILDREN:
        parent.children.append(id)


#: The application of this process, at most one: a worker's own, else the first that was created.
application: list[Any] = []
