"""Running in slots and in order, waiting in line, recalling."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine
from typing import Any

from kernel.ports import PoolFeatures
from kernel_conformance.clause import Ability, claims
from kernel_conformance.pool.bench import STEP, PoolBench, TestJob


def _coroutines_by_block_on(bench: PoolBench) -> None:
    pool = bench.pool(1)

    async def answer() -> int:
        await asyncio.sleep(0)
        return 42

    job = TestJob("job", lambda job: pool.block_on(answer()))
    _run_all(bench, pool, [job])
    assert job.value == 42


NATIVE_ASYNC: Ability[PoolBench] = Ability("native_async", lambda f: f.native_async, _coroutines_by_block_on)


def _run_all(bench: PoolBench, pool: Any, jobs: list[TestJob]) -> None:
    def intake() -> None:
        pool.submit(jobs)
        bench.until(lambda: all(job.ended for job in jobs), "the end of the jobs")

    bench.serve(pool, intake)
    assert pool.stop(bench.tuning.patience) == []


def test_features_are_final(bench: PoolBench) -> None:
    """P-OPEN-1: `features` and `slots` are valid before and after `start`, and `slots` is at least 1.

    Fix: set both in the constructor.
    """
    pool = bench.pool(3)
    features, slots = pool.features, pool.slots
    assert isinstance(features, PoolFeatures)
    assert 1 <= slots <= 3
    _run_all(bench, pool, [bench.quick("a")])
    assert (pool.features, pool.slots) == (features, slots)


def test_each_job_runs_once(bench: PoolBench) -> None:
    """P-RUN-1: every submitted job runs exactly once, those of several calls too.

    Fix: take a job out of the line in the step that starts it.
    """
    pool = bench.pool(3)
    jobs = [bench.quick(str(number)) for number in range(50)]

    def intake() -> None:
        for start in range(0, 50, 10):
            pool.submit(jobs[start : start + 10])
        pool.submit([])
        bench.until(lambda: all(job.ended for job in jobs), "the end of the jobs")

    bench.serve(pool, intake)
    assert pool.stop(bench.tuning.patience) == []
    assert [job.runs for job in jobs] == [1] * 50


def test_jobs_start_in_order(bench: PoolBench) -> None:
    """P-RUN-2: jobs start in the order in which they were submitted.

    Fix: keep a line, first in, first out.
    """
    pool = bench.pool(1)
    jobs = [bench.quick(str(number)) for number in range(20)]
    _run_all(bench, pool, jobs)
    assert bench.order == [job.name for job in jobs]


def test_all_slots_are_used_and_no_more(bench: PoolBench) -> None:
    """P-RUN-3: exactly `slots` jobs run at a time when there are more.

    Fix: start a waiting job whenever one ends, and at `submit` while a slot is free.
    """
    pool = bench.pool(3)
    jobs = [bench.waiting_job(str(number)) for number in range(6)]

    def control() -> None:
        bench.until(lambda: sum(job.running for job in jobs) == pool.slots, "the use of all slots")
        time.sleep(0.05)
        bench.gate.open()

    def intake() -> None:
        controller = bench.beside(control)
        pool.submit(jobs)
        controller.result(bench.tuning.patience)
        bench.until(lambda: all(job.ended for job in jobs), "the end of the jobs")

    bench.serve(pool, intake)
    assert pool.stop(bench.tuning.patience) == []
    assert bench.most == pool.slots


@claims(NATIVE_ASYNC)
def test_coroutines_run_natively(bench: PoolBench) -> None:
    """P-RUN-4: with `native_async` coroutine jobs run by `arun`, all on one loop; functions by `run`, beside them.

    Fix: choose by `job.coroutine`.
    """
    pool = bench.pool(4)
    loops: list[asyncio.AbstractEventLoop] = []

    async def body(job: TestJob) -> None:
        loops.append(asyncio.get_running_loop())
        await asyncio.sleep(STEP)

    jobs = [TestJob(str(number), body, coroutine=True) for number in range(4)]
    function = TestJob("function", lambda job: threading.get_ident())
    _run_all(bench, pool, [*jobs, function])
    assert len(loops) == 4
    assert len(set(loops)) == 1
    assert [job.error for job in [*jobs, function]] == [None] * 5
    assert function.value


def test_block_on_runs_a_coroutine(bench: PoolBench) -> None:
    """P-RUN-5: a function job can run a coroutine by `block_on`; its value and its errors come back.

    Fix: run one loop in the background and hand coroutines to it.
    """
    pool = bench.pool(2)

    async def echo(value: int) -> int:
        await asyncio.sleep(STEP)
        if value < 0:
            raise LookupError("negative")
        return value

    def call(value: int) -> Coroutine[Any, Any, int]:
        return echo(value)

    good = TestJob("good", lambda job: pool.block_on(call(7)))
    bad = TestJob("bad", lambda job: pool.block_on(call(-1)))
    _run_all(bench, pool, [good, bad])
    assert (good.value, good.error) == (7, None)
    assert isinstance(bad.error, LookupError)


def test_serve_returns_with_the_intake(bench: PoolBench) -> None:
    """P-SERVE-1: `serve` runs the intake once and returns soon after it has returned.

    Fix: end the loop or hub when the intake's thread has ended.
    """
    pool = bench.pool(1)
    calls: list[float] = []
    bench.serve(pool, lambda: calls.append(time.monotonic()))
    assert time.monotonic() - calls[0] <= 1.0 + bench.tuning.slack
    assert len(calls) == 1
    assert pool.stop(bench.tuning.patience) == []


def test_an_idle_pool_wants_jobs(bench: PoolBench) -> None:
    """P-DEMAND-1: an idle pool wants as many jobs as it has slots, and `buffer` more, at once.

    Fix: count slots plus buffer minus what runs and waits.
    """
    pool = bench.pool(3)
    wanted: list[int] = []
    bench.serve(pool, lambda: wanted.extend([pool.demand(0, 1.0), pool.demand(5, 1.0)]))
    assert wanted == [pool.slots, pool.slots + 5]
    pool.stop(bench.tuning.patience)


def test_a_full_pool_wants_none(bench: PoolBench) -> None:
    """P-DEMAND-2: a full pool wants 0 after `timeout`; the end of a job ends the waiting.

    Fix: block on a signal that the end of a job gives. An inline pool is never full between two submits.
    """
    pool = bench.pool(2)
    jobs = [bench.waiting_job(str(number)) for number in range(pool.slots + 1)]
    waits: list[tuple[int, float]] = []

    def demand(timeout: float) -> None:
        started_at = time.monotonic()
        waits.append((pool.demand(1, timeout), time.monotonic() - started_at))

    def intake() -> None:
        pool.submit(jobs)
        demand(0.1)
        controller = bench.beside(bench.gate.open)
        demand(bench.tuning.patience)
        controller.result(bench.tuning.patience)
        bench.until(lambda: all(job.ended for job in jobs), "the end of the jobs")

    if pool.features.inline:
        bench.gate.open()
        bench.serve(pool, intake)
        assert [wanted for wanted, _ in waits] == [pool.slots + 1] * 2
    else:
        bench.serve(pool, intake)
        assert waits[0][0] == 0
        assert 0.08 <= waits[0][1] <= 0.2 + bench.tuning.slack
        assert waits[1][0] >= 1
        assert waits[1][1] <= 1.0 + bench.tuning.slack
    assert pool.stop(bench.tuning.patience) == []


def test_submit_does_not_block(bench: PoolBench) -> None:
    """P-SUBMIT-1: `submit` returns while jobs run, unless the pool claims `inline`: then when they have ended.

    Fix: hand jobs over and return; claim `inline` for a pool that runs them in place.
    """
    pool = bench.pool(1)
    jobs = [bench.waiting_job("a"), bench.waiting_job("b")]
    ended: list[bool] = []

    def control() -> None:
        bench.until(lambda: jobs[0].running, "the start of a job")
        if not pool.features.inline:
            bench.until(lambda: bool(ended), "the return of submit")
        bench.gate.open()

    def intake() -> None:
        controller = bench.beside(control)
        pool.submit(jobs)
        ended.append(all(job.ended for job in jobs))
        controller.result(bench.tuning.patience)
        bench.until(lambda: all(job.ended for job in jobs), "the end of the jobs")

    bench.serve(pool, intake)
    assert ended == [pool.features.inline]
    assert pool.stop(bench.tuning.patience) == []


def test_recall_takes_the_last(bench: PoolBench) -> None:
    """P-RECALL-1: `recall` takes back up to `limit` unstarted jobs, the last submitted first; they never run.

    Fix: take from the end of the line; leave running jobs alone.
    """
    pool = bench.pool(1)
    jobs = [bench.waiting_job(name) for name in "abcde"]
    recalled: list[list[TestJob]] = []
    counts: list[int] = []

    def control() -> None:
        bench.until(lambda: jobs[0].running and pool.waiting() == 4, "the start of the first job")
        recalled.append(pool.recall(2))
        counts.append(pool.waiting())
        recalled.append(pool.recall(0))
        bench.gate.open()

    def intake() -> None:
        controller = bench.beside(control)
        pool.submit(jobs)
        controller.result(bench.tuning.patience)
        bench.until(lambda: all(job.ended for job in jobs[:3]), "the end of the jobs")
        recalled.append(pool.recall(10))

    bench.serve(pool, intake)
    assert recalled == [[jobs[4], jobs[3]], [], []]
    assert counts == [2]
    assert pool.stop(bench.tuning.patience) == []
    assert [job.runs for job in jobs] == [1, 1, 1, 0, 0]
