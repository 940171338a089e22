"""A lease that is lost between the record of an outcome and its settlement: what it causes is sent by others."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from kernel_memory import MemoryResults, MemoryTransport, Space

from kernel import Kernel
from kernel.clock import FakeClock
from kernel.errors import Reject
from kernel.ports import Delivery, Outgoing
from kernel.worker.worker import Worker


class Sleepy(MemoryTransport):
    """Once armed, sleeps through every lease just before it settles, while others take what it held."""

    def __init__(self, space: Space, clock: FakeClock) -> None:
        super().__init__(space, clock=clock)
        self.own_clock = clock
        self.others = MemoryTransport(space, clock=clock)
        self.others.open()
        self.armed = False
        self.taken: list[Delivery] = []

    def sleep(self) -> None:
        if self.armed:
            self.armed = False
            self.own_clock.advance(61.0)
            self.taken = self.others.receive(["default"], 100, 0.0)

    def commit(self, batch: Sequence[tuple[Delivery, Sequence[Outgoing]]]) -> list[Delivery]:
        self.sleep()
        return super().commit(batch)

    def send(self, batch: Sequence[Outgoing]) -> None:
        self.sleep()
        super().send(batch)


@pytest.mark.parametrize("acks_late", [True, False])
def test_of_a_lost_lease_nothing_is_sent_whatever_is_settled_beside_it(acks_late: bool) -> None:
    clock = FakeClock()
    space = Space()
    app = Kernel("lost", clock=clock, prefetch_max=100)
    transport = Sleepy(space, clock)
    app.use(transport=transport, results=MemoryResults(space, clock=clock))
    ran: list[str] = []

    @app.task(name="work")
    def work(what: str) -> None:
        ran.append(what)
        clock.advance(0.0001)  # a measured runtime, so that several are taken at once
        if what == "dead":
            raise Reject("no")
        if what == "last":
            transport.armed = True
            worker.stop()

    app.send_many(work, [("plain",)] * 20)
    work.delay("dead")
    work.apply_async(("last",), acks_late=acks_late)
    worker = Worker(app)
    worker.run()
    assert ran[-2:] == ["dead", "last"]
    assert transport.taken
    assert transport.others.sizes(["default.dead"])[0].ready == 0
