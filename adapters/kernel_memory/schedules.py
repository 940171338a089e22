"""The ScheduleStore port in memory."""

from __future__ import annotations

from collections.abc import Sequence

from kernel.clock import SYSTEM, Clock
from kernel.errors import Rejected, Unavailable
from kernel.ports import Parked, ScheduleFeatures
from kernel_memory.options import Limits, parse
from kernel_memory.shelf import Shelf
from kernel_memory.space import Space


class MemorySchedules:
    """Parked entries in the memory of this process; see `kernel.ports.schedule` for what each method promises."""

    def __init__(self, space: Space | None = None, limits: Limits | None = None, clock: Clock = SYSTEM) -> None:
        self._space = space or Space()
        self._clock = clock
        self._features = ScheduleFeatures(survives="process", max_batch=(limits or Limits()).max_batch)
        self._state = "new"

    @classmethod
    def from_url(cls, url: str) -> MemorySchedules:
        """The store that a URL describes; `ConfigError` for an option that is none."""
        options = parse(url)
        return cls(Space.named(options.name), limits=options.limits)

    @property
    def features(self) -> ScheduleFeatures:
        """What this store can do."""
        return self._features

    def open(self) -> None:
        """Make ready. Idempotent; a closed store stays closed."""
        if self._state == "closed":
            raise Unavailable("the memory schedule store is closed")
        self._state = "open"

    def close(self) -> None:
        """Let go. The entries stay in the space."""
        self._state = "closed"

    def add(self, entries: Sequence[Parked]) -> None:
        """Store entries."""
        self._check(len(entries))
        shelves = self._space.shelves
        with self._space.lock:
            for entry in entries:
                shelves.setdefault(entry.space, Shelf()).add(entry)

    def take(self, space: str, now: float, limit: int, lease: float) -> list[Parked]:
        """Lease up to `limit` due entries, the earliest first."""
        self._check(0)
        at = self._clock.now()
        with self._space.lock:
            shelf = self._space.shelves.get(space)
            return [] if shelf is None else shelf.take(now, min(limit, self._features.max_batch), at, lease)

    def remove(self, entries: Sequence[Parked]) -> None:
        """Delete entries that are still as given."""
        self._check(len(entries))
        with self._space.lock:
            for entry in entries:
                shelf = self._space.shelves.get(entry.space)
                if shelf is not None and shelf.remove(entry):
                    del self._space.shelves[entry.space]

    def next_at(self, space: str) -> float | None:
        """When the next entry of the space may be taken."""
        self._check(0)
        with self._space.lock:
            shelf = self._space.shelves.get(space)
            return None if shelf is None else shelf.next_at()

    def _check(self, size: int) -> None:
        if self._state != "open":
            raise Unavailable(f"the memory schedule store is {'not open' if self._state == 'new' else 'closed'}")
        if size > self._features.max_batch:
            raise Rejected(f"{size} entries in one call, at most {self._features.max_batch} are taken")
