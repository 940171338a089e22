"""Interrupting one job, and stopping the pool."""

from __future__ import annotations

import asyncio
import time

from kernel_conformance.clause import Ability, claims
from kernel_conformance.pool.bench import PoolBench, TestJob


class Interruption(Exception):
    """What the tests raise in a job."""


def _interrupt_survived(bench: PoolBench) -> None:
    """A pool that cannot interrupt this kind of job lets it end by itself and goes on."""
    pool = bench.pool(1)
    job, after = bench.waiting_job("job"), bench.quick("after")

    def control() -> None:
        bench.until(lambda: job.running, "the start of a job")
        pool.interrupt(job, Interruption())
        bench.gate.open()

    def intake() -> None:
        controller = bench.beside(control)
        pool.submit([job, after])
        controller.result(bench.tuning.patience)
        bench.until(lambda: job.ended and after.ended, "the end of the jobs")

    bench.serve(pool, intake)
    assert pool.stop(bench.tuning.patience) == []


WAITS: Ability[PoolBench] = Ability("interrupts_waits", lambda f: f.interrupts_waits, _interrupt_survived)
PYTHON: Ability[PoolBench] = Ability("interrupts_python", lambda f: f.interrupts_python, _interrupt_survived)


def _interrupted(bench: PoolBench, job: TestJob) -> float:
    """Interrupt a job of a pool that runs another one too; returns the seconds until its end."""
    pool = bench.pool(2)
    other, after = bench.waiting_job("other"), bench.quick("after")
    neighbours = [] if pool.slots < 2 or (not pool.features.green and not pool.features.native_async) else [other]
    took: list[float] = []

    def control() -> None:
        bench.until(lambda: job.interruptible and all(one.running for one in neighbours), "the start of the jobs")
        started_at = time.monotonic()
        assert pool.interrupt(job, Interruption("enough"))
        bench.until(lambda: job.ended, "the end of the interrupted job")
        took.append(time.monotonic() - started_at)
        assert not any(one.ended for one in neighbours), "the interruption hit another job"
        bench.gate.open()

    def intake() -> None:
        controller = bench.beside(control)
        pool.submit([*neighbours, job, after])
        controller.result(bench.tuning.patience)
        bench.until(lambda: after.ended and all(one.ended for one in neighbours), "the end of the jobs")

    bench.serve(pool, intake)
    assert pool.stop(bench.tuning.patience) == []
    assert isinstance(job.error, Interruption), f"the job ended with {job.error!r}"
    assert [one.error for one in [*neighbours, after]] == [None] * (len(neighbours) + 1)
    return took[0]


@claims(WAITS)
def test_a_waiting_job_is_interrupted(bench: PoolBench) -> None:
    """P-INTERRUPT-1: with `interrupts_waits` a job that sleeps ends within a second, with the error that was given.

    Fix: break the blocking call (a signal, a cancellation, a throw into the greenlet).
    """
    if bench.features.native_async:

        async def sleeper(job: TestJob) -> None:
            await asyncio.sleep(30.0)

        job = TestJob("sleeper", sleeper, coroutine=True)
    else:
        job = TestJob("sleeper", lambda job: bench.sleep(30.0))
    assert _interrupted(bench, job) <= 1.0


@claims(PYTHON)
def test_a_computing_job_is_interrupted(bench: PoolBench) -> None:
    """P-INTERRUPT-2: with `interrupts_python` a job that computes in Python ends soon, with the error that was given.

    Fix: raise between two instructions of its thread.
    """

    def compute(job: TestJob) -> None:
        ends_at = time.monotonic() + 30.0
        while time.monotonic() < ends_at:
            pass

    assert _interrupted(bench, TestJob("spinner", compute)) <= 2.0 + bench.tuning.slack


def test_nothing_is_raised_in_a_job_that_does_not_run(bench: PoolBench) -> None:
    """P-INTERRUPT-3: `interrupt` of a job that waits, has ended or is foreign is False, and hits nobody.

    Fix: check under the lock that the job runs, in the step that raises.
    """
    pool = bench.pool(1)
    ended, running, unstarted = bench.quick("ended"), bench.waiting_job("running"), bench.quick("unstarted")
    answers: list[bool] = []

    def control() -> None:
        bench.until(lambda: running.running, "the start of a job")
        answers.extend(pool.interrupt(job, Interruption()) for job in (ended, unstarted, bench.quick("foreign")))
        bench.gate.open()

    def intake() -> None:
        controller = bench.beside(control)
        pool.submit([ended, running, unstarted])
        controller.result(bench.tuning.patience)
        bench.until(lambda: unstarted.ended, "the end of the jobs")

    bench.serve(pool, intake)
    assert pool.stop(bench.tuning.patience) == []
    assert answers == [False] * 3
    assert [job.error for job in (ended, running, unstarted)] == [None] * 3


def test_stop_waits_for_what_runs(bench: PoolBench) -> None:
    """P-STOP-1: `stop` waits for running jobs, returns [] when all have ended, and may be repeated.

    Fix: join with what is left of the timeout.
    """
    pool = bench.pool(2)
    jobs = [bench.waiting_job(str(number)) for number in range(pool.slots)]

    def opener() -> None:
        bench.until(lambda: all(job.running for job in jobs), "the start of the jobs")
        time.sleep(0.1)
        bench.gate.open()

    def intake() -> None:
        pool.submit(jobs)
        bench.until(lambda: all(job.runs for job in jobs), "the start of the jobs")

    controller = bench.beside(opener)
    bench.serve(pool, intake)
    assert pool.stop(bench.tuning.patience) == []
    controller.result(bench.tuning.patience)
    assert all(job.ended for job in jobs)
    assert pool.stop(0.1) == []


def test_stop_gives_back_what_did_not_end(bench: PoolBench) -> None:
    """P-STOP-2: after its timeout `stop` returns the jobs that did not end, running and unstarted; none starts later.

    Fix: empty the line first, then wait, then report what still runs.
    """
    pool = bench.pool(2)
    jobs = [bench.waiting_job(str(number)) for number in range(pool.slots + 2)]
    if pool.features.inline:
        # The serving thread runs the jobs: it calls `stop` when they have ended, so only unstarted ones can be left.
        bench.gate.open()

    def intake() -> None:
        pool.submit(jobs)
        bench.until(lambda: all(job.runs for job in jobs[: pool.slots]), "the start of the jobs")

    bench.serve(pool, intake)
    started_at = time.monotonic()
    left = pool.stop(0.2)
    assert time.monotonic() - started_at <= 1.2 + bench.tuning.slack
    if pool.features.inline:
        assert left == []
        return
    assert {job.name for job in left} == {job.name for job in jobs}
    bench.gate.open()
    time.sleep(0.05)
    assert not any(job.runs for job in jobs[pool.slots :]), "a job started after stop"
