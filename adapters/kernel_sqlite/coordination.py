"""The Coordination port on an SQLite file: every call is one write transaction."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from math import inf

from kernel.errors import Rejected
from kernel.ports import Acquire, Claim, CoordinationFeatures, Take, Tally
from kernel.ports.coordination import draw
from kernel_sqlite.database import Database
from kernel_sqlite.url import Location, parse

#: Most items in one call.
MAX_BATCH = 1000
#: Expired facts of a kind removed by one call, beyond twice the number of its items.
SWEEP = 16
#: Seconds for which a bucket that never fills (rate 0) is remembered after its last use.
BUCKET_FOR = 30 * 86400.0

_CLAIM = """
INSERT INTO claim (key, owner, expires_at) VALUES (?1, ?2, ?3)
ON CONFLICT (key) DO UPDATE SET owner = excluded.owner, expires_at = excluded.expires_at
WHERE owner = excluded.owner OR expires_at <= ?4
"""
_BUCKET = """
INSERT INTO bucket (key, tokens, filled_at, expires_at) VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE
SET tokens = excluded.tokens, filled_at = excluded.filled_at, expires_at = excluded.expires_at
"""
_SLOT = """
INSERT INTO slot (key, owner, expires_at) VALUES (?, ?, ?) ON CONFLICT (key, owner) DO UPDATE
SET expires_at = excluded.expires_at
"""
_SLOTS = "SELECT count(*), coalesce(max(owner = ?1), 0) FROM slot WHERE key = ?2 AND expires_at > ?3"
_LEAVE = "DELETE FROM slot WHERE key = ? AND owner = ? AND expires_at > ?"
_TALLY = """
INSERT INTO tally (key, size, expires_at) VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE
SET size = excluded.size, expires_at = excluded.expires_at
"""


class SqliteCoordination:
    """Shared facts in one file; see `kernel.ports.coordination` for what each method promises.

    More than `max_batch` items are `Rejected`. Tokens that can never come (more than the burst, or a rate of 0) are
    an infinite wait.
    """

    def __init__(self, location: Location) -> None:
        self._database = Database(location)
        self._features = CoordinationFeatures(
            survives="power" if location.synchronous == "full" else "service", max_batch=MAX_BATCH
        )

    @classmethod
    def from_url(cls, url: str) -> SqliteCoordination:
        """The service that a URL describes; `ConfigError` for what is none."""
        return cls(parse(url))

    @property
    def features(self) -> CoordinationFeatures:
        """What this service can do."""
        return self._features

    def open(self) -> None:
        """Open the file, creating it when it is missing. Idempotent; a closed one stays closed."""
        self._database.open()

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._database.close()

    def claim(self, items: Sequence[Claim]) -> list[str]:
        """Who owns each key now."""
        _check_size(items)
        with self._database.write() as connection:
            now = time.time()
            _sweep(connection, "claim", now, len(items))
            return [_claim(connection, item, now) for item in items]

    def drop(self, items: Sequence[tuple[str, str]]) -> None:
        """End claims, given as (key, owner)."""
        _check_size(items)
        with self._database.write() as connection:
            connection.executemany("DELETE FROM claim WHERE key = ? AND owner = ?", items)

    def tally(self, items: Sequence[Tally]) -> list[int]:
        """Add each member and return the size of its set after that."""
        _check_size(items)
        with self._database.write() as connection:
            now = time.time()
            _sweep_tallies(connection, now, len(items))
            return _tally(connection, items, now)

    def take(self, items: Sequence[Take]) -> list[float]:
        """The seconds until the tokens are there, taken where that is within `ahead`."""
        _check_size(items)
        with self._database.write() as connection:
            now = time.time()
            _sweep(connection, "bucket", now, len(items))
            return [_take(connection, item, now) for item in items]

    def acquire(self, items: Sequence[Acquire]) -> list[bool]:
        """Whether each owner now holds a slot."""
        _check_size(items)
        with self._database.write() as connection:
            now = time.time()
            _sweep(connection, "slot", now, len(items), "key, owner")
            return [_acquire(connection, item, now) for item in items]

    def release(self, items: Sequence[tuple[str, str]]) -> None:
        """Free slots, given as (key, owner)."""
        _check_size(items)
        with self._database.write() as connection:
            connection.executemany("DELETE FROM slot WHERE key = ? AND owner = ?", items)


def _check_size(items: Sequence[object]) -> None:
    if len(items) > MAX_BATCH:
        raise Rejected(f"{len(items)} in one call; at most {MAX_BATCH}")


def _sweep(connection: sqlite3.Connection, table: str, now: float, written: int, key: str = "key") -> None:
    connection.execute(
        f"DELETE FROM {table} WHERE ({key}) IN "
        f"(SELECT {key} FROM {table} WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)",
        (now, 2 * written + SWEEP),
    )


def _sweep_tallies(connection: sqlite3.Connection, now: float, written: int) -> None:
    limit = 2 * written + SWEEP
    keys = connection.execute(
        "SELECT key FROM tally WHERE expires_at <= ? ORDER BY expires_at LIMIT ?", (now, limit)
    ).fetchall()
    connection.executemany("DELETE FROM member WHERE key = ?", keys)
    connection.executemany("DELETE FROM tally WHERE key = ?", keys)


def _claim(connection: sqlite3.Connection, item: Claim, now: float) -> str:
    if item.renew:
        row = connection.execute("SELECT owner FROM claim WHERE key = ? AND expires_at > ?", (item.key, now)).fetchone()
        if row is None:
            return ""
    if connection.execute(_CLAIM, (item.key, item.owner, now + item.ttl, now)).rowcount:
        return item.owner
    owner: str = connection.execute("SELECT owner FROM claim WHERE key = ?", (item.key,)).fetchone()[0]
    return owner


def _tally(connection: sqlite3.Connection, items: Sequence[Tally], now: float) -> list[int]:
    """One statement for each member. Mostly all are members of one set, whose size is read and written once."""
    sizes: dict[str, int] = {}
    ends: dict[str, float] = {}
    after = []
    for item in items:
        key = item.key
        if key not in sizes:
            sizes[key] = _size(connection, key, now)
        sizes[key] += connection.execute(
            "INSERT OR IGNORE INTO member (key, name) VALUES (?, ?)", (key, item.member)
        ).rowcount
        ends[key] = now + item.ttl
        after.append(sizes[key])
    connection.executemany(_TALLY, [(key, size, ends[key]) for key, size in sizes.items()])
    return after


def _size(connection: sqlite3.Connection, key: str, now: float) -> int:
    """Of a set as it is; one whose time is over is emptied."""
    row = connection.execute("SELECT size, expires_at FROM tally WHERE key = ?", (key,)).fetchone()
    size, expires_at = row or (0, inf)
    if expires_at > now:
        return int(size)
    connection.execute("DELETE FROM member WHERE key = ?", (key,))
    return 0


def _take(connection: sqlite3.Connection, item: Take, now: float) -> float:
    row = connection.execute("SELECT tokens, filled_at FROM bucket WHERE key = ?", (item.bucket,)).fetchone()
    wait_for, drawn = draw(item, row, now)
    if drawn is not None:
        expires_at = now + min(drawn.full_in, BUCKET_FOR)
        connection.execute(_BUCKET, (item.bucket, drawn.tokens, drawn.filled_at, expires_at))
    return wait_for


def _acquire(connection: sqlite3.Connection, item: Acquire, now: float) -> bool:
    inherited = False
    if item.heir_of:
        inherited = connection.execute(_LEAVE, (item.key, item.heir_of, now)).rowcount > 0
    taken, own = connection.execute(_SLOTS, (item.owner, item.key, now)).fetchone()
    if not inherited and not own and taken >= item.limit:
        return False
    connection.execute(_SLOT, (item.key, item.owner, now + item.ttl))
    return True
