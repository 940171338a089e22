"""Broadcast channels: notices in a table, read by every inbox from where it stands."""

from __future__ import annotations

import time
from collections.abc import Callable

from kernel.errors import Rejected
from kernel_sqlite.database import Database
from kernel_sqlite.wakeup import Bell, WaitingRoom, channel_topic

#: Seconds for which a notice waits for the inboxes that were open; one that reads later has missed it.
KEPT_FOR = 300.0
#: Old notices removed by one `publish`.
SWEEP = 100
#: Most notices returned by one `get`.
PAGE = 1000
#: Seconds between two looks of an inbox that nobody called.
LOOK_FOR = 1.0
#: Largest notice in bytes.
MAX_NOTICE = 1024 * 1024

_INSERT = "INSERT INTO notice (channel, at, payload) VALUES (?, ?, ?)"
_SWEEP = "DELETE FROM notice WHERE id IN (SELECT id FROM notice WHERE at < ? ORDER BY at LIMIT ?)"
_LAST = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'notice'), 0)"
_READ = "SELECT id, payload FROM notice WHERE channel = ? AND id > ? ORDER BY id LIMIT ?"


class Channels:
    """The channels of one database, and the inboxes that this transport has open."""

    def __init__(self, database: Database, room: WaitingRoom) -> None:
        self._database = database
        self._room = room
        self._inboxes: set[SqliteInbox] = set()

    def publish(self, channel: str, payload: bytes) -> None:
        """Hand a copy to every inbox of the channel; `Rejected` above `MAX_NOTICE` bytes."""
        if len(payload) > MAX_NOTICE:
            raise Rejected(f"{len(payload)} bytes exceed the {MAX_NOTICE} of a notice")
        now = time.time()
        with self._database.write() as connection:
            connection.execute(_INSERT, (channel, now, payload))
            connection.execute(_SWEEP, (now - KEPT_FOR, SWEEP))
        if self._room.waiting():
            self._room.call({channel_topic(channel): float("inf")})

    def listen(self, channel: str) -> SqliteInbox:
        """Open an inbox."""
        with self._database.read() as connection:
            last: int = connection.execute(_LAST).fetchone()[0]
        inbox = SqliteInbox(self._database, self._room, channel, last, self._inboxes.discard)
        self._inboxes.add(inbox)
        return inbox

    def close(self) -> None:
        """Close every inbox."""
        for inbox in list(self._inboxes):
            inbox.close()


class SqliteInbox:
    """A listener's own end of a channel; see `kernel.ports.Inbox`. After `close` it is empty for ever."""

    def __init__(
        self, database: Database, room: WaitingRoom, channel: str, last: int, closed: Callable[[SqliteInbox], None]
    ) -> None:
        self._database = database
        self._room = room
        self._channel = channel
        self._last = last
        self._on_close = closed
        self._bell = Bell()
        self._open = True

    def get(self, timeout: float) -> list[bytes]:
        """Payloads that came since, waiting up to `timeout` seconds for the first."""
        found: list[bytes] = []

        def look() -> float | None:
            if self._open:
                found.extend(self._read())
            return None if found or not self._open else LOOK_FOR

        if self._open:
            self._room.watch([channel_topic(self._channel)], timeout, self._bell, look)
        return found

    def close(self) -> None:
        """Stop listening. Idempotent."""
        self._open = False
        self._bell.close()
        self._on_close(self)

    def _read(self) -> list[bytes]:
        with self._database.read() as connection:
            rows = connection.execute(_READ, (self._channel, self._last, PAGE)).fetchall()
        if rows:
            self._last = rows[-1][0]
        return [row[1] for row in rows]
