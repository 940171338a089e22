"""A message in the hands of a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from kernel import envelope as wire
from kernel.current import Place
from kernel.envelope import Envelope
from kernel.outcome import Entry, Outcome
from kernel.ports import Delivery, Outgoing
from kernel.ports.results import Rank

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel.task import Task
    from kernel.worker.plan import Plan


class Job(msgspec.Struct, eq=False):
    """One delivery, from intake to settlement. Equal only to itself, so that sets of jobs cost no comparison."""

    place: ClassVar[Place] = "worker"

    delivery: Delivery
    envelope: Envelope
    plan: Plan
    #: Monotonic time until which the lease is surely held.
    held_until: float
    node: str
    #: Decodes the body.
    loads: Callable[[bytes], Any]
    #: The body is a coroutine function and the pool has a loop of its own.
    coroutine: bool = False
    #: Keep the result, for so many seconds.
    store: bool = False
    ttl: float = 0.0
    #: It belongs to a workflow, or wants to become one: what comes after it is looked for.
    flow: bool = False
    #: Ids of what it has sent while it runs.
    children: list[str] | None = None
    #: Workflows that it has added to the group it is a member of.
    added: list[Any] | None = None
    #: Acknowledge just before the start.
    early: bool = False
    #: Seconds; 0.0 none.
    soft_limit: float = 0.0
    hard_limit: float = 0.0
    #: Monotonic times of the body; 0.0 before.
    started_at: float = 0.0
    ended_at: float = 0.0
    #: The body runs: only then may something be raised in it.
    interruptible: bool = False
    #: What the housekeeper asked the pool to raise.
    interrupted: BaseException | None = None
    #: Whether the body began to run at all, and whether it came to its end.
    began: bool = False
    returned: bool = False
    outcome: Outcome | None = None
    #: A record that stands instead of what this execution came to.
    standing: Entry | None = None
    #: A message that goes on instead of this one, as it is.
    onward: Outgoing | None = None
    #: Acknowledged already: before its start, or because it was handed on.
    acked: bool = False
    #: What its outcome causes is stored: when its acknowledgement is tried again, that is not sent again.
    sent: bool = False
    #: A copy of its message is on its way, for the case that this execution comes to nothing.
    handed: bool = False
    #: What it has told while it runs: a `Live`, once it has told something.
    live: Any = None
    #: Its lease is known to be lost: it must change nothing any more.
    lost: bool = False

    @property
    def task(self) -> Task[..., Any, Any]:
        """The task that runs."""
        task = self.plan.task
        assert task is not None
        return task

    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """Its arguments, decoded anew."""
        args, kwargs = self.loads(self.envelope.body)
        return args, kwargs

    @property
    def queue(self) -> str:
        """The queue it was sent to."""
        home: str = self.envelope.extra.get(wire.HOME) or self.delivery.queue
        return home

    @property
    def redelivered(self) -> int:
        """Earlier deliveries that ended without ack or release; -1: the transport cannot tell."""
        return self.delivery.redelivered

    @property
    def rank(self) -> Rank:
        """The rank of everything this delivery writes."""
        envelope = self.envelope
        fence = max(0, self.delivery.redelivered) + envelope.extra.get(wire.FENCE, 0)
        return (envelope.generation, envelope.attempt, fence)
