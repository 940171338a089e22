"""What only load, faults or bad luck bring about, each brought about on purpose."""

from __future__ import annotations

import gc
import os
import resource
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kernel_sqlite import SqliteCoordination, SqliteSchedules, SqliteTransport, database, messages, wakeup
from kernel_sqlite.url import Location
from kernel_sqlite.wakeup import WaitingRoom

from kernel.errors import Unavailable
from kernel.pools.raising import raise_in
from kernel.ports import Claim, Outgoing, Parked


@contextmanager
def locked(path: Path) -> Iterator[Callable[[], None]]:
    """Another process that writes; the block ends it by calling what it is given."""
    blocker = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    blocker.execute("BEGIN IMMEDIATE")
    try:
        yield blocker.rollback
    finally:
        blocker.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kernel.db"


@pytest.fixture
def brief(path: Path, opened: Callable[[Any], Any]) -> SqliteTransport:
    transport: SqliteTransport = opened(SqliteTransport.from_url(f"sqlite:///{path}?synchronous=normal&lease=0.5"))
    return transport


class Limit(Exception):
    """What a time limit raises in a task."""


# -- leases and waiting --------------------------------------------------------------------------------------------


def during_a_long_write(path: Path, call: Callable[[], Any], seconds: float) -> Any:
    """What `call` returns that had to wait so long for its turn to write."""
    got: list[Any] = []
    with locked(path) as unlock:
        thread = threading.Thread(target=lambda: got.append(call()))
        thread.start()
        time.sleep(seconds)  # the time itself is what is tested
        unlock()
        thread.join()
    return got[0]


def test_a_lease_begins_when_the_message_is_taken(brief: SqliteTransport, path: Path) -> None:
    brief.send([Outgoing("q", b"x")])
    [held] = during_a_long_write(path, lambda: brief.receive(["q"], 1, 0.0), 0.6)
    assert brief.receive(["q"], 1, 0.0) == []
    assert brief.ack([held]) == []


def test_who_could_not_renew_its_lease_keeps_it(brief: SqliteTransport, path: Path, opened: Any) -> None:
    other = opened(SqliteTransport.from_url(f"sqlite:///{path}?lease=0.5"))
    other.declare(["q"])
    brief.send([Outgoing("q", b"held"), Outgoing("q", b"ready")])
    held = brief.receive(["q"], 1, 0.0)
    [taken] = during_a_long_write(path, lambda: other.receive(["q"], 9, 0.0), 0.6)
    assert taken.payload == b"ready"
    assert brief.extend(held, 5.0) == []


def test_claims_and_held_entries_begin_when_they_are_made(path: Path, opened: Any) -> None:
    url = f"sqlite:///{path}"
    coordination = opened(SqliteCoordination.from_url(url))
    schedules = opened(SqliteSchedules.from_url(url))
    schedules.add([Parked("s", "k", 1.0, b"x")])
    during_a_long_write(path, lambda: coordination.claim([Claim("k", "a", 0.5)]), 0.6)
    assert coordination.claim([Claim("k", "b", 0.5)]) == ["a"]
    assert during_a_long_write(path, lambda: schedules.take("s", 2.0, 1, 0.5), 0.6)
    assert schedules.take("s", 2.0, 1, 0.5) == []


def test_nothing_is_taken_while_it_is_closed(transport: SqliteTransport, other: SqliteTransport) -> None:
    """A `receive` of another thread gets its turn right after `close` has given everything back."""
    transport.declare(["q"])
    other.send([Outgoing("q", b"x")])
    abandon = messages.abandon

    def and_receive(*args: Any) -> list[int]:
        freed = abandon(*args)
        receiver.start()
        time.sleep(0.1)  # nothing tells that a thread waits for its turn
        return freed

    def receive() -> None:
        try:
            transport.receive(["q"], 1, 0.0)
        except Unavailable as error:
            refused.append(error)

    refused: list[Unavailable] = []
    receiver = threading.Thread(target=receive)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(messages, "abandon", and_receive)
        transport._busy = True
        patch.setattr(transport._database, "close", receiver.join)
        transport.close()
    transport._database.close()
    assert refused
    assert len(other.receive(["q"], 1, 0.0)) == 1


# -- interrupts ----------------------------------------------------------------------------------------------------


