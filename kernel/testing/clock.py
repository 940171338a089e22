"""Virtual time."""

from __future__ import annotations

import time
from datetime import timedelta

from kernel.clock import Clock
from kernel.native import allocate_lock


class VirtualClock(Clock):
    """A clock that a test moves. It stands still otherwise, except while a worker runs in a thread: that one waits for
    what is due, and whoever waits for it has a timeout, and neither would come on a clock that stands.

    It starts at the time of the machine, and its readings are the ones of `app.clock`, not of `time.time()`.
    """

    __slots__ = ("_at", "_lock", "_runners", "_since")

    def __init__(self) -> None:
        self._at = time.time()
        self._lock = allocate_lock()
        self._runners = 0
        #: When it was told to run, by the clock of the machine.
        self._since = 0.0
        super().__init__(self._read, self._read)

    def _read(self) -> float:
        since = self._since
        return self._at + (time.monotonic() - since) if since else self._at

    def advance(self, seconds: float | timedelta) -> None:
        """Move it forward; ValueError for a move backwards. Delays, retries, expiry and the lives of results follow."""
        seconds = seconds.total_seconds() if isinstance(seconds, timedelta) else seconds
        if not seconds >= 0:
            raise ValueError(f"time goes forward only, not by {seconds} s")
        with self._lock:
            self._at += seconds

    def run(self) -> None:
        """Go as the clock of the machine does, until as many calls of `stand`."""
        with self._lock:
            self._runners += 1
            if self._runners == 1:
                self._since = time.monotonic()

    def stand(self) -> None:
        """Stand still again where nobody else has it run."""
        with self._lock:
            self._runners -= 1
            if not self._runners:
                self._at, self._since = self._read(), 0.0
