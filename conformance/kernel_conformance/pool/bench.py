"""The bench of the pool tests: jobs whose body the test controls, and the serving of one pool."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from kernel.native import sleep
from kernel.ports import Pool, PoolFeatures
from kernel_conformance.bench import Call, Tuning, facts_of

#: Seconds between two looks of a job at its gate, and of a test at its jobs.
STEP = 0.005


class Gate:
    """A flag that jobs of every kind of pool can wait for, because they look instead of block."""

    def __init__(self) -> None:
        self.is_open = False

    def open(self) -> None:
        """Let all jobs end."""
        self.is_open = True


class TestJob:
    """A job of a test; what happens to it is written down."""

    __test__ = False

    def __init__(self, name: str, body: Callable[[TestJob], Any], coroutine: bool = False) -> None:
        self.name = name
        self.body = body
        self.coroutine = coroutine
        self.interruptible = False
        self.interrupted: BaseException | None = None
        self.runs = 0
        self.running = False
        self.error: BaseException | None = None
        self.value: Any = None

    def __repr__(self) -> str:
        return f"job {self.name}"

    @property
    def ended(self) -> bool:
        """It ran and does not any more."""
        return self.runs > 0 and not self.running


class PoolBench:
    """One pool at a time; `serve` runs the test's own intake in it."""

    def __init__(self, make: Callable[[int], Pool], tuning: Tuning, job_sleep: Callable[[float], None]) -> None:
        self._make = make
        self.tuning = tuning
        self.sleep = job_sleep
        self.declined = ""
        self._made: list[Pool] = []
        self.first = self.pool(2)
        self.gate = Gate()
        self.order: list[str] = []
        self.most = 0
        self._running = 0

    @property
    def features(self) -> PoolFeatures:
        """The claims of the pool."""
        return self.first.features

    def facts(self) -> dict[str, Any]:
        """What a report says of it."""
        return facts_of(self.first, self.features)

    def end(self) -> None:
        """Let jobs that wait go, and stop every pool; also one that was never started, as after a failed boot."""
        self.gate.open()
        for pool in self._made:
            pool.stop(self.tuning.patience)

    def pool(self, slots: int) -> Pool:
        """A new pool, not started; it becomes the first."""
        self.first = self._make(slots)
        self._made.append(self.first)
        return self.first

    # -- jobs --------------------------------------------------------------------------------------------------

    def quick(self, name: str) -> TestJob:
        """A job that ends at once."""
        return TestJob(name, lambda job: None)

    def waiting_job(self, name: str) -> TestJob:
        """A job that ends when the gate opens."""
        return TestJob(name, self._wait)

    def _wait(self, job: TestJob) -> None:
        while not self.gate.is_open:
            self.sleep(STEP)

    def run(self, job: TestJob) -> None:
        """What the kernel's runner is to a pool; never raises."""
        self._began(job)
        try:
            job.interruptible = True
            job.value = job.body(job)
            job.interruptible = False
        except BaseException as error:
            job.interruptible = False
            job.error = error
        self._ended(job)

    async def arun(self, job: TestJob) -> None:
        """The coroutine twin: an interruption arrives as a cancellation."""
        self._began(job)
        try:
            job.interruptible = True
            job.value = await job.body(job)
        except asyncio.CancelledError as error:
            job.error = job.interrupted or error
        except BaseException as error:
            job.error = error
        job.interruptible = False
        self._ended(job)

    def _began(self, job: TestJob) -> None:
        job.runs += 1
        job.running = True
        self.order.append(job.name)
        self._running += 1
        self.most = max(self.most, self._running)

    def _ended(self, job: TestJob) -> None:
        self._running -= 1
        job.running = False

    # -- serving -----------------------------------------------------------------------------------------------

    def serve(self, pool: Pool, intake: Callable[[], None]) -> None:
        """Start the pool and run `intake` in it; what the intake raises is raised here."""
        errors: list[BaseException] = []

        def guarded() -> None:
            try:
                intake()
            except BaseException as error:
                errors.append(error)
                self.gate.open()

        pool.start(self.run, self.arun)
        pool.serve(guarded)
        if errors:
            pool.stop(self.tuning.patience)
            raise errors[0]

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition, by a thread of the test's own, not of the pool."""
        ends_at = time.monotonic() + self.tuning.patience
        while not condition():
            if time.monotonic() > ends_at:
                pytest.fail(f"{what} did not happen within {self.tuning.patience} s")
            sleep(STEP)

    def beside(self, function: Callable[[], None]) -> Call[None]:
        """Run a controller beside the pool: an inline pool keeps the intake busy while jobs run."""
        return Call(function)