def test_a_time_limit_while_waiting_for_the_turn_blocks_nobody(
    transport: SqliteTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that sends is told to end just as it gets the lock that another thread of its process held."""
    transport.declare(["q"])
    ended: list[BaseException] = []

    def task() -> None:
        try:
            transport.send([Outgoing("q", b"x")])
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=task)
    with transport._database.write():
        thread.start()
        time.sleep(0.2)  # nothing tells that a thread waits for a lock
        assert thread.ident
        assert raise_in(thread.ident, Limit())
    thread.join()
    assert type(ended.pop()) is Limit
    assert transport._database._writing.acquire(timeout=1.0)
    transport._database._writing.release()
    transport.send([Outgoing("q", b"y")])
    assert [delivery.payload for delivery in transport.receive(["q"], 9, 0.0)] == [b"y"]


def test_a_connection_left_in_a_transaction_is_not_used_again(transport: SqliteTransport, path: Path) -> None:
    def leave_it_open() -> None:
        with transport._database.read() as connection:
            connection.execute("BEGIN IMMEDIATE")
            raise Limit

    with pytest.raises(Limit):
        leave_it_open()
    with locked(path) as unlock:
        unlock()


def test_a_wake_that_comes_late_leaves_no_wait_that_spins(
    transport: SqliteTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport.receive(["q"], 1, 0.01)
    ring = transport._bell.ring

    def slow_ring() -> None:  # the receiver takes note of the wake before the bell has rung
        transport.receive(["q"], 1, 0.0)
        ring()

    monkeypatch.setattr(transport._bell, "ring", slow_ring)
    transport.wake()
    transport.receive(["q"], 1, 0.0)
    looks = 0
    read = transport._database.read

    def counted() -> Any:
        nonlocal looks
        looks += 1
        return read()

    monkeypatch.setattr(transport._database, "read", counted)
    assert transport.receive(["q"], 1, 0.3) == []
    assert looks < 10


# -- the file ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_was_removed_takes_no_message(
    transport: SqliteTransport, path: Path, opened: Any, replaced: bool
) -> None:
    transport.send([Outgoing("q", b"x")])
    path.rename(path.with_suffix(".old"))
    if replaced:
        opened(SqliteTransport.from_url(f"sqlite:///{path}.new"))
        path.with_name("kernel.db.new").rename(path)
    for call in (lambda: transport.send([Outgoing("q", b"y")]), lambda: transport.receive(["q"], 1, 0.0)):
        with pytest.raises(Unavailable, match="gone, or is another"):
            call()
    assert replaced or not path.exists()


def test_damage_is_told_as_what_it_is(transport: SqliteTransport, path: Path) -> None:
    for _ in range(50):
        transport.send([Outgoing("q", bytes(1000))])
    with transport._database.read() as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))
    transport._database._idle.pop().close()
    with pytest.raises(Unavailable, match=r"damaged.*restore"):
        transport.receive(["q"], 10, 0.0)


def test_a_log_that_no_commit_starts_anew_does_not_grow_for_ever(
    path: Path, opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under load from several processes, where each commit finds something new that is not copied back."""
    monkeypatch.setattr(database, "CHECKPOINT_PAGES", 0)
    monkeypatch.setattr(database, "LOG_BYTES", 200_000)
    monkeypatch.setattr(database, "COMMITS", 8)
    transport = opened(SqliteTransport.from_url(f"sqlite:///{path}?synchronous=normal"))
    log = path.with_name("kernel.db-wal")
    sizes = []
    for _ in range(100):
        transport.send([Outgoing("q", bytes(10_000))])
        sizes.append(log.stat().st_size)
    assert max(sizes) < 600_000
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM ready").fetchone()
    start = time.monotonic()
    for _ in range(50):
        transport.send([Outgoing("q", bytes(10_000))])
    assert time.monotonic() - start < 1.0  # somebody who reads for long holds nobody up
    reader.close()
    transport._database._anew_at = 0.0
    for _ in range(10):
        transport.send([Outgoing("q", bytes(10_000))])
    assert log.stat().st_size < 600_000
    assert len(transport.receive(["q"], 1000, 0.0)) == 160


def test_opening_waits_for_no_writer(transport: SqliteTransport, path: Path) -> None:
    with locked(path) as unlock:
        other = SqliteTransport.from_url(f"sqlite:///{path}?timeout=0.1")
        other.open()
        unlock()
    other.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_that_forgets_it_closes_nothing(path: Path, opened: Any) -> None:
    box = [opened(database.Database(Location(path=str(path))))]
    child = os.fork()
    if child == 0:
        before = len(database._inherited)
        held = [object_ for object_ in gc.get_referrers(box[0]) if isinstance(object_, list)]
        for some in held:
            some.clear()
        gc.collect()
        os._exit(0 if len(database._inherited) > before else 1)
    assert os.waitpid(child, 0)[1] == 0


# -- descriptors and waiters ---------------------------------------------------------------------------------------


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(limits[0], 256), limits[1]))
    try:
        try:
            while True:
                taken.append(os.dup(2))
        except OSError:
            pass
        yield
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_no_descriptor_left_is_unavailable_and_takes_no_waiter_away(
    transport: SqliteTransport, other: SqliteTransport, path: Path
) -> None:
    transport.send([Outgoing("q", b"x")])
    transport.ack(transport.receive(["q"], 1, 0.0))
    room = WaitingRoom(str(path))
    waiter = room.enter([wakeup.queue_topic(transport._queues["q"])])
    assert waiter
    transport._room.waiting()
    time.sleep(0.06)  # until the listing is trusted
    transport._room.waiting()
    with no_descriptor_left():
        with pytest.raises(Unavailable):
            other.receive(["elsewhere"], 1, 0.1)
        with pytest.raises(Unavailable):
            transport.receive(["none"], 1, 0.1)
        transport.send([Outgoing("q", b"y")])
        assert len(list(transport._room.waiting())) == 1
    transport.send([Outgoing("q", b"z")])
    assert waiter.leave()
    assert [delivery.payload for delivery in transport.receive(["q"], 9, 0.1)] == [b"y", b"z"]


def test_a_waiter_for_anything_takes_no_call_from_another(transport: SqliteTransport, path: Path) -> None:
    transport.declare(["q"])
    room = WaitingRoom(str(path))
    topic = wakeup.queue_topic(transport._queues["q"])
    crowd = [room.enter([f"{kind}{number}" for number in range(1000)]) for kind in "rrrqqq"]
    one = room.enter([topic])
    transport.send([Outgoing("q", b"x")])
    assert one
    assert one.leave()
    assert [waiter and waiter.leave() for waiter in crowd] == [False] * 3 + [True] * 3
