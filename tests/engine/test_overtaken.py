"""A worker that slept: what it had fetched belongs to others by now, and it starts nothing of it."""

from __future__ import annotations

import pytest
from kernel_memory import MemoryResults, MemoryTransport, Space

from kernel import Kernel
from kernel.clock import FakeClock
from kernel.configuration.settings import Tasks
from kernel.envelope import Envelope
from kernel.outcome import GiveBack, Ok
from kernel.ports import Delivery
from kernel.serializers.json_ import JsonSerializer
from kernel.worker.job import Job
from kernel.worker.plan import Plan
from kernel.worker.runner import Runner
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


@pytest.mark.parametrize("held", [False, True])
def test_a_job_whose_lease_may_have_run_out_starts_only_when_it_is_renewed(held: bool) -> None:
    clock = FakeClock()
    app = Kernel("alone", clock=clock)
    ran: list[int] = []
    task = app.task(name="work")(ran.append)
    plan = Plan("work", task, Tasks(), JsonSerializer())
    envelope = Envelope("id", "work", b"[[1],{}]", "json")
    job = Job(Delivery(b"", "q", None), envelope, plan, clock.monotonic() - 0.001, "node", JsonSerializer().loads)
    ended: list[Job] = []
    asked: list[Job] = []

    def still_held(job: Job) -> bool:
        asked.append(job)
        return held

    runner = Runner(clock, ended.append, still_held, lambda job: True, lambda job: True)
    runner.run(job)
    assert asked == ended == [job]
    assert ran == ([1] if held else [])
    assert type(job.outcome) is (Ok if held else GiveBack)
    assert not runner.active
