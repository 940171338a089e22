"""The parked entries of one family, called under the lock of the space."""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count

from kernel.ports import Parked

_order = count()


class Slot:
    """One parked entry and the end of its lease. Replaced by a new object whenever the entry or the lease changes."""

    __slots__ = ("entry", "leased_until")

    def __init__(self, entry: Parked, leased_until: float) -> None:
        self.entry = entry
        #: Wall clock; 0.0: not leased.
        self.leased_until = leased_until


class Shelf:
    """Entries by key, with a heap of those that may be taken and a heap of those under lease.

    An entry that is replaced or removed stays in its heap until it comes to the top, where the identity of its slot
    tells that it is stale.
    """

    __slots__ = ("_free", "_leased", "_slots")

    def __init__(self) -> None:
        self._slots: dict[str, Slot] = {}
        self._free: list[tuple[float, int, Slot]] = []
        self._leased: list[tuple[float, int, Slot]] = []

    def add(self, entry: Parked) -> None:
        """Store an entry in place of the one with its key, lease included."""
        slot = self._slots[entry.key] = Slot(entry, 0.0)
        heappush(self._free, (entry.due_at, next(_order), slot))

    def take(self, now: float, limit: int, at: float, lease: float) -> list[Parked]:
        """Lease up to `limit` entries due at `now`, the earliest first; `at` is the wall clock that leases end by."""
        taken: list[Parked] = []
        while self._top(self._leased) <= at:
            slot = heappop(self._leased)[2]
            self.add(slot.entry)
        while len(taken) < limit and self._top(self._free) <= now:
            entry = heappop(self._free)[2].entry
            slot = self._slots[entry.key] = Slot(entry, at + lease)
            heappush(self._leased, (slot.leased_until, next(_order), slot))
            taken.append(entry)
        return taken

    def remove(self, entry: Parked) -> bool:
        """Delete the entry if it is still due at the same time. Idempotent. Returns whether the shelf is empty."""
        slot = self._slots.get(entry.key)
        if slot is not None and slot.entry.due_at == entry.due_at:
            del self._slots[entry.key]
        return not self._slots

    def next_at(self) -> float | None:
        """When the next entry may be taken; None when there is none."""
        if not self._slots:
            return None
        return min(self._top(self._free), self._top(self._leased))

    def _top(self, heap: list[tuple[float, int, Slot]]) -> float:
        while heap and self._slots.get(heap[0][2].entry.key) is not heap[0][2]:
            heappop(heap)
        return heap[0][0] if heap else float("inf")
