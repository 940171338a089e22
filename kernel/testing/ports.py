"""The ports of an application in test mode: the memory adapter, by the clock of the test, and watched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from kernel_memory import Limits, MemoryCoordination, MemoryResults, MemorySchedules, MemoryTransport, Space

from kernel.envelope import dead_queue
from kernel.errors import ResultTimeout
from kernel.opened import Given
from kernel.outcome import FINAL, decode_entry
from kernel.ports import Delivery, Outgoing
from kernel.testing.clock import VirtualClock

#: Time moves by leaps here, and no leap is to take a message from whoever runs it; seconds.
LEASE = 1e9
#: Between two looks while somebody else runs what is waited for, in seconds of real time.
GLANCE = 0.05


class Told(Protocol):
    """Who is told of what happens at the ports."""

    def sent(self, messages: Sequence[Outgoing]) -> None:
        """These are stored now; their sender waits."""

    def helps(self) -> bool:
        """Somebody waits for a result: run what may bring it, if that is the mode. Whether it may still come."""


class MemoryPorts(Given):
    """Adapters in a space of their own that stay open until nobody has them any more: an application that is closed
    may be used again, and results that it gave out can be read."""

    __slots__ = ("watched",)

    def __init__(self, clock: VirtualClock, told: Told) -> None:
        space = Space()
        #: The transport, as what it is.
        self.watched = WatchedTransport(space, clock, told)
        super().__init__(
            self.watched,
            WatchedResults(space, clock, told),
            LastingCoordination(space, clock),
            LastingSchedules(space, clock=clock),
        )

    def any(self) -> bool:
        """Whether there is one that is closed with the application."""
        return False


class WatchedTransport(MemoryTransport):
    """Tells of what is sent, and gives a worker the messages of every queue."""

    def __init__(self, space: Space, clock: VirtualClock, told: Told) -> None:
        super().__init__(space, clock, limits=Limits(lease=LEASE))
        # What is for an exchange is kept in the queue that it is at home in, and can be run.
        self._features = replace(self._features, exchanges=True)
        self._told = told
        self.open()

    def close(self) -> None:
        """Stays open."""

    def send(self, batch: Sequence[Outgoing]) -> None:
        """Store all messages."""
        known = self.queues()
        super().send(batch)
        if any(message.queue not in known for message in batch):
            self.wake()  # whoever receives does not look into this queue yet
        self._told.sent(batch)

    def commit(self, batch: Sequence[tuple[Delivery, Sequence[Outgoing]]]) -> list[Delivery]:
        """Publish and ack."""
        lost = super().commit(batch)
        gone = {id(delivery) for delivery in lost}
        self._told.sent([out for delivery, outs in batch if id(delivery) not in gone for out in outs])
        return lost

    def receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        """Take messages of these queues, then of all others: whatever a test sends is run."""
        return super().receive([*queues, *(name for name in self.live() if name not in queues)], limit, timeout)

    def live(self) -> list[str]:
        """The queues that hold tasks."""
        known = self.queues()
        dead = {dead_queue(name) for name in known}
        return [name for name in known if name not in dead]


class WatchedResults(MemoryResults):
    """Refuses to wait for what nobody brings."""

    def __init__(self, space: Space, clock: VirtualClock, told: Told) -> None:
        super().__init__(space, clock)
        self._told = told
        self.open()

    def close(self) -> None:
        """Stays open."""

    def wait(self, keys: Sequence[str], timeout: float) -> list[bytes | None]:
        """As `get`, soon; `ResultTimeout` where nothing final is there and no worker that could bring it."""
        if any(map(_final, found := self.get(keys))):
            return found
        hope = self._told.helps()
        found = super().wait(keys, min(timeout, GLANCE) if hope else 0.0)
        if not hope and not any(map(_final, found)):
            raise ResultTimeout(
                f"nobody runs task {', '.join(keys[:3])}, so its result would never come: call run_until_idle() first, "
                f"move the clock if it is delayed, or have a worker"
            )
        return found


def _final(value: bytes | None) -> bool:
    return value is not None and decode_entry(value).state in FINAL


class LastingCoordination(MemoryCoordination):
    """Stays open."""

    def close(self) -> None:
        """Stays open."""


class LastingSchedules(MemorySchedules):
    """Stays open."""

    def close(self) -> None:
        """Stays open."""
