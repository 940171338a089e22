"""What tools see of the queues. An expired lease and a delay that is over count as ready, as a claim would see them."""

from __future__ import annotations

import sqlite3

from kernel.ports import QueueSize
from kernel_sqlite import messages
from kernel_sqlite.keys import first_key, last_key

_READY = """
SELECT id, ready_at AS at, payload FROM ready WHERE id BETWEEN :first AND :last
UNION ALL SELECT id, until, payload FROM leased WHERE queue = :queue AND until <= :now
UNION ALL SELECT id, due_at, payload FROM delayed WHERE queue = :queue AND due_at <= :now
"""
_SIZE = f"""
SELECT count(*), min(at), (SELECT count(*) FROM delayed WHERE queue = :queue AND due_at > :now),
    (SELECT count(*) FROM leased WHERE queue = :queue AND until > :now)
FROM ({_READY})
"""
_PEEK_READY = f"SELECT payload FROM ({_READY}) ORDER BY id LIMIT :limit"
_PEEK_DELAYED = "SELECT payload FROM delayed WHERE queue = ? AND due_at > ? ORDER BY due_at, id LIMIT ?"


def names(connection: sqlite3.Connection) -> list[str]:
    """All queues, sorted."""
    return sorted(row[0] for row in connection.execute("SELECT name FROM queue").fetchall())


def size(connection: sqlite3.Connection, name: str, now: float) -> QueueSize:
    """How full a queue is; an unknown one is empty."""
    queue = _number(connection, name)
    if queue is None:
        return QueueSize(name, 0, 0, 0)
    ready, oldest_at, delayed, in_flight = connection.execute(_SIZE, _bounds(queue, now)).fetchone()
    return QueueSize(name, ready, delayed, in_flight, oldest_at)


def peek(connection: sqlite3.Connection, name: str, limit: int, now: float) -> list[bytes]:
    """The next payloads, ready ones first."""
    queue = _number(connection, name)
    if queue is None or limit <= 0:
        return []
    rows = connection.execute(_PEEK_READY, {**_bounds(queue, now), "limit": limit}).fetchall()
    rows += connection.execute(_PEEK_DELAYED, (queue, now, limit - len(rows))).fetchall()
    return [row[0] for row in rows]


def purge(connection: sqlite3.Connection, name: str, now: float) -> int:
    """Drop what is not under a lease; returns how many."""
    queue = _number(connection, name)
    if queue is None:
        return 0
    connection.execute(messages.EXPIRED, (queue, now))
    connection.execute(messages.DROP_EXPIRED, (queue, now))
    ready = connection.execute(messages.UNREADY, (first_key(queue), last_key(queue))).rowcount
    return ready + connection.execute("DELETE FROM delayed WHERE queue = ?", (queue,)).rowcount


def _number(connection: sqlite3.Connection, name: str) -> int | None:
    row = connection.execute("SELECT id FROM queue WHERE name = ?", (name,)).fetchone()
    return None if row is None else row[0]


def _bounds(queue: int, now: float) -> dict[str, float]:
    return {"queue": queue, "now": now, "first": first_key(queue), "last": last_key(queue)}
