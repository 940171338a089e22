from __future__ import annotations

import itertools
import sqlite3
import threading
import time
from math import inf

import pytest
from kernel_sqlite import SqliteCoordination, SqliteResults, SqliteSchedules
from kernel_sqlite.results import MAX_VALUE

from kernel.errors import PartialPut, Rejected, Unavailable
from kernel.ports import Acquire, Claim, Parked, Record, Take, Tally, Waits
from kernel.ports.results import outranked


def record(key: str, value: bytes, *, final: bool = True, rank: tuple[int, int, int] = (0, 0, 0)) -> Record:
    return Record(key, value, final, rank)


# -- results ---------------------------------------------------------------------------------------------------------


def test_every_pair_of_ranks_is_decided_as_the_port_says(results: SqliteResults) -> None:
    ranks = list(itertools.product((0, 1), repeat=3))
    cases = list(itertools.product((False, True), ranks, (False, True), ranks))
    results.put([record(str(n), b"old", final=f, rank=r) for n, (f, r, _, _) in enumerate(cases)], 0.0)
    got = results.put([record(str(n), b"new", final=f, rank=r) for n, (_, _, f, r) in enumerate(cases)], 0.0)
    for (old_final, old_rank, final, rank), standing in zip(cases, got, strict=True):
        assert standing == (b"old" if outranked(final, rank, old_final, old_rank) else None)


def test_a_batch_is_written_in_order(results: SqliteResults) -> None:
    batch = [record("k", b"1", final=False), record("k", b"2"), record("k", b"3")]
    assert results.put(batch, 9.0) == [None, None, b"2"]
    assert results.get(["k", "none", "k"]) == [b"2", None, b"2"]
    results.delete(["k", "k"])
    assert results.get(["k"]) == [None]


def test_records_expire_and_leave_the_file(results: SqliteResults, url: str) -> None:
    results.put([record(str(n), b"x") for n in range(50)], -1.0)
    results.put([record("kept", b"x")], 0.0)
    assert results.get(["1", "kept"]) == [None, b"x"]
    assert results.put([record("1", b"new")], 60.0) == [None]
    for n in range(3):
        results.put([record(f"n{n}", b"x")], 60.0)
    with sqlite3.connect(url[len("sqlite:///") :].split("?", maxsplit=1)[0]) as connection:
        assert connection.execute("SELECT count(*) FROM result").fetchone() == (5,)
    connection.close()


def test_a_value_too_large_is_rejected_alone(results: SqliteResults) -> None:
    results.put([record("standing", b"first")], 0.0)
    with pytest.raises(PartialPut) as partial:
        results.put([record("a", b"1"), record("b", bytes(MAX_VALUE + 1)), record("standing", b"second")], 0.0)
    assert set(partial.value.errors) == {1}
    assert partial.value.standing == [None, None, b"first"]
    assert results.get(["a", "b"]) == [b"1", None]


def test_wait_returns_with_a_final_record_soon(results: SqliteResults, url: str) -> None:
    assert isinstance(results, Waits)
    other = SqliteResults.from_url(url)
    other.open()
    assert results.wait(["a", "b"], 0.0) == [None, None]
    other.put([record("a", b"started", final=False)], 60.0)
    got: list[tuple[list[bytes | None], float]] = []
    ready = threading.Event()

    def wait() -> None:
        ready.set()
        got.append((results.wait(["a", "b"], 10.0), time.monotonic()))

    thread = threading.Thread(target=wait)
    thread.start()
    ready.wait()
    time.sleep(0.1)
    start = time.monotonic()
    other.put([record("b", b"done")], 60.0)
    thread.join()
    other.close()
    assert got[0][0] == [b"started", b"done"]
    assert got[0][1] - start < 0.3


def test_close_ends_a_blocked_wait(results: SqliteResults) -> None:
    caught: list[BaseException] = []

    def wait() -> None:
        try:
            results.wait(["a"], 30.0)
        except Unavailable as error:
            caught.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.05)
    results.close()
    thread.join(5.0)
    assert caught


