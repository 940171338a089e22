"""The ScheduleStore port on an SQLite file."""

from __future__ import annotations

import time
from collections.abc import Sequence

from kernel.errors import Rejected
from kernel.ports import Parked, ScheduleFeatures
from kernel_sqlite.database import Database
from kernel_sqlite.url import Location, parse

#: Most entries in one call.
MAX_BATCH = 1000

_ADD = """
INSERT INTO parked (space, key, due_at, payload) VALUES (?, ?, ?, ?) ON CONFLICT (space, key) DO UPDATE
SET due_at = excluded.due_at, held_until = NULL, payload = excluded.payload
"""
_FREE = "UPDATE parked SET held_until = NULL WHERE space = ? AND held_until <= ? AND held_until IS NOT NULL"
_TAKE = """
SELECT key, due_at, payload FROM parked WHERE space = ? AND held_until IS NULL AND due_at <= ?
ORDER BY due_at LIMIT ?
"""
_HOLD = "UPDATE parked SET held_until = ? WHERE space = ? AND key = ?"
_REMOVE = "DELETE FROM parked WHERE space = ? AND key = ? AND due_at = ?"
_NEXT = """
SELECT min(at) FROM (
    SELECT min(due_at) AS at FROM parked WHERE space = ?1 AND held_until IS NULL
    UNION ALL SELECT min(held_until) FROM parked WHERE space = ?1 AND held_until IS NOT NULL)
"""


class SqliteSchedules:
    """Parked entries in one file; see `kernel.ports.schedule` for what each method promises.

    `now` decides what is due; leases run by the clock of this host, whatever `now` says. More than `max_batch`
    entries to add or remove are `Rejected`.
    """

    def __init__(self, location: Location) -> None:
        self._database = Database(location)
        self._features = ScheduleFeatures(
            survives="power" if location.synchronous == "full" else "service", max_batch=MAX_BATCH
        )

    @classmethod
    def from_url(cls, url: str) -> SqliteSchedules:
        """The store that a URL describes; `ConfigError` for what is none."""
        return cls(parse(url))

    @property
    def features(self) -> ScheduleFeatures:
        """What this store can do."""
        return self._features

    def open(self) -> None:
        """Open the file, creating it when it is missing. Idempotent; a closed store stays closed."""
        self._database.open()

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._database.close()

    def add(self, entries: Sequence[Parked]) -> None:
        """Store entries; one with the same space and key replaces the old and its lease."""
        _check_size(entries)
        with self._database.write() as connection:
            connection.executemany(_ADD, [(entry.space, entry.key, entry.due_at, entry.payload) for entry in entries])

    def take(self, space: str, now: float, limit: int, lease: float) -> list[Parked]:
        """Up to `limit` due entries, earliest first, hidden from other takers for `lease` seconds."""
        limit = min(limit, MAX_BATCH)
        if limit <= 0:
            return []
        asked_at = time.time()
        with self._database.write() as connection:
            until = time.time() + lease  # a long wait for the turn must not hand out leases that are over
            connection.execute(_FREE, (space, asked_at))
            rows = connection.execute(_TAKE, (space, now, limit)).fetchall()
            connection.executemany(_HOLD, [(until, space, row[0]) for row in rows])
        return [Parked(space, key, due_at, payload) for key, due_at, payload in rows]

    def remove(self, entries: Sequence[Parked]) -> None:
        """Delete entries that are still as given."""
        _check_size(entries)
        with self._database.write() as connection:
            connection.executemany(_REMOVE, [(entry.space, entry.key, entry.due_at) for entry in entries])

    def next_at(self, space: str) -> float | None:
        """The earliest time at which an entry of the space can be taken; None when it is empty."""
        with self._database.read() as connection:
            at: float | None = connection.execute(_NEXT, (space,)).fetchone()[0]
        return at


def _check_size(entries: Sequence[object]) -> None:
    if len(entries) > MAX_BATCH:
        raise Rejected(f"{len(entries)} in one call; at most {MAX_BATCH}")
