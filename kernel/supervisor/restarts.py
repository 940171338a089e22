"""When to start a replacement, and when to give up: a decision on times, nothing else."""

from __future__ import annotations

from collections import deque

from kernel.supervisor.spec import SupervisorSpec


class Restarts:
    """Remembers the starts that failed: processes that died before they were ready."""

    def __init__(self, spec: SupervisorSpec) -> None:
        self._spec = spec
        self._failed: deque[float] = deque()

    def failed(self, now: float) -> float:
        """A start failed; returns the seconds to wait before the next one.

        Processes fail together as a rule, so the pause doubles with each round of all of them, not with each process.
        """
        self._failed.append(now)
        self._forget(now)
        rounds = (len(self._failed) - 1) // self._spec.processes
        return min(self._spec.restart_backoff * 2.0 ** min(rounds, 60), self._spec.restart_backoff_max)

    def succeeded(self) -> None:
        """A process became ready: what failed before is over."""
        self._failed.clear()

    def looping(self, now: float) -> int:
        """How many starts failed when that is a crash loop, else 0; to be asked while no process is ready."""
        self._forget(now)
        return len(self._failed) if len(self._failed) >= self._spec.crash_limit * self._spec.processes else 0

    def _forget(self, now: float) -> None:
        while self._failed and self._failed[0] <= now - self._spec.crash_window:
            self._failed.popleft()
