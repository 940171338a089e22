"""A transport that holds messages as long as its connection lives: no renewals, and the same guarantees."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from engine.harness import PATIENCE, Engine
from kernel_memory import MemoryCoordination, MemoryResults, MemoryTransport
from kernel_memory.space import Space
from support import eventually

from kernel import Kernel, Retry
from kernel.errors import HardTimeLimitExceeded
from kernel.outcome import name_of

Make = Callable[..., Engine]

#: Pools that end a task at its hard limit without their process.
ENDS_IN_PLACE = ("asyncio", "gevent", "eventlet")


@pytest.fixture(params=["native", "emulated"])
def engine(request: pytest.FixtureRequest, engines: Make, pool: str) -> Engine:
    """On the adapter itself, and on one with all decorators around it."""
    more = ",priorities,dedup,delay,commit,counts,wake" if request.param == "emulated" else ""
    return engines(pool, query=f"mask=lease{more}")


def test_tasks_run_and_retry_and_fail(engine: Engine) -> None:
    tries: list[int] = []

    @engine.task(max_retries=3)
    def work(number: int) -> int:
        if number == 7:
            tries.append(1)
            if len(tries) < 3:
                raise Retry(countdown=0.0)
        if number == 8:
            raise ValueError("no")
        return number

    results = [work.delay(number) for number in range(9)]
    with engine.run():
        assert [engine.get(result) for result in results[:8]] == list(range(8))
        assert engine.fails(results[8]).type == "ValueError"
        engine.empty()
    assert len(tries) == 3


def test_what_waits_behind_a_long_one_is_given_back(engine: Engine) -> None:
    """And runs elsewhere: no lease has to run out for it."""
    begun, go = threading.Event(), threading.Event()

    @engine.task
    def quick() -> str:
        return "quick"

    @engine.task
    def slow() -> str:
        begun.set()
        engine.wait(go)
        return "slow"

    results = [quick.delay() for _ in range(20)]
    slots = 1 if engine.pool == "solo" else 4
    long = [slow.delay() for _ in range(slots)]
    results += [quick.delay() for _ in range(20)]
    with engine.run(), engine.run():
        assert begun.wait(PATIENCE)
        assert [engine.get(result) for result in results] == ["quick"] * 40
        go.set()
        assert [engine.get(result) for result in long] == ["slow"] * slots
        engine.empty()


@pytest.mark.parametrize("quit", [False, True], ids=["drains", "quits"])
def test_a_worker_that_stops_ends_or_gives_back_what_runs(engine: Engine, quit: bool) -> None:
    begun, go = threading.Event(), threading.Event()
    runs: list[int] = []

    @engine.task
    def work() -> str:
        runs.append(1)
        begun.set()
        engine.wait(go)
        return "done"

    result = work.delay()
    running = engine.start()
    assert begun.wait(PATIENCE)
    if quit:
        running.stop(quit=True)
        go.set()
        assert (engine.size().ready, engine.size().in_flight) == (1, 0)
        with engine.run():
            assert engine.get(result) == "done"
    else:
        running.worker.stop()
        go.set()
        running.join()
        assert engine.get(result) == "done"
    engine.empty()
    assert len(runs) == 1 + quit


def test_a_hard_limit_is_kept_in_place(engine: Engine) -> None:
    if engine.pool not in ENDS_IN_PLACE:
        pytest.skip("needs a process of its own")

    @engine.task(time_limit=0.1)
    def endless() -> None:
        engine.wait(threading.Event())

    @engine.task(time_limit=0.1)
    async def aendless() -> None:
        import asyncio

        await asyncio.sleep(PATIENCE)

    result = (aendless if engine.pool == "asyncio" else endless).delay()
    with engine.run():
        assert engine.fails(result).type == name_of(HardTimeLimitExceeded)
        engine.empty()


def test_a_process_that_ends_for_a_hard_limit_has_no_leases_to_cut_short(
    engines: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last steps before the end do not fail on the method that is not there: it would be a worker that stays."""
    engine = engines("threads", query="mask=lease,priorities")
    begun, go, ended = threading.Event(), threading.Event(), threading.Event()

    @engine.task
    def work() -> None:
        begun.set()
        engine.wait(go)

    work.delay()
    with engine.run() as running:
        assert begun.wait(PATIENCE)
        (job,) = running.worker.runner.active
        running.worker.housekeeper._end_process(job, ended.set)
        assert ended.is_set()
        go.set()


class Connections:
    """An engine whose worker's connection the test can cut, which loses all its receipts."""

    def __init__(self, engines: Make, pool: str) -> None:
        self.space = Space()
        self.transports: list[MemoryTransport] = []
        self.engine = engines(pool, use=self._use)

    def _use(self, app: Kernel) -> None:
        self.transports.append(MemoryTransport(self.space, mask={"lease", "commit"}))
        app.use(self.transports[-1], MemoryResults(self.space), MemoryCoordination(self.space))

    def cut(self) -> None:
        """The newest transport loses its connection, and has a new one at once."""
        with self.space.lock:
            self.space.queues.abandon(self.transports[-1]._owner)


@pytest.mark.parametrize("ending", ["returns", "retries", "fails"])
def test_an_execution_whose_connection_was_lost_is_fenced_by_its_heir(engines: Make, pool: str, ending: str) -> None:
    cut = Connections(engines, pool)
    engine = cut.engine
    begun, go, again, end = threading.Event(), threading.Event(), threading.Event(), threading.Event()
    runs: list[Any] = []

    @engine.task(dead_letter=True)
    def work() -> str:
        runs.append(1)
        if len(runs) > 1:
            again.set()
            engine.wait(end)
            return "heir"
        begun.set()
        engine.wait(go)
        if ending == "retries":
            raise Retry(countdown=0.0)
        if ending == "fails":
            raise ValueError("first")
        return "first"

    result = work.delay()
    first = engine.start()
    assert begun.wait(PATIENCE)
    first.worker.stop()
    cut.cut()
    with engine.run():
        assert again.wait(PATIENCE)
        go.set()
        first.join()
        end.set()
        assert engine.get(result) == "heir"
        engine.empty()
    assert len(runs) == 2
    assert engine.total("default.dead") == 0


def test_an_outcome_that_came_first_stands_and_the_redelivery_is_acknowledged_unseen(engines: Make, pool: str) -> None:
    cut = Connections(engines, pool)
    engine = cut.engine
    begun, go = threading.Event(), threading.Event()
    runs: list[int] = []

    @engine.task
    def work() -> str:
        runs.append(1)
        begun.set()
        engine.wait(go)
        return "first"

    result = work.delay()
    first = engine.start()
    assert begun.wait(PATIENCE)
    first.worker.stop()
    cut.cut()
    go.set()
    first.join()
    assert engine.get(result) == "first"
    assert engine.size().ready == 1, "its ack was lost"
    with engine.run():
        engine.empty()
    assert runs == [1]


def test_a_worker_that_waits_costs_no_calls(engines: Make) -> None:
    """Arithmetic with a lease that never ends makes neither a loop without a pause nor a pause without an end."""
    engine = engines("threads", query="mask=lease")
    with engine.run(health_interval=0.05) as running:
        keeper = running.worker.housekeeper
        assert keeper._idle_for == 0.05
        looks: list[float] = []
        tick = keeper.tick

        def counted() -> None:
            looks.append(time.monotonic())
            tick()

        keeper.tick = counted  # type: ignore[method-assign]
        eventually(lambda: len(looks) >= 3, PATIENCE)
        assert looks[2] - looks[0] >= 0.1
