"""The file: who may open it, what goes wrong with it, and what its statements cost."""

from __future__ import annotations

import os
import resource
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kernel_sqlite import SqliteResults, SqliteTransport, messages
from kernel_sqlite.database import CHECKPOINT_PAGES, Database
from kernel_sqlite.keys import first_key, key_of, last_key, queue_of
from kernel_sqlite.url import Location, parse

from kernel.errors import ConfigError, Unavailable
from kernel.ports import Outgoing, Record


def test_urls() -> None:
    assert parse("sqlite:///a/b.db").path == "a/b.db"
    location = parse("sqlite:////a%20b.db?synchronous=normal&timeout=0.5&lease=3")
    assert location == Location(path="/a b.db", synchronous="normal", timeout=0.5, lease=3.0)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite://host/a.db",
        "sqlite:///a.db#x",
        "sqlite:///a.db?synchronous=off",
        "sqlite:///a.db?timeout=soon",
        "sqlite:///a.db?timeout=-1",
        "sqlite:///a.db?lease=0",
        "sqlite:///a.db?lease=inf",
    ],
)
def test_unsound_urls(url: str) -> None:
    with pytest.raises(ConfigError):
        parse(url)


def test_an_unknown_option_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="synchronous"):
        parse("sqlite:///a.db?sync=full")


def test_durability_is_what_the_file_does(tmp_path: Path, opened: Callable[[Any], Any]) -> None:
    for option, survives, level in (("", "power", 2), ("?synchronous=normal", "service", 1)):
        transport = opened(SqliteTransport.from_url(f"sqlite:///{tmp_path}/a.db{option}"))
        assert transport.features.survives == survives
        with transport._database.read() as connection:
            assert connection.execute("PRAGMA synchronous").fetchone() == (level,)
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def write(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def test_files_that_are_not_ours_are_refused_and_left_alone(tmp_path: Path) -> None:
    noise, foreign, marked, newer = (tmp_path / name for name in ("noise", "foreign", "marked", "newer"))
    noise.write_bytes(os.urandom(5000))
    write(foreign, "CREATE TABLE users (id)")
    write(marked, "PRAGMA application_id = 7")
    database = Database(Location(path=str(newer)))
    database.open()
    database.close()
    write(newer, "PRAGMA user_version = 99")
    for path in (noise, foreign, marked, newer, tmp_path, tmp_path / "no" / "where.db"):
        before = path.read_bytes() if path.is_file() else None
        with pytest.raises(ConfigError) as error:
            SqliteTransport(Location(path=str(path))).open()
        assert "\n" not in str(error.value)
        assert str(path) in str(error.value)
        assert before == (path.read_bytes() if path.is_file() else None)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    database = Database(Location(path=str(path)))
    database.open()
    database.close()
    content = bytearray(path.read_bytes())
    content[100:4096] = b"\xff" * 3996
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="damaged"):
        SqliteTransport(Location(path=str(path))).open()


def test_a_locked_file_is_unavailable_for_a_while(tmp_path: Path, opened: Callable[[Any], Any]) -> None:
    transport = opened(SqliteTransport.from_url(f"sqlite:///{tmp_path}/a.db?timeout=0.05"))
    transport.declare(["q"])
    blocker = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable) as error:
        transport.send([Outgoing("q", b"x")])
    assert error.value.sent == "no"
    blocker.execute("ROLLBACK")
    blocker.close()
    transport.send([Outgoing("q", b"x")])
    assert len(transport.receive(["q"], 9, 0.0)) == 1


def test_a_full_disk_is_unavailable_and_loses_nothing(
    transport: SqliteTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = Database._connect

    def small(self: Database) -> sqlite3.Connection:
        connection = connect(self)
        connection.execute("PRAGMA max_page_count = 200")
        return connection

    transport._database._idle.pop().close()
    monkeypatch.setattr(Database, "_connect", small)
    stored = fill(transport)
    monkeypatch.setattr(Database, "_connect", connect)
    check_it_goes_on(transport, stored)


def test_a_commit_that_fails_half_way_did_nothing(transport: SqliteTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    transport.send([Outgoing("q", b"x")])
    held = transport.receive(["q"], 1, 0.0)
    transport.declare(["next"])
    monkeypatch.setattr(messages, "INSERT", "INSERT INTO nowhere VALUES (?, ?, ?)")
    with pytest.raises(Unavailable) as error:
        transport.commit([(held[0], [Outgoing("next", b"y")])])
    assert error.value.sent == "no"
    monkeypatch.undo()
    assert transport.receive(["next"], 1, 0.0) == []
    assert transport.commit([(held[0], [Outgoing("next", b"y")])]) == []
    assert [delivery.payload for delivery in transport.receive(["next"], 9, 0.0)] == [b"y"]


def test_a_disk_that_fails_is_unavailable_and_loses_nothing(transport: SqliteTransport, tmp_path: Path) -> None:
    transport.declare(["q"])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = (tmp_path / "kernel.db-wal").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 500_000, before[1]))
    try:
        stored = fill(transport)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    check_it_goes_on(transport, stored)


