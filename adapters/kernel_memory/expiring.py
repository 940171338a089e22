"""A dictionary whose entries end by themselves."""

from __future__ import annotations

from typing import Generic, TypeVar

V = TypeVar("V")

#: Fewest writes between two sweeps.
SWEEP_AFTER = 1024


class Expiring(Generic[V]):
    """Values with a monotonic time from which they are gone; inf for never. Called under the lock of the space.

    Ended entries are swept out after as many writes as the last sweep has left entries, so that a write costs the
    same however many there are. A heap of deadlines was rejected: most entries are written again before they end.
    """

    __slots__ = ("_entries", "_left")

    def __init__(self) -> None:
        self._entries: dict[str, tuple[V, float]] = {}
        #: Writes until the next sweep.
        self._left = SWEEP_AFTER

    def get(self, key: str, monotonic: float) -> V | None:
        """The value, or None when there is none any more."""
        entry = self._entries.get(key)
        return entry[0] if entry is not None and entry[1] > monotonic else None

    def put(self, key: str, value: V, until: float, monotonic: float) -> None:
        """Set the value and its end."""
        self._entries[key] = (value, until)
        self._left -= 1
        if not self._left:
            self._entries = {key: entry for key, entry in self._entries.items() if entry[1] > monotonic}
            self._left = max(SWEEP_AFTER, len(self._entries))

    def pop(self, key: str) -> None:
        """Forget the value. Idempotent."""
        self._entries.pop(key, None)

    def __len__(self) -> int:
        return len(self._entries)
