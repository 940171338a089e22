"""solo: one job at a time on the main thread. The fastest for short tasks, and what `prefork` runs N of."""

from __future__ import annotations

import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from kernel.errors import ConfigError
from kernel.pools.background import BackgroundLoop
from kernel.pools.raising import raise_in
from kernel.ports.pool import PoolFeatures, Run, RunAsync

#: The signal that breaks a blocking call on the main thread. SIGURG is ignored by default, so one that comes late or
#: to a process without handler does no harm; SIGALRM and SIGUSR2 belong to the application.
INTERRUPT = getattr(signal, "SIGURG", None)


class SoloPool:
    """Runs each job in `submit`, on the thread that serves."""

    def __init__(self, slots: int = 1) -> None:
        """`slots` is 0 or 1; ConfigError for more, because solo gets more of them from more processes."""
        if slots > 1:
            raise ConfigError(
                f"solo runs one task at a time, not {slots}: give --processes {slots} (or --pool prefork -c {slots}), "
                f"or --pool threads -c {slots}"
            )
        self.slots = 1
        self.features = PoolFeatures(interrupts_waits=sys.platform != "win32", interrupts_python=True, inline=True)
        self._waiting: deque[Any] = deque()
        self._current: Any = None
        self._stopping = False
        self._ident = 0
        self._signals = False
        self._background = BackgroundLoop()

    def start(self, run: Run, arun: RunAsync) -> None:
        """Remember what runs a job."""
        self._run = run

    def serve(self, intake: Callable[[], None]) -> None:
        """Run the intake here; on the main thread blocking calls can be interrupted."""
        self._ident = threading.get_ident()
        self._signals = INTERRUPT is not None and threading.current_thread() is threading.main_thread()
        if self._signals and INTERRUPT is not None:
            signal.signal(INTERRUPT, self._interrupted)
        intake()

    def demand(self, buffer: int, timeout: float) -> int:
        """Nothing waits here between two calls of `submit`."""
        return 0 if self._stopping else 1 + buffer

    def submit(self, jobs: Sequence[Any]) -> None:
        """Run the jobs, one after the other, until they have ended or were recalled."""
        waiting, run = self._waiting, self._run
        waiting.extend(jobs)
        while waiting and not self._stopping:
            try:
                self._current = job = waiting.popleft()
            except IndexError:
                break  # recalled between the look and the taking
            run(job)
        self._current = None

    def block_on(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the background loop."""
        return self._background.block_on(coroutine)

    def waiting(self) -> int:
        """Jobs submitted and not started."""
        return len(self._waiting)

    def recall(self, limit: int) -> list[Any]:
        """Take back the last ones."""
        return take_back(self._waiting, limit)

    def interrupt(self, job: Any, error: BaseException) -> bool:
        """Raise in the running job: by signal, which ends blocking calls too, or between two of its instructions."""
        if job is not self._current or not job.interruptible:
            return False
        job.interrupted = error
        if self._signals and INTERRUPT is not None:
            signal.pthread_kill(self._ident, INTERRUPT)
            return True
        return raise_in(self._ident, error, job)

    def _interrupted(self, *_: object) -> None:
        """The signal handler. It runs between two instructions of the main thread, so what it sees holds still."""
        job = self._current
        if job is not None and job.interruptible and job.interrupted is not None:
            raise job.interrupted

    def stop(self, timeout: float) -> list[Any]:
        """Start nothing more. The caller is the serving thread, so nothing runs by then."""
        self._stopping = True
        left = self.recall(len(self._waiting))
        self._background.stop(timeout)
        return left


def take_back(waiting: deque[Any], limit: int) -> list[Any]:
    """Remove up to `limit` jobs from the end; safe while another thread takes from the front."""
    jobs: list[Any] = []
    while len(jobs) < limit:
        try:
            jobs.append(waiting.pop())
        except IndexError:
            break
    return jobs
