"""A worker that slept: what it had fetched belongs to others by now, and it starts nothing of it."""

from __future__ import annotations

from kernel_memory import MemoryResults, Space, MemoryTransport

from kernel import Kernel
from kernel.clock import FakeClock
from kernel.worker.worker import Worker


def test_what_was_fetched_before_a_long_sleep_is_not_started() -> None:
    clock = FakeClock()
    space = Space()
    app = Kernel("slept", clock=clock, prefetch_max=100)
    app.use(transport=MemoryTransport(space, clock=clock), results=MemoryResults(space, clock=clock))
    ran: list[int] = []
    workers: list[Worker] = []

    @app.task(name="work")
    def work(number: int) -> None:
        ran.append(number)
        if number == 10:
            clock.advance(61.0)  # beyond the lease of 60 s: a SIGSTOP, a suspended laptop
            others = MemoryTransport(space, clock=clock)
            others.open()
            assert len(others.receive(["default"], 100, 0.0)) >= 5
            workers[0].stop()

    app.send_many(work, [(number,) for number in range(20)])
    workers.append(Worker(app))
    workers[0].run()
    assert ran == list(range(11))
