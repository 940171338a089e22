"""How many jobs a concurrent pool still wants."""

from __future__ import annotations

from time import monotonic

from kernel.native import Signal, allocate_lock


class Room:
    """Counts jobs in a pool, waiting and running ones, and lets one intake wait for room."""

    __slots__ = ("_changed", "_inside", "_lock", "_slots")

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._inside = 0
        self._lock = allocate_lock()
        self._changed = Signal()

    def take(self, count: int) -> None:
        """So many came in."""
        with self._lock:
            self._inside += count

    def give(self, count: int) -> None:
        """So many ended or were taken back."""
        with self._lock:
            self._inside -= count
        if not self._changed.is_set():
            self._changed.set()

    def demand(self, buffer: int, timeout: float) -> int:
        """How many are wanted so that `buffer` wait beyond those that run; waits up to `timeout` seconds for one."""
        deadline = monotonic() + timeout
        while True:
            self._changed.clear()
            wanted = self._slots + buffer - self._inside
            if wanted > 0:
                return wanted
            left = deadline - monotonic()
            if left <= 0 or not self._changed.wait(left):
                return 0
