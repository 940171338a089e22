"""Calls in a user's transaction: there when it is committed, never there when it is rolled back."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import psycopg
import pytest
from kernel_sql import SqlOutbox
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from kernel import Call, ConfigError, Kernel, arun_once_within, run_once_within
from kernel.envelope import decode
from kernel.sending.relay import Relay
from kernel.task import Task

#: Ways to a database that a user may have.
WAYS = ["dbapi", "connection", "session", "scoped"]


@pytest.fixture
def add(app: Kernel) -> Task[..., int, int]:
    @app.task(name="shop.add")
    def add(x: int, y: int = 0) -> int:
        return x + y

    return add


@contextmanager
def transaction(url: str, way: str) -> Iterator[Any]:
    """Committed at the end of the block, rolled back when it raises."""
    if way == "dbapi" and url.startswith("sqlite"):
        with closing(sqlite3.connect(url[10:])) as connection, connection:
            yield connection
        return
    if way == "dbapi":
        with psycopg.connect(url.replace("+psycopg", "")) as connection:
            yield connection
        return
    engine = create_engine(url)
    try:
        if way == "connection":
            with engine.begin() as connection:
                yield connection
        elif way == "session":
            with Session(engine) as session, session.begin():
                yield session
        else:
            registry = scoped_session(sessionmaker(engine))
            try:
                yield registry
                registry.commit()
            finally:
                registry.remove()
    finally:
        engine.dispose()


def calls(outbox: SqlOutbox) -> list[list[Any]]:
    import json

    return [json.loads(decode(row.payload).body)[0] for row in outbox.waiting(False, 1000)]


@pytest.mark.parametrize("way", WAYS)
def test_what_is_committed_is_there_and_nothing_before(
    way: str, url: str, outbox: SqlOutbox, app: Kernel, add: Task[..., int, int]
) -> None:
    with transaction(url, way) as open_one:
        result = add.send_within(open_one, (1, 2), countdown=60)
        if not url.startswith("sqlite"):
            assert calls(outbox) == []
    waiting = outbox.waiting(False, 10)
    assert [decode(row.payload).id for row in waiting] == [result.id]
    assert calls(outbox) == [[1, 2]]


@pytest.mark.parametrize("way", WAYS)
def test_what_is_rolled_back_never_was(
    way: str, url: str, outbox: SqlOutbox, app: Kernel, add: Task[..., int, int]
) -> None:
    with suppress(ZeroDivisionError), transaction(url, way) as open_one:
        add.send_within(open_one, (1, 2))
        raise ZeroDivisionError
    assert outbox.fill().waiting == 0


@pytest.mark.parametrize("way", WAYS)
def test_everything_that_is_sent_in_the_block_is_written(
    way: str, url: str, outbox: SqlOutbox, app: Kernel, add: Task[..., int, int]
) -> None:
    with transaction(url, way) as open_one, app.within(open_one):
        add.delay(0)
        add.apply_async((1,), {"y": 5}, priority=7)
        app.send_task("unknown.here", (2,))
        app.send_many(add, [(number,) for number in range(3, 50)])
        app.send_many(add, [Call((50,), options={"queue": "other"})])
    assert calls(outbox) == [[number] for number in range(51)]
    assert Relay(outbox, lambda: app.ports.transport).drain().sent == 51
    sizes = app.ports.transport.sizes(["default", "other"])  # type: ignore[attr-defined]
    assert [size.ready for size in sizes] == [50, 1]


def test_a_block_that_raises_writes_nothing_though_the_transaction_goes_on(
    url: str, outbox: SqlOutbox, app: Kernel, add: Task[..., int, int]
) -> None:
    with transaction(url, "session") as session:
        with suppress(ZeroDivisionError), app.within(session):
            add.delay(1)
            raise ZeroDivisionError
        add.send_within(session, (2,))
    assert calls(outbox) == [[2]]


def test_a_savepoint_that_is_rolled_back_takes_its_calls_along(
    url: str, outbox: SqlOutbox, app: Kernel, add: Task[..., int, int]
) -> None:
    with transaction(url, "session") as session:
        add.send_within(session, (1,))
        savepoint = session.begin_nested()
        add.send_within(session, (2,))
        savepoint.rollback()
    assert calls(outbox) == [[1]]


def test_an_asynchronous_session(url: str, outbox: SqlOutbox, app: Kernel, add: Task[..., int, int]) -> None:
    async def main() -> None:
        engine = create_async_engine(url.replace("sqlite:", "sqlite+aiosqlite:"))
        for fails in (True, False):
            try:
                async with AsyncSession(engine) as session, session.begin():
                    async with app.within(session):
                        await add.adelay(int(fails))
                    assert await arun_once_within(session, "x")
                    assert not await arun_once_within(session, "x")
                    if fails:
                        raise ZeroDivisionError
            except ZeroDivisionError:
                pass
        async with AsyncSession(engine) as session:
            with pytest.raises(ConfigError, match="async with"):
                add.send_within(session, (1,))
        await engine.dispose()

    asyncio.run(main())
    assert calls(outbox) == [[0]]


def test_the_transport_is_not_asked(url: str, outbox: SqlOutbox, free_port: int) -> None:
    with Kernel("away", transport=f"redis://127.0.0.1:{free_port}", send_timeout=30) as app:
        with transaction(url, "dbapi") as connection, app.within(connection):
            app.send_task("far.away", (1,))
    assert calls(outbox) == [[1]]


@pytest.mark.parametrize("thing", [object(), None, "sqlite:///x.db", create_engine("sqlite://")])
def test_what_is_no_transaction_is_refused(thing: object, app: Kernel) -> None:
    with pytest.raises(ConfigError, match="give a connection of a database driver"):
        app.within(thing)


def test_a_transaction_that_lasts_does_not_hold_up_a_relay(
    url: str, outbox: SqlOutbox, app: Kernel, add: Task[..., int, int]
) -> None:
    if url.startswith("sqlite"):
        pytest.skip("SQLite has one writer at a time: a relay waits for it")
    relay = Relay(outbox, lambda: app.ports.transport)
    with transaction(url, "session") as lasting:
        add.send_within(lasting, (1,))
        with transaction(url, "session") as short:
            add.send_within(short, (2,))
        assert relay.drain().sent == 1
        # Rows that somebody has locked are passed by.
        with transaction(url, "session") as short:
            add.send_within(short, (3,))
        lasting.execute(text("SELECT * FROM kernel_outbox FOR UPDATE"))
        with transaction(url, "session") as short:
            add.send_within(short, (4,))
        assert relay.drain().sent == 1
    assert relay.drain().sent == 2


# -- effects that happen once --------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_a_key_is_noted_with_the_transaction_or_not_at_all(way: str, url: str, outbox: SqlOutbox) -> None:
    with suppress(ZeroDivisionError), transaction(url, way) as open_one:
        assert run_once_within(open_one, "order 7")
        raise ZeroDivisionError
    with transaction(url, way) as open_one:
        assert run_once_within(open_one, "order 7")
        assert not run_once_within(open_one, "order 7")
        assert run_once_within(open_one, "order 8")
    with transaction(url, way) as open_one:
        assert not run_once_within(open_one, "order 7")
