"""A `receive` that lasts longer than a lease: what it brings belongs to others by then."""

from __future__ import annotations

from collections.abc import Sequence

from kernel_memory import MemoryResults, MemoryTransport, Space

from kernel import Kernel
from kernel.clock import FakeClock
from kernel.ports import Delivery
from kernel.worker.worker import Worker


class Slow(MemoryTransport):
    """Takes 61 seconds for the first message, as a service that hangs after it has taken it."""

    def __init__(self, space: Space, clock: FakeClock) -> None:
        super().__init__(space, clock=clock)
        self.slow_clock = clock
        self.others = MemoryTransport(space, clock=clock)
        self.worker: Worker | None = None
        self.taken: list[Delivery] = []

    def receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        deliveries = super().receive(queues, limit, timeout)
        if deliveries and not self.taken:
            self.slow_clock.advance(61.0)
            self.others.open()
            self.taken = self.others.receive(queues, 1, 0.0)
            assert self.worker
            self.worker.stop()
        return deliveries


def test_what_a_receive_brings_after_the_end_of_its_lease_is_not_started() -> None:
    clock = FakeClock()
    space = Space()
    app = Kernel("slow", clock=clock)
    transport = Slow(space, clock)
    app.use(transport=transport, results=MemoryResults(space, clock=clock))
    ran: list[int] = []
    app.task(name="work")(ran.append).delay(1)
    transport.worker = Worker(app)
    transport.worker.run()
    assert len(transport.taken) == 1
    assert ran == []
