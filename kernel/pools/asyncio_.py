"""asyncio: coroutine tasks on one loop, and plain functions beside them in threads."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from time import monotonic
from typing import Any

from kernel.native import Signal, Thread
from kernel.pools.room import Room
from kernel.pools.solo import take_back
from kernel.pools.threads import ThreadPool
from kernel.ports.pool import PoolFeatures, Run, RunAsync

#: Jobs at a time when nothing else is asked for.
DEFAULT_SLOTS = 100
#: Threads for plain functions, at most.
MOST_THREADS = 32


class AsyncioPool:
    """The loop runs on the main thread, where an application expects it; the intake runs beside it."""

    def __init__(self, slots: int = 0) -> None:
        """`slots` 0 means the default of 100."""
        self.slots = slots or DEFAULT_SLOTS
        self.features = PoolFeatures(interrupts_waits=True, native_async=True)
        self._waiting: deque[Any] = deque()
        self._tasks: dict[Any, asyncio.Task[None]] = {}
        self._functions: set[Any] = set()
        self._room = Room(self.slots)
        self._threads = ThreadPool(min(self.slots, MOST_THREADS))
        self._loop = asyncio.new_event_loop()
        self._ended = Signal()
        self._failure: BaseException | None = None

    def start(self, run: Run, arun: RunAsync) -> None:
        """Remember what runs a job, and start the threads for plain functions."""
        self._run = run
        self._arun = arun
        self._threads.start(self._run_function, arun)

    def serve(self, intake: Callable[[], None]) -> None:
        """Run the loop on the calling thread until the intake has ended and `stop` was called."""
        thread = Thread(lambda: self._take_in(intake), "kernel-intake", self._failed)
        thread.start()
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        if self._failure is not None:
            raise self._failure

    def _take_in(self, intake: Callable[[], None]) -> None:
        try:
            intake()
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)

    def _failed(self, error: BaseException) -> None:
        self._failure = error

    def demand(self, buffer: int, timeout: float) -> int:
        """How many more jobs keep all slots busy and `buffer` waiting."""
        return self._room.demand(buffer, timeout)

    def submit(self, jobs: Sequence[Any]) -> None:
        """Hand the jobs to the loop, all at once."""
        self._room.take(len(jobs))
        self._waiting.extend(jobs)
        self._loop.call_soon_threadsafe(self._fill)

    def _fill(self) -> None:
        """Start what waits while slots are free. On the loop."""
        while self._waiting and len(self._tasks) + len(self._functions) < self.slots:
            try:
                job = self._waiting.popleft()
            except IndexError:
                return
            if job.coroutine:
                self._tasks[job] = self._loop.create_task(self._run_coroutine(job))
            else:
                self._functions.add(job)
                self._threads.submit([job])

    async def _run_coroutine(self, job: Any) -> None:
        try:
            await self._arun(job)
        finally:
            del self._tasks[job]
            self._room.give(1)
            if self._waiting:
                self._fill()

    def _run_function(self, job: Any) -> None:
        """On a thread."""
        try:
            self._run(job)
        finally:
            self._functions.discard(job)
            self._room.give(1)
            if self._waiting:
                self._loop.call_soon_threadsafe(self._fill)

    def block_on(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the pool's own loop, for a plain function in a thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def waiting(self) -> int:
        """Jobs submitted and not started."""
        return len(self._waiting) + self._threads.waiting()

    def recall(self, limit: int) -> list[Any]:
        """Take back the last ones, and functions that wait for a thread."""
        jobs = take_back(self._waiting, limit)
        for job in self._threads.recall(limit - len(jobs)):
            self._functions.discard(job)
            jobs.append(job)
        self._room.give(len(jobs))
        return jobs

    def interrupt(self, job: Any, error: BaseException) -> bool:
        """Raise in a coroutine where it waits; a plain function is reached as in the threads pool."""
        task = self._tasks.get(job)
        if task is None:
            return self._threads.interrupt(job, error)
        if not job.interruptible:
            return False
        job.interrupted = error
        self._loop.call_soon_threadsafe(task.cancel)
        return True

    def stop(self, timeout: float) -> list[Any]:
        """Run the loop until everything has ended or `timeout` seconds are over."""
        deadline = monotonic() + timeout
        left = self.recall(len(self._waiting) + self._threads.waiting())
        if not self._loop.is_closed():
            self._loop.run_until_complete(self._drain(deadline))
            left += list(self._tasks) + list(self._functions)
            self._close()
        self._threads.stop(max(0.0, deadline - monotonic()))
        return left

    async def _drain(self, deadline: float) -> None:
        while (self._tasks or self._functions) and monotonic() < deadline:
            if self._tasks:
                await asyncio.wait(list(self._tasks.values()), timeout=min(0.05, max(0.0, deadline - monotonic())))
            else:
                await asyncio.sleep(0.01)

    def _close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        if not self._tasks:
            self._loop.close()
