"""Where the tables are: an SQLite file, or a server by way of SQLAlchemy.

A connection to a file lives as long as one transaction. Opening one costs a tenth of a millisecond, and there is none
to be kept over a fork, to be shared by threads or to hold a file that was moved away.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, Protocol

from kernel.errors import ConfigError, PortError, Rejected, Sent, Unavailable
from kernel_sql import schema

Values = Mapping[str, Any]
#: look: one statement that reads; write: a transaction; add: one that the limit of the size holds for. A relay is not
#: kept from emptying what is full.
Purpose = Literal["look", "write", "add"]

_REMEDY = "`kernel outbox ddl` prints the statements that make it, `kernel outbox create` runs them"


class Statements(Protocol):
    """What a transaction runs."""

    def run(self, statement: str, values: Values) -> Any:
        """One statement; a cursor or result."""

    def run_all(self, statement: str, values: Sequence[Values]) -> None:
        """One statement for each of the values."""


class Database(Protocol):
    """The place of the tables."""

    #: A name in `schema.DIALECTS`.
    dialect: str

    def open(self) -> None:
        """See that the tables are there."""

    def create(self) -> None:
        """Make them."""

    def close(self) -> None:
        """Let go."""

    def transaction(self, purpose: Purpose) -> Any:
        """`with database.transaction("write") as statements:` committed at its end, rolled back when it raises."""


# -- a file --------------------------------------------------------------------------------------------------


class File:
    """An SQLite file that several threads and processes use."""

    dialect = "sqlite"

    def __init__(self, path: str, timeout: float, pages: int) -> None:
        """`timeout`: seconds to wait for another writer. `pages`: how far the file may grow."""
        self._path = os.path.abspath(path)
        self._timeout = timeout
        self._pages = pages

    def open(self) -> None:
        """Look for the table; make it in a file that is empty or new."""
        with self.transaction("look") as connection:
            found = {name for (name,) in connection.run("SELECT name FROM sqlite_master", {})}
        if not found:
            self.create()
        elif schema.TABLE not in found:
            raise ConfigError(f"{self._path} has no table {schema.TABLE}: {_REMEDY}")

    def create(self) -> None:
        """Make the tables."""
        with self.transaction("write") as connection:
            for statement in schema.statements(self.dialect):
                connection.run(statement, {})

    def close(self) -> None:
        """Nothing is held."""

    @contextmanager
    def transaction(self, purpose: Purpose) -> Iterator[Statements]:
        """`sent` on an error says whether the transaction may have happened."""
        sent: Sent = "no"
        try:
            connection = sqlite3.connect(self._path, timeout=self._timeout, isolation_level=None)
            try:
                connection.execute("PRAGMA synchronous = full")
                if purpose == "add":
                    connection.execute(f"PRAGMA max_page_count = {self._pages}")
                if purpose != "look":
                    connection.execute("BEGIN IMMEDIATE")
                yield _Connection(connection)
                if purpose != "look":
                    sent = "unknown"
                    connection.execute("COMMIT")
            finally:
                connection.close()  # which rolls back what was not committed
        except (sqlite3.Error, UnicodeEncodeError, OverflowError) as error:
            raise self._told(error, sent) from error

    def _told(self, error: Exception, sent: Sent) -> PortError | ConfigError:
        code = int(getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            return Rejected(f"{self._path} is full: run `kernel relay`, free the disk or raise max= in its URL")
        if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
            return ConfigError(f"{self._path}: cannot be written ({error}); check the directory and its permissions")
        if code == sqlite3.SQLITE_NOTADB:
            return ConfigError(f"{self._path}: not an SQLite file; name another one")
        if code == sqlite3.SQLITE_BUSY:
            return Unavailable(f"{self._path}: somebody else has been writing for {self._timeout:g} s")
        if not code or code in (sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH):
            return Rejected(f"SQLite refuses the value: {error}")
        return Unavailable(f"{self._path}: {error}", sent=sent)


class _Connection:
    """Statements of an SQLite connection."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def run(self, statement: str, values: Values) -> Any:
        """One statement."""
        return self._connection.execute(statement, values)

    def run_all(self, statement: str, values: Sequence[Values]) -> None:
        """One statement for each of the values."""
        self._connection.executemany(statement, values)


# -- a server ------------------------------------------------------------------------------------------------

#: Seconds for which a relay waits for a connection, for a lock and for an answer.
CONNECT_FOR, LOCK_FOR, ANSWER_FOR = 5, 5, 20
#: By driver, how it is told.
_LIBPQ = {
    "connect_timeout": CONNECT_FOR,
    "options": f"-c lock_timeout={LOCK_FOR}s -c statement_timeout={ANSWER_FOR}s",
    "tcp_user_timeout": ANSWER_FOR * 1000,
    "keepalives_idle": ANSWER_FOR,
}
_PATIENCE: Mapping[str, Mapping[str, Any]] = {"psycopg": _LIBPQ, "psycopg2": _LIBPQ}


class Server:
    """A database of SQLAlchemy."""

    def __init__(self, url: str, shown: str) -> None:
        self.dialect = url.partition("://")[0].partition("+")[0]
        self._url = url
        self._shown = shown
        self._engine: Any = None

    def open(self) -> None:
        """Connect and look for the table."""
        from sqlalchemy import inspect

        with self._errors():
            if not inspect(self._made()).has_table(schema.TABLE):
                raise ConfigError(f"{self._shown} has no table {schema.TABLE}: {_REMEDY}")

    def create(self) -> None:
        """Make the tables."""
        with self.transaction("write") as connection:
            for statement in schema.statements(self.dialect):
                connection.run(statement, {})

    def close(self) -> None:
        """Close the connections."""
        if self._engine is not None:
            self._engine.dispose()

    @contextmanager
    def transaction(self, purpose: Purpose) -> Iterator[Statements]:
        """`sent` on an error says whether the transaction may have happened."""
        with self._errors(), self._made().begin() as connection:
            yield SqlAlchemyStatements(connection)

    def _made(self) -> Any:
        if self._engine is None:
            from sqlalchemy import create_engine
            from sqlalchemy.engine import make_url

            driver = make_url(self._url).get_driver_name()
            patience = dict(_PATIENCE.get(driver, {}))
            # One connection, which only the relay uses, and a look at it before it is used again.
            self._engine = create_engine(self._url, pool_size=1, pool_pre_ping=True, connect_args=patience)
        return self._engine

    @contextmanager
    def _errors(self) -> Iterator[None]:
        from sqlalchemy import exc

        try:
            yield
        except exc.DBAPIError as error:
            kind = type(error)
            text = " ".join(str(error.orig).split())
            if kind in (exc.DataError, exc.IntegrityError):
                raise Rejected(f"{self._shown} refuses the value: {text}") from error
            if kind is exc.ProgrammingError:
                raise ConfigError(f"{self._shown}: {text}") from error
            raise Unavailable(f"{self._shown}: {text}", sent="unknown") from error
        except (exc.ArgumentError, exc.NoSuchModuleError) as error:
            raise ConfigError(f"{self._shown}: {error}") from error
        except exc.SQLAlchemyError as error:
            raise Unavailable(f"{self._shown}: {error}", sent="unknown") from error


class SqlAlchemyStatements:
    """Statements of a SQLAlchemy connection."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def run(self, statement: str, values: Values) -> Any:
        """One statement."""
        from sqlalchemy import text

        return self._connection.execute(text(statement), values)

    def run_all(self, statement: str, values: Sequence[Values]) -> None:
        """One statement for each of the values."""
        from sqlalchemy import text

        self._connection.execute(text(statement), values)
