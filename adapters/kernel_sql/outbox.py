"""The Outbox port on SQL."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from kernel.errors import ConfigError
from kernel.ports import Fill, Row, Waiting
from kernel_sql import schema
from kernel_sql.database import Database, File, Server
from kernel_sql.rows import row, values

#: Bytes of a page of SQLite, unless somebody has changed that.
PAGE = 4096
#: MiB that a file may grow to by what `add` writes.
MAX = 256.0
#: Seconds to wait for another writer of a file.
TIMEOUT = 2.0


class SqlOutbox:
    """Rows in a table; see `kernel.ports.outbox` for what each method promises.

    Any number of relays may read one table. On PostgreSQL none waits for another one or for a transaction of the
    application; SQLite has one writer at a time, so there a long transaction holds up relays, which wait for it.
    """

    def __init__(self, database: Database, now: Callable[[], float] = time.time) -> None:
        self._database = database
        self._now = now

    @classmethod
    def from_url(cls, url: str) -> SqlOutbox:
        """`sqlite:///relative.db`, `sqlite:////absolute.db?max=MiB&timeout=seconds`, or an URL of SQLAlchemy."""
        scheme = url.partition("://")[0].partition("+")[0]
        if scheme == "sqlite":
            return cls(_file(url))
        if scheme not in schema.DIALECTS:
            raise ConfigError(f"{scheme}: an outbox is on one of {', '.join(schema.DIALECTS)}")
        return cls(Server(url, _shown(url)))

    def ddl(self) -> str:
        """The statements that make the tables."""
        return schema.ddl(self._database.dialect)

    def create(self) -> None:
        """Make the tables that are missing."""
        self._database.create()

    def open(self) -> None:
        """See that the table is there; a file that is empty or new gets it."""
        self._database.open()

    def close(self) -> None:
        """Close the connections."""
        self._database.close()

    def add(self, rows: Sequence[Row]) -> None:
        """Write all rows or none."""
        with self._database.transaction("add") as statements:
            statements.run_all(schema.ADD, [values(one) for one in rows])

    def claim(self, owner: str, limit: int, ttl: float) -> list[Row]:
        """Take rows from the others for `ttl` seconds."""
        now = self._now()
        with self._database.transaction("look") as statements:
            if statements.run(schema.LOOK, {"now": now}).fetchone() is None:
                return []  # the usual answer, for which no lock is taken
        pass_by = "" if self._database.dialect == "sqlite" else schema.PASS_BY
        with self._database.transaction("write") as statements:
            found = statements.run(schema.LAPSED + pass_by, {"now": now, "most": limit}).fetchall()
            if len(found) < limit:
                found += statements.run(schema.FREE + pass_by, {"most": limit - len(found)}).fetchall()
            rows = [row(one) for one in found]
            if rows:
                claims = [{"id": one.id, "owner": owner, "until": now + ttl} for one in rows]
                statements.run_all(schema.CLAIM, claims)
        return rows

    def drop(self, owner: str, ids: Sequence[str]) -> None:
        """Delete rows of this owner."""
        self._change(schema.DROP, [{"id": id, "owner": owner} for id in ids])

    def refuse(self, owner: str, reasons: Sequence[tuple[str, str]]) -> None:
        """Keep rows of this owner for somebody to look at."""
        self._change(schema.REFUSE, [{"id": id, "owner": owner, "reason": reason or "?"} for id, reason in reasons])

    def release(self, owner: str) -> None:
        """End the claim of this owner."""
        self._change(schema.RELEASE, [{"owner": owner}])

    def fill(self) -> Fill:
        """What is in the table."""
        with self._database.transaction("look") as statements:
            counts = {bool(refused): (count, oldest) for refused, count, oldest in statements.run(schema.COUNT, {})}
        waiting, oldest = counts.get(False, (0, None))
        return Fill(waiting, counts.get(True, (0, None))[0], oldest)

    def waiting(self, refused: bool, limit: int) -> list[Waiting]:
        """Rows as they are."""
        with self._database.transaction("look") as statements:
            found = statements.run(schema.SHOW, {"refused": refused, "most": limit}).fetchall()
        return [Waiting(id, queue, bytes(payload), at, reason) for id, queue, payload, at, reason in found]

    def retry(self, ids: Sequence[str]) -> int:
        """Let refused rows be claimed again."""
        return self._refused(schema.RETRY, ids)

    def purge(self, ids: Sequence[str]) -> int:
        """Delete refused rows."""
        return self._refused(schema.PURGE, ids)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _change(self, statement: str, each: Sequence[dict[str, Any]]) -> None:
        if each:
            with self._database.transaction("write") as statements:
                statements.run_all(statement, each)

    def _refused(self, statement: str, ids: Sequence[str]) -> int:
        with self._database.transaction("write") as statements:
            if not ids:
                return int(statements.run(statement, {}).rowcount)
            return sum(statements.run(statement + schema.ONE, {"id": id}).rowcount for id in ids)


def _file(url: str) -> File:
    parts = urlsplit(url)
    path = unquote(parts.path)[1:]
    if parts.netloc or parts.fragment or not path or path == ":memory:":
        raise ConfigError(f"{url}: write sqlite:///relative.db or sqlite:////absolute.db (a file, not :memory:)")
    numbers = {"max": MAX, "timeout": TIMEOUT}
    for key, text in parse_qsl(parts.query, keep_blank_values=True):
        if key not in numbers:
            raise ConfigError(f"{url}: unknown option {key!r}; known are max=MiB and timeout=seconds")
        try:
            numbers[key] = float(text)
        except ValueError:
            raise ConfigError(f"{url}: {key} is a number, not {text!r}") from None
        if not 0 < numbers[key] < 1e9:
            raise ConfigError(f"{url}: {key} is a number above 0, not {text}")
    return File(path, numbers["timeout"], max(16, int(numbers["max"] * 1024 * 1024) // PAGE))


def _shown(url: str) -> str:
    """A URL without credentials and options, which may hold some."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
