"""The ScheduleStore port: messages that wait outside of a transport.

For delays longer than a transport can hold, for messages parked under a key that is at its limit, and for the
state of periodic entries. `take` leases; `remove` settles: a crash between them repeats, never loses.
Threads and errors: as for the Transport port.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from kernel.ports.features import Survives


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleFeatures:
    """Abilities of a schedule store."""

    #: What a parked entry outlives.
    survives: Survives
    #: Most entries in one call.
    max_batch: int = 1000


class Parked(msgspec.Struct, frozen=True, gc=False):
    """One waiting entry; `space` and `key` together identify it."""

    #: Family of entries that are taken together, such as "delay" or "limit:<key>".
    space: str
    key: str
    #: Wall-clock time from which it may be taken.
    due_at: float
    payload: bytes


class ScheduleStore(Protocol):
    """Three verbs between `open` and `close`, and a look at what comes next."""

    @property
    def features(self) -> ScheduleFeatures:
        """What this store can do; final once `open` has returned."""

    def open(self) -> None:
        """Connect and prepare. Idempotent."""

    def close(self) -> None:
        """Let go of everything. Idempotent."""

    def add(self, entries: Sequence[Parked]) -> None:
        """Store entries, durable on return; one with the same space and key replaces the old and its lease."""

    def take(self, space: str, now: float, limit: int, lease: float) -> list[Parked]:
        """Up to `limit` entries with `due_at <= now`, earliest first, hidden from other takers for `lease` seconds.

        `now` decides what is due; the lease runs from the moment of the call."""

    def remove(self, entries: Sequence[Parked]) -> None:
        """Delete entries that are still as given (space, key and due_at). Idempotent."""

    def next_at(self, space: str) -> float | None:
        """The earliest `due_at` of the space, leased entries counting at the end of their lease; None when empty."""
