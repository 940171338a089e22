"""The Pool port: runs calls inside of one worker process.

A pool knows nothing of tasks: it is given jobs, runs `run(job)` for each of them on up to `slots` of them at a
time, and the kernel's runner does the rest. It keeps the jobs it cannot start yet in order and gives them back
on demand, because an idle process elsewhere may be able to start them now.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolFeatures:
    """Abilities of a pool."""

    #: `interrupt` ends a job that waits (sleeps, reads a socket) within a second.
    interrupts_waits: bool = False
    #: `interrupt` ends a job that computes in Python code.
    interrupts_python: bool = False
    #: Coroutine functions run natively on the pool's own loop.
    native_async: bool = False
    #: Jobs run in greenlets: the application is monkey-patched before it is imported.
    green: bool = False
    #: `submit` runs the jobs in place and returns when they have ended or the pool stops.
    inline: bool = False

    @property
    def ends_in_place(self) -> bool:
        """Whether a job that waits can be ended while the process and the jobs beside it go on."""
        return self.interrupts_waits and not self.inline


class Job(Protocol):
    """What a pool may know of a job."""

    #: The job's body is a coroutine function; only a pool with `native_async` sees True.
    coroutine: bool
    #: Its body runs right now: only then may `interrupt` raise something in it.
    interruptible: bool
    #: What `interrupt` raises, or raised, in it.
    interrupted: BaseException | None


Run = Callable[[Any], None]
RunAsync = Callable[[Any], Any]


class Pool(Protocol):
    """Lifecycle: `start`, then `serve` on the process's main thread until `stop`."""

    @property
    def features(self) -> PoolFeatures:
        """What this pool can do."""

    @property
    def slots(self) -> int:
        """How many jobs run at a time."""

    def start(self, run: Run, arun: RunAsync) -> None:
        """Prepare. `run(job)` runs a job to its end and never raises; `arun(job)` is its coroutine twin."""

    def serve(self, intake: Callable[[], None]) -> None:
        """Run `intake` (a loop that submits jobs until the worker stops) on the thread that suits this pool, and
        return when it has returned. Called on the main thread, once."""

    def demand(self, buffer: int, timeout: float) -> int:
        """How many more jobs are wanted so that `buffer` wait beyond those that run; waits up to `timeout` seconds
        for at least one to be wanted, and returns 0 when none is."""

    def submit(self, jobs: Sequence[Any]) -> None:
        """Take jobs, in order; does not block, unless `PoolFeatures.inline`."""

    def block_on(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end from inside of a job that `run` runs, on one background loop of the process."""

    def waiting(self) -> int:
        """How many submitted jobs have not started. Any thread."""

    def recall(self, limit: int) -> list[Any]:
        """Take back up to `limit` jobs that have not started, the last submitted first. Any thread, at any time."""

    def interrupt(self, job: Any, error: BaseException) -> bool:
        """Raise `error` inside of the running job. Any thread. False when it does not run or cannot be reached."""

    def stop(self, timeout: float) -> list[Any]:
        """Start nothing more, wait up to `timeout` seconds for what runs, and return the jobs that did not end,
        running ones included. Idempotent."""