# -- coordination ----------------------------------------------------------------------------------------------------


def test_a_claim_has_one_owner_until_it_expires(coordination: SqliteCoordination) -> None:
    assert coordination.claim([Claim("k", "a", 60), Claim("k", "b", 60), Claim("k", "a", -1)]) == ["a", "a", "a"]
    assert coordination.claim([Claim("k", "b", 60)]) == ["b"]
    coordination.drop([("k", "a")])
    assert coordination.claim([Claim("k", "a", 60)]) == ["b"]
    coordination.drop([("k", "b"), ("k", "b")])
    assert coordination.claim([Claim("k", "a", 60)]) == ["a"]


def test_a_tally_counts_members_once(coordination: SqliteCoordination) -> None:
    assert coordination.tally([Tally("k", m, 60) for m in "aab"]) == [1, 1, 2]
    assert coordination.tally([Tally("k", "c", -1)]) == [3]
    assert coordination.tally([Tally("k", "a", 60)]) == [1]


def test_a_bucket_gives_what_it_has(coordination: SqliteCoordination) -> None:
    assert coordination.take([Take("b", 2, 1.0, 3), Take("b", 1, 1.0, 3)]) == [0.0, 0.0]
    [wait] = coordination.take([Take("b", 2, 1.0, 3)])
    assert 1.8 < wait <= 2.0
    assert coordination.take([Take("b", 4, 1.0, 3)]) == [inf]


def test_slots_are_limited_and_renewed(coordination: SqliteCoordination) -> None:
    assert coordination.acquire([Acquire("k", o, 2, 60) for o in "abca"]) == [True, True, False, True]
    coordination.release([("k", "a"), ("k", "a")])
    assert coordination.acquire([Acquire("k", "c", 2, -1)]) == [True]
    assert coordination.acquire([Acquire("k", "d", 2, 60), Acquire("k", "c", 2, 60)]) == [True, False]


def test_expired_facts_leave_the_file(coordination: SqliteCoordination, url: str) -> None:
    coordination.claim([Claim(str(n), "a", -1) for n in range(40)])
    coordination.tally([Tally(str(n), "a", -1) for n in range(40)])
    coordination.acquire([Acquire(str(n), "a", 1, -1) for n in range(40)])
    for _ in range(3):
        coordination.claim([Claim("k", "a", 60)])
        coordination.tally([Tally("k", "a", 60)])
        coordination.acquire([Acquire("k", "a", 1, 60)])
    connection = sqlite3.connect(url[len("sqlite:///") :].split("?", maxsplit=1)[0])
    for table in ("claim", "tally", "member", "slot"):
        assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (1,)
    connection.close()


def test_too_many_items_are_rejected(coordination: SqliteCoordination) -> None:
    with pytest.raises(Rejected):
        coordination.drop([("k", "a")] * 1001)


# -- schedules -------------------------------------------------------------------------------------------------------


def test_take_leases_and_remove_settles(schedules: SqliteSchedules) -> None:
    first, second, late = (Parked("s", key, due, key.encode()) for key, due in (("1", 1.0), ("2", 2.0), ("3", 30.0)))
    schedules.add([second, late, first, Parked("t", "1", 0.0, b"")])
    assert schedules.next_at("s") == 1.0
    assert schedules.take("s", 10.0, 9, 60.0) == [first, second]
    assert schedules.take("s", 10.0, 9, 60.0) == []
    assert schedules.next_at("s") == 30.0
    schedules.remove([first, first, Parked("s", "2", 5.0, b"")])
    schedules.add([second])
    assert schedules.take("s", 10.0, 1, -1.0) == [second]
    assert schedules.take("s", 10.0, 1, 60.0) == [second]
    schedules.remove([second, late])
    assert schedules.next_at("s") is None
