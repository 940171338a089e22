"""The statements of the transport, each inside of a transaction of the caller.

Every one of them walks a range of an index, so its cost depends on the batch and not on the backlog; a test reads
the query plans.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from kernel.errors import Rejected
from kernel.ports import Delivery, Outgoing
from kernel_sqlite.keys import QUEUE_SHIFT, SEQUENCE_BITS, TOP, first_key, last_key

#: Most delayed messages of a queue that one claim makes ready, so that a million that come due together stop nobody.
MATURE_AT_ONCE = 10_000

NEXT = "UPDATE counter SET value = value + ? WHERE id = 1 RETURNING value"
INSERT = "INSERT INTO ready (id, redelivered, ready_at, payload) VALUES (?, 0, ?, ?)"
INSERT_LATE = "INSERT INTO delayed (queue, due_at, id, payload) VALUES (?, ?, ?, ?)"
SELECT = "SELECT id, redelivered, payload FROM ready WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?"
LEASE = (
    "INSERT INTO leased (id, queue, until, token, redelivered, payload) "
    "SELECT id, ?, ?, ?, redelivered, payload FROM ready WHERE id BETWEEN ? AND ?"
)
UNREADY = "DELETE FROM ready WHERE id BETWEEN ? AND ?"
EXPIRED = (
    "INSERT INTO ready (id, redelivered, ready_at, payload) "
    "SELECT id, redelivered + 1, until, payload FROM leased WHERE queue = ? AND until <= ?"
)
DROP_EXPIRED = "DELETE FROM leased WHERE queue = ? AND until <= ?"
RIPE = "SELECT due_at, id FROM delayed WHERE queue = ? AND due_at <= ? ORDER BY due_at, id LIMIT ?"
MATURE = (
    "INSERT INTO ready (id, redelivered, ready_at, payload) "
    "SELECT id, 0, due_at, payload FROM delayed WHERE queue = ? AND (due_at, id) <= (?, ?)"
)
DROP_MATURE = "DELETE FROM delayed WHERE queue = ? AND (due_at, id) <= (?, ?)"
SETTLE = "DELETE FROM leased WHERE id BETWEEN ? AND ? AND token = ? RETURNING id"
RETURN = (
    "INSERT INTO ready (id, redelivered, ready_at, payload) "
    "SELECT id, redelivered, ?, payload FROM leased WHERE id BETWEEN ? AND ? AND token = ?"
)
EXTEND = "UPDATE leased SET until = ? WHERE id BETWEEN ? AND ? AND token = ? RETURNING id"
NEXT_AT = (
    "SELECT EXISTS (SELECT 1 FROM ready WHERE id BETWEEN ? AND ?), "
    "(SELECT min(due_at) FROM delayed WHERE queue = ?), (SELECT min(until) FROM leased WHERE queue = ?)"
)
ABANDON = (
    "INSERT INTO ready (id, redelivered, ready_at, payload) "
    "SELECT id, redelivered + 1, ?, payload FROM leased WHERE token BETWEEN ? AND ?"
)
DROP_ABANDONED = "DELETE FROM leased WHERE token BETWEEN ? AND ? RETURNING queue"


#: Messages whose lease was held, by key, with the token that held them.
Held = dict[int, int]


class Receipt(msgspec.Struct, gc=False):
    """Proof of one delivery: `token` is the fence, drawn anew for every claim."""

    key: int
    token: int
    #: Position in the claim; keys of one claim rise with it.
    index: int
    #: Acked by this transport: doing it again is no error.
    acked: bool = False


def insert(connection: sqlite3.Connection, batch: Sequence[Outgoing], queues: Mapping[str, int], now: float) -> None:
    """Store messages, ready or delayed."""
    last: int = connection.execute(NEXT, (len(batch),)).fetchone()[0]
    if last >> SEQUENCE_BITS:
        raise Rejected("the sequence of this database is used up; start a new file")
    heads = {name: (queue << QUEUE_SHIFT) + (TOP << SEQUENCE_BITS) for name, queue in queues.items()}
    ready = []
    late = []
    for sequence, out in enumerate(batch, last - len(batch) + 1):
        key = heads[out.queue] - (out.priority << SEQUENCE_BITS) + sequence
        if out.not_before <= now:
            ready.append((key, now, out.payload))
        else:
            late.append((queues[out.queue], out.not_before, key, out.payload))
    connection.executemany(INSERT, ready)
    if late:
        connection.executemany(INSERT_LATE, late)


def claim(
    connection: sqlite3.Connection, queue: tuple[str, int], limit: int, token: int, now: float, until: float
) -> list[Delivery]:
    """Move up to `limit` messages of a queue, given as name and number, under a lease that ends at `until`.

    `now` decides which delays and which leases of others are over.
    """
    name, number = queue
    if connection.execute(EXPIRED, (number, now)).rowcount:
        connection.execute(DROP_EXPIRED, (number, now))
    mature(connection, number, now)
    rows = connection.execute(SELECT, (first_key(number), last_key(number), limit)).fetchall()
    if not rows:
        return []
    first, last = rows[0][0], rows[-1][0]
    connection.execute(LEASE, (number, until, token, first, last))
    connection.execute(UNREADY, (first, last))
    return [
        Delivery(payload, name, Receipt(key, token, index), redelivered)
        for index, (key, redelivered, payload) in enumerate(rows)
    ]


def mature(connection: sqlite3.Connection, queue: int, now: float) -> None:
    """Make delayed messages ready whose time has come."""
    ripe = connection.execute(RIPE, (queue, now, MATURE_AT_ONCE)).fetchall()
    if ripe:
        connection.execute(MATURE, (queue, *ripe[-1]))
        connection.execute(DROP_MATURE, (queue, *ripe[-1]))


def settle(connection: sqlite3.Connection, receipts: Iterable[Receipt]) -> Held:
    """Delete leased messages; returns those whose lease was still held."""
    return _each_run(connection, SETTLE, (), receipts)


def give_back(connection: sqlite3.Connection, receipts: Sequence[Receipt], now: float) -> Held:
    """Move leased messages to their old place among the ready ones; returns those that were held."""
    for first, last, token in runs(receipts):
        connection.execute(RETURN, (now, first, last, token))
    return settle(connection, receipts)


def extend(connection: sqlite3.Connection, receipts: Iterable[Receipt], until: float) -> Held:
    """Set the end of leases; returns those that were held."""
    return _each_run(connection, EXTEND, (until,), receipts)


def next_at(connection: sqlite3.Connection, queues: Iterable[int]) -> float | None:
    """When the first message can be claimed: 0.0 for now, None when there is none; leases and delays count."""
    times: list[float] = []
    for queue in queues:
        ready, due_at, until = connection.execute(NEXT_AT, (first_key(queue), last_key(queue), queue, queue)).fetchone()
        if ready:
            return 0.0
        times.extend(at for at in (due_at, until) if at is not None)
    return min(times, default=None)


def abandon(connection: sqlite3.Connection, first_token: int, last_token: int, now: float) -> list[int]:
    """Give back what was claimed under a range of tokens, as deliveries that ended; returns the queue of each."""
    connection.execute(ABANDON, (now, first_token, last_token))
    return [row[0] for row in connection.execute(DROP_ABANDONED, (first_token, last_token)).fetchall()]


def runs(receipts: Iterable[Receipt]) -> Iterator[tuple[int, int, int]]:
    """Cut receipts into neighbours of one claim: (first key, last key, token).

    Between two neighbours there is no other message of that token, so a run is one statement instead of many:
    a sixth cheaper, and it tells which leases were lost.
    """
    first = last = token = -1
    following = -1
    for receipt in receipts:
        if receipt.token == token and receipt.index == following:
            last = receipt.key
        else:
            if token != -1:
                yield first, last, token
            first = last = receipt.key
            token = receipt.token
        following = receipt.index + 1
    if token != -1:
        yield first, last, token


def _each_run(
    connection: sqlite3.Connection, statement: str, before: tuple[float, ...], receipts: Iterable[Receipt]
) -> Held:
    held: Held = {}
    for run in runs(receipts):
        keys = [row[0] for row in connection.execute(statement, (*before, *run)).fetchall()]
        held.update(dict.fromkeys(keys, run[2]))
    return held
