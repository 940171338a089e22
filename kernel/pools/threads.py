"""threads: several jobs at a time in one process, for tasks that wait."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from time import monotonic
from typing import Any

from kernel.native import SimpleQueue
from kernel.pools.background import BackgroundLoop
from kernel.pools.raising import raise_in
from kernel.pools.room import Room
from kernel.pools.solo import take_back
from kernel.ports.pool import PoolFeatures, Run, RunAsync

#: Threads when nothing else is asked for.
DEFAULT_SLOTS = 8


class ThreadPool:
    """Threads take jobs from one line. They are daemons: one that never returns cannot keep the process alive."""

    def __init__(self, slots: int = 0) -> None:
        """`slots` 0 means the default of 8."""
        self.slots = slots or DEFAULT_SLOTS
        self.features = PoolFeatures(interrupts_python=True)
        self._waiting: deque[Any] = deque()
        self._tokens: Any = SimpleQueue()
        self._where: dict[Any, int] = {}
        self._room = Room(self.slots)
        self._threads: list[threading.Thread] = []
        self._background = BackgroundLoop()
        self._lock = threading.Lock()

    def start(self, run: Run, arun: RunAsync) -> None:
        """Start the threads."""
        self._run = run
        for number in range(self.slots):
            thread = threading.Thread(target=self._serve, name=f"kernel-task-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def serve(self, intake: Callable[[], None]) -> None:
        """Run the intake on the calling thread."""
        intake()

    def demand(self, buffer: int, timeout: float) -> int:
        """How many more jobs keep all threads busy and `buffer` waiting."""
        return self._room.demand(buffer, timeout)

    def submit(self, jobs: Sequence[Any]) -> None:
        """Put them in line; a thread that waits takes the first at once."""
        self._room.take(len(jobs))
        self._waiting.extend(jobs)
        for _ in jobs:
            self._tokens.put(True)

    def _serve(self) -> None:
        ident = threading.get_ident()
        while self._tokens.get():
            try:
                job = self._waiting.popleft()
            except IndexError:
                continue  # it was recalled
            self._where[job] = ident
            try:
                self._run(job)
            except BaseException:  # an interrupt that came after the end of the body; the runner never raises
                pass
            self._end(job)

    def _end(self, job: Any) -> None:
        with self._lock:
            del self._where[job]
        self._room.give(1)

    def block_on(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the background loop."""
        return self._background.block_on(coroutine)

    def waiting(self) -> int:
        """Jobs submitted and not started."""
        return len(self._waiting)

    def recall(self, limit: int) -> list[Any]:
        """Take back the last ones."""
        jobs = take_back(self._waiting, limit)
        self._room.give(len(jobs))
        return jobs

    def interrupt(self, job: Any, error: BaseException) -> bool:
        """Raise between two instructions of the job; a blocking call has to end first."""
        with self._lock:
            ident = self._where.get(job)
            if ident is None or not job.interruptible:
                return False
            job.interrupted = error
            return raise_in(ident, error, job)

    def stop(self, timeout: float) -> list[Any]:
        """Wait for what runs, up to `timeout` seconds in all."""
        left = self.recall(len(self._waiting))
        for _ in self._threads:
            self._tokens.put(False)
        deadline = monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - monotonic()))
        running = list(self._where)
        self._background.stop(max(0.1, deadline - monotonic()))
        return left + running
