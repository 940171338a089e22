"""The two clocks that kernel reads, behind one object so that tests can own the time."""

from __future__ import annotations

import time
from collections.abc import Callable


class Clock:
    """Wall clock (`now`, for `*_at` values that travel) and monotonic clock (`monotonic`, for durations).

    Held as attributes rather than methods: a read costs one C call, which is what the hot path can pay.
    """

    __slots__ = ("monotonic", "now")

    def __init__(
        self,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.now = now
        self.monotonic = monotonic


#: The clock of this machine.
SYSTEM = Clock()


class FakeClock(Clock):
    """A clock that stands still until `advance` is called; both readings move together."""

    __slots__ = ("_at",)

    def __init__(self, start: float = 1_000_000_000.0) -> None:
        self._at = start
        super().__init__(self._read, self._read)

    def _read(self) -> float:
        return self._at

    def advance(self, seconds: float) -> None:
        """Move both readings forward."""
        self._at += seconds
