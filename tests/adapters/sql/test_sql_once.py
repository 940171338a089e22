"""`run_once_within`: the key and the effect are committed together, whoever is killed or waits."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import pytest
from kernel_sql import SqlOutbox
from sqlalchemy import create_engine, text

from kernel import run_once_within

#: Books an order once; `die` kills the process between the effect and the commit.
PROGRAM = """
import os, sys, time
from kernel import run_once_within
from sqlalchemy import create_engine, text

url, order, die = sys.argv[1], sys.argv[2], len(sys.argv) > 3
engine = create_engine(url, connect_args={"timeout": 30} if url.startswith("sqlite") else {})
with engine.begin() as connection:
    if url.startswith("sqlite"):
        # pysqlite begins at the first write, and one that read before is refused when somebody else wrote meanwhile.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    if run_once_within(connection, order):
        connection.execute(text("INSERT INTO bookings (name) VALUES (:name)"), {"name": order})
        if die:
            os.kill(os.getpid(), 9)
"""


@pytest.fixture
def bookings(url: str, outbox: SqlOutbox) -> str:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE bookings (name TEXT)"))
    engine.dispose()
    return url


def booked(url: str) -> list[str]:
    engine = create_engine(url)
    with engine.begin() as connection:
        found = [name for (name,) in connection.execute(text("SELECT name FROM bookings"))]
    engine.dispose()
    return sorted(found)


def test_processes_at_once_and_one_killed_in_the_middle(bookings: str) -> None:
    command = [sys.executable, "-c", PROGRAM, bookings]
    assert subprocess.run([*command, "a", "die"], timeout=30).returncode == -signal.SIGKILL
    assert booked(bookings) == []
    running = [subprocess.Popen([*command, order], stderr=subprocess.PIPE) for order in "aabbaabb"]
    for process in running:
        assert process.communicate(timeout=60)[1] == b""
        assert process.returncode == 0
    assert booked(bookings) == ["a", "b"]


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("commits", [True, False])
def test_who_comes_second_waits_for_the_end_of_the_first(url: str, outbox: SqlOutbox, commits: bool) -> None:
    engine = create_engine(url)
    first = engine.connect()
    began = first.begin()
    assert run_once_within(first, "x")
    answers: list[bool] = []

    def second() -> None:
        with engine.begin() as connection:
            answers.append(run_once_within(connection, "x"))

    thread = threading.Thread(target=second)
    thread.start()
    thread.join(0.3)
    assert answers == []
    began.commit() if commits else began.rollback()
    thread.join(10)
    assert answers == [not commits]
    first.close()
    engine.dispose()


def test_a_plain_connection_of_sqlite_is_enough(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("plain") / "shop.db"
    SqlOutbox.from_url(f"sqlite:///{path}").create()
    with closing(sqlite3.connect(path)) as connection:
        with connection:
            assert run_once_within(connection, "x")
        with connection:
            assert not run_once_within(connection, "x")
