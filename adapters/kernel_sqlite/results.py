"""The ResultStore port on an SQLite file; the ranks are compared by the statement that writes."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Sequence
from math import inf

from kernel.errors import PartialPut, PortError, Rejected
from kernel.ports import Record, StoreFeatures
from kernel_sqlite.database import Database
from kernel_sqlite.url import Location, parse
from kernel_sqlite.wakeup import Bell, WaitingRoom, result_topic

#: Most records in one call.
MAX_BATCH = 5000
#: Largest value in bytes.
MAX_VALUE = 64 * 1024 * 1024
#: Seconds after which `wait` looks without having been called.
LOOK_FOR = 1.0
#: Expired records removed by one `put`, beyond twice the number that it writes.
SWEEP = 16

# `kernel.ports.results.outranked`, turned around, in SQL; an expired record is none.
_PUT = """
INSERT INTO result (key, value, final, generation, attempt, fence, expires_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
ON CONFLICT (key) DO UPDATE SET value = excluded.value, final = excluded.final, generation = excluded.generation,
    attempt = excluded.attempt, fence = excluded.fence, expires_at = excluded.expires_at
WHERE expires_at <= ?8 OR CASE WHEN final THEN excluded.generation > generation
    ELSE (excluded.generation, excluded.attempt, excluded.fence) >= (generation, attempt, fence) END
"""
_STANDING = "SELECT value FROM result WHERE key = ?"
_GET = """
SELECT key, value, final FROM result WHERE key IN (SELECT value FROM json_each(?))
AND (expires_at IS NULL OR expires_at > ?)
"""
_SWEEP = """
DELETE FROM result WHERE id IN (
    SELECT id FROM result WHERE expires_at <= ? AND expires_at IS NOT NULL ORDER BY expires_at LIMIT ?)
"""


class SqliteResults:
    """Records in one file; see `kernel.ports.results` for what each method promises.

    Expired records are never returned, and each `put` removes a bounded number of them.
    """

    def __init__(self, location: Location) -> None:
        self._database = Database(location)
        self._room = WaitingRoom(self._database.path)
        self._bell = Bell()
        self._roused = False
        self._features = StoreFeatures(
            survives="power" if location.synchronous == "full" else "service",
            max_value=MAX_VALUE,
            guarded=True,
            wait=True,
            max_batch=MAX_BATCH,
        )

    @classmethod
    def from_url(cls, url: str) -> SqliteResults:
        """The store that a URL describes; `ConfigError` for what is none."""
        return cls(parse(url))

    @property
    def features(self) -> StoreFeatures:
        """What this store can do."""
        return self._features

    def open(self) -> None:
        """Open the file, creating it when it is missing. Idempotent; a closed store stays closed."""
        self._database.open()

    def close(self) -> None:
        """Close the file; a blocked `wait` raises `Unavailable`. Idempotent."""
        self._database.close()
        self._bell.close()

    def put(self, items: Sequence[Record], ttl: float) -> list[bytes | None]:
        """Write every record that is not outranked; returns the standing record where one is."""
        _check_size(items)
        errors: dict[int, PortError] = {
            index: Rejected(f"{len(item.value)} bytes exceed {MAX_VALUE}")
            for index, item in enumerate(items)
            if len(item.value) > MAX_VALUE
        }
        good = [item for index, item in enumerate(items) if index not in errors] if errors else items
        now = time.time()
        rows = [(r.key, r.value, r.final, *r.rank, now + ttl if ttl else None, now) for r in good]
        written = self._put_all(rows, now)
        self._announce(good)
        if not errors:
            return written
        rest = iter(written)
        raise PartialPut(errors, [None if index in errors else next(rest) for index in range(len(items))])

    def get(self, keys: Sequence[str]) -> list[bytes | None]:
        """The standing value of each key, None where there is none."""
        return self._get(keys)[0]

    def delete(self, keys: Sequence[str]) -> None:
        """Forget."""
        _check_size(keys)
        with self._database.write() as connection:
            connection.executemany("DELETE FROM result WHERE key = ?", [(key,) for key in keys])

    def wait(self, keys: Sequence[str], timeout: float) -> list[bytes | None]:
        """As `get`, once at least one key has a final record or after `timeout` seconds."""
        values: list[bytes | None] = []

        def look() -> float | None:
            values[:], final = self._get(keys)
            return None if final or self._roused else LOOK_FOR

        self._room.watch([result_topic(key) for key in keys], timeout, self._bell, look)
        if self._roused:
            self._roused = False
            self._bell.hush()
        return values

    def rouse(self) -> None:
        """End a blocked `wait`, or the next one."""
        # Twice, as in `SqliteTransport.wake`: a bell that rings when its note was taken already would never be hushed.
        self._roused = True
        self._bell.ring()
        self._roused = True

    # -- inside ----------------------------------------------------------------------------------------------------

    def _put_all(self, rows: Sequence[tuple[object, ...]], now: float) -> list[bytes | None]:
        """All at once; when that shows that something was outranked, undone and done again one by one."""
        if not rows:
            return []
        try:
            with self._database.write() as connection:
                if connection.executemany(_PUT, rows).rowcount < len(rows):
                    raise _Outranked
                connection.execute(_SWEEP, (now, 2 * len(rows) + SWEEP))
        except _Outranked:
            with self._database.write() as connection:
                return [_put_one(connection, row) for row in rows]
        return [None] * len(rows)

    def _get(self, keys: Sequence[str]) -> tuple[list[bytes | None], bool]:
        _check_size(keys)
        with self._database.read() as connection:
            rows = connection.execute(_GET, (json.dumps(list(keys)), time.time())).fetchall()
        found = {row[0]: row[1] for row in rows}
        return [found.get(key) for key in keys], any(row[2] for row in rows)

    def _announce(self, items: Sequence[Record]) -> None:
        if self._room.waiting():
            self._room.call({result_topic(item.key): inf for item in items if item.final})


class _Outranked(Exception):
    """Ends a transaction that is to be done in another way."""


def _put_one(connection: sqlite3.Connection, row: tuple[object, ...]) -> bytes | None:
    if connection.execute(_PUT, row).rowcount:
        return None
    value: bytes = connection.execute(_STANDING, (row[0],)).fetchone()[0]
    return value


def _check_size(items: Sequence[object]) -> None:
    if len(items) > MAX_BATCH:
        raise Rejected(f"{len(items)} in one call; at most {MAX_BATCH}")
