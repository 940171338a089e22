"""What runs here and now: the application of this process, and the job of the running task.

`current_app()` (`kernel.app`), `current_task()` (`kernel.task`) and `current_request()` (`kernel.request`) read it.
They are calls, not proxies: what they return is typed and is what it seems.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Literal, Protocol

from kernel.envelope import Envelope

#: Where a body runs: in a worker, inside of its caller, or called as a plain function.
Place = Literal["worker", "eager", "direct"]


class Running(Protocol):
    """What is known of the task that runs."""

    envelope: Envelope
    #: Where it runs.
    node: str
    #: Keep the result, for so many seconds.
    store: bool
    ttl: float
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

    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """Its arguments, decoded anew."""


class Direct:
    """A task that was called as the function that it is: there is no message."""

    __slots__ = ("envelope", "task")

    node = queue = ""
    store = False
    ttl = soft_limit = hard_limit = 0.0
    redelivered = 0
    place: Place = "direct"

    def __init__(self, task: Any) -> None:
        self.task = task
        self.envelope = Envelope("", task.name, b"", "")

    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """Nobody has kept them."""
        return [], {}


#: Set by a worker around each task, also for log records.
running: ContextVar[Running | None] = ContextVar("kernel_running", default=None)

#: The application of this process, at most one: a worker's own, else the first that was created.
application: list[Any] = []