def fill(transport: SqliteTransport) -> int:
    """Send until it fails twice; returns how many messages were accepted."""
    stored = 0
    failures = 0
    while failures < 2:
        try:
            transport.send([Outgoing("q", b"%d" % stored + bytes(10_000))])
            stored += 1
        except Unavailable:
            failures += 1
        assert stored < 1000
    assert stored > 10
    return stored


def check_it_goes_on(transport: SqliteTransport, stored: int) -> None:
    transport.send([Outgoing("q", b"after")])
    got = [delivery.payload.rstrip(b"\0") for delivery in transport.receive(["q"], 1000, 0.0)]
    assert got == [*(b"%d" % index for index in range(stored)), b"after"]


def test_a_file_that_has_gone_is_unavailable(transport: SqliteTransport, tmp_path: Path) -> None:
    transport.send([Outgoing("q", b"x")])
    transport._database._idle.pop().close()
    (tmp_path / "kernel.db").unlink()
    with pytest.raises(Unavailable, match="gone"):
        transport.send([Outgoing("q", b"x")])


def test_the_log_does_not_grow_for_ever(url: str, transport: SqliteTransport, other: SqliteTransport) -> None:
    idle = SqliteResults.from_url(url)
    idle.open()
    idle.get(["x"])
    other.receive(["q"], 1, 0.0)
    for _ in range(60):
        transport.send([Outgoing("q", bytes(10_000)) for _ in range(100)])
        transport.ack(transport.receive(["q"], 100, 0.0))
    path = url[len("sqlite:///") :].partition("?")[0]
    assert os.path.getsize(path + "-wal") < 3 * CHECKPOINT_PAGES * 4096
    idle.close()


def test_threads_share_it(transport: SqliteTransport, results: SqliteResults) -> None:
    def work(letter: str) -> None:
        for index in range(50):
            transport.send([Outgoing("q", f"{letter}{index}".encode())])
            results.put([Record(f"{letter}{index}", b"x", True, (0, 0, 0))], 60.0)

    threads = [threading.Thread(target=work, args=(letter,)) for letter in "abcd"]
    for thread in threads:
        thread.start()
    got: list[bytes] = []
    while len(got) < 200 and (batch := transport.receive(["q"], 20, 5.0)):
        assert transport.ack(batch) == []
        got += [delivery.payload for delivery in batch]
    for thread in threads:
        thread.join()
    assert sorted(got) == sorted(f"{letter}{index}".encode() for letter in "abcd" for index in range(50))
    assert None not in results.get([payload.decode() for payload in got])


def test_keys_sort_by_queue_then_priority_then_sequence() -> None:
    keys = [key_of(1, 9, 5), key_of(1, 9, 6), key_of(1, 0, 1), key_of(2, 9, 0)]
    assert keys == sorted(keys)
    assert [queue_of(key) for key in keys] == [1, 1, 1, 2]
    assert all(first_key(1) <= key <= last_key(1) < keys[3] for key in keys[:3])
    assert last_key(2**16 - 1) == 2**63 - 1


#: Everything that runs for a batch of messages.
STATEMENTS = ["SELECT", "LEASE", "UNREADY", "EXPIRED", "DROP_EXPIRED", "RIPE", "MATURE", "DROP_MATURE"]
STATEMENTS += ["SETTLE", "RETURN", "EXTEND", "NEXT_AT"]


@pytest.mark.parametrize("name", STATEMENTS)
def test_no_statement_scans_or_sorts(transport: SqliteTransport, name: str) -> None:
    statement: str = getattr(messages, name)
    with transport._database.read() as connection:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", (1,) * statement.count("?"))]
    assert plan
    assert not [step for step in plan if "TEMP B-TREE" in step or (step.startswith("SCAN") and "CONSTANT" not in step)]
