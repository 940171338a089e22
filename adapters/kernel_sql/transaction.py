"""Rows in a transaction of the user's: of a DB-API connection or of SQLAlchemy, whose module is never imported here.

Which it is, is told by the module of its class, so that neither is imported for the other's sake.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from inspect import iscoroutinefunction
from typing import Any

from kernel.errors import ConfigError
from kernel.ports import Row, Transaction
from kernel_sql import schema
from kernel_sql.database import SqlAlchemyStatements, Statements, Values
from kernel_sql.rows import values

_NAME = re.compile(r":(\w+)")
#: By paramstyle (PEP 249), how a parameter is written, given its name and its number.
_STYLES: Mapping[str, Callable[[str, int], str]] = {
    "qmark": lambda name, number: "?",
    "numeric": lambda name, number: f":{number}",
    "named": lambda name, number: f":{name}",
    "format": lambda name, number: "%s",
    "pyformat": lambda name, number: f"%({name})s",
}


def transaction_of(thing: Any) -> Transaction | None:
    """The transaction of a DB-API connection (PEP 249), of a SQLAlchemy Connection or Session, or of an asynchronous
    one of SQLAlchemy; None for anything else."""
    roots = [kind.__module__.partition(".")[0] for kind in type(thing).__mro__]
    if "sqlalchemy" in roots:
        return _of_sqlalchemy(thing)
    for root in roots:
        style = str(getattr(sys.modules.get(root), "paramstyle", ""))
        if style in _STYLES and hasattr(thing, "cursor") and hasattr(thing, "commit"):
            if iscoroutinefunction(thing.commit):
                raise ConfigError(f"{root} is used with await here: hand over SQLAlchemy's AsyncSession instead")
            return Written(_Cursors(thing, style))
    return None


def _of_sqlalchemy(thing: Any) -> Transaction | None:
    if hasattr(thing, "run_sync"):
        return Awaited(thing)
    if hasattr(thing, "connection") and hasattr(thing, "get_bind"):  # Session, scoped_session
        return Written(SqlAlchemyStatements(thing.connection()))
    return Written(SqlAlchemyStatements(thing)) if hasattr(thing, "exec_driver_sql") else None


class Written:
    """A transaction that is used without await."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements

    def write(self, rows: Sequence[Row]) -> None:
        """Insert rows. Raises what the driver raises, which is the user's to know."""
        if rows:
            self._statements.run_all(schema.INSERT, [values(row) for row in rows])

    def note(self, key: str) -> bool:
        """Insert a key; whether it is new."""
        return int(self._statements.run(schema.NOTE, {"name": key, "noted_at": time.time()}).rowcount) == 1

    async def awrite(self, rows: Sequence[Row]) -> None:
        """The same."""
        self.write(rows)

    async def anote(self, key: str) -> bool:
        """The same."""
        return self.note(key)


class Awaited:
    """An AsyncSession or AsyncConnection of SQLAlchemy."""

    def __init__(self, thing: Any) -> None:
        self._thing = thing

    def write(self, rows: Sequence[Row]) -> None:
        """Refuses."""
        raise ConfigError("an asynchronous session is awaited: write `async with app.within(session):`")

    def note(self, key: str) -> bool:
        """Refuses."""
        raise ConfigError("an asynchronous session is awaited: write `await arun_once_within(session, key)`")

    async def awrite(self, rows: Sequence[Row]) -> None:
        """Insert rows."""
        await self._thing.run_sync(lambda sync: _written(sync).write(rows))

    async def anote(self, key: str) -> bool:
        """Insert a key; whether it is new."""
        return bool(await self._thing.run_sync(lambda sync: _written(sync).note(key)))


def _written(thing: Any) -> Transaction:
    found = _of_sqlalchemy(thing)
    assert found is not None
    return found


class _Cursors:
    """Statements of a DB-API connection, in the paramstyle of its module."""

    def __init__(self, connection: Any, style: str) -> None:
        self._connection = connection
        self._style = style

    def run(self, statement: str, given: Values) -> Any:
        """One statement; the cursor, not closed, because some forget their `rowcount` then."""
        text, names = self._rendered(statement)
        cursor = self._connection.cursor()
        cursor.execute(text, self._bound(names, given))
        return cursor

    def run_all(self, statement: str, given: Sequence[Values]) -> None:
        """One statement for each of the values."""
        text, names = self._rendered(statement)
        cursor = self._connection.cursor()
        try:
            cursor.executemany(text, [self._bound(names, one) for one in given])
        finally:
            cursor.close()

    def _rendered(self, statement: str) -> tuple[str, list[str]]:
        names = _NAME.findall(statement)
        numbers = iter(range(1, len(names) + 1))
        write = _STYLES[self._style]
        return _NAME.sub(lambda found: write(found[1], next(numbers)), statement), names

    def _bound(self, names: Sequence[str], given: Values) -> Any:
        if self._style in ("named", "pyformat"):
            return dict(given)
        return [given[name] for name in names]
