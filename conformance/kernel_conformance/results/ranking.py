"""The standing record: which write counts, whoever comes first."""

from __future__ import annotations

from collections.abc import Callable

from kernel.ports import Record
from kernel_conformance.clause import claims
from kernel_conformance.results.bench import GUARDED, TTL, FullStore, StoreBench


def test_the_first_final_wins(bench: StoreBench) -> None:
    """R-RANK-1: within a generation the first final record stands, whatever attempt and fence come later.

    Fix: refuse every write of the same generation once a final record is there, and return its value.
    """
    assert bench.put(b"first", 0, 0, 0) is None
    assert bench.put(b"retry", 0, 5, 0) == b"first"
    assert bench.put(b"fence", 0, 0, 9) == b"first"
    assert bench.put(b"started", 0, 9, 9, final=False) == b"first"
    assert bench.get() == b"first"


def test_a_higher_generation_replaces(bench: StoreBench) -> None:
    """R-RANK-2: a record of a higher generation replaces a final one; one of a lower generation never does.

    Fix: compare generations before anything else.
    """
    assert bench.put(b"old", 1, 7, 7) is None
    assert bench.put(b"new", 2, 0, 0) is None
    assert bench.put(b"late", 1, 9, 9) == b"new"
    assert bench.put(b"older", 0, 0, 0, final=False) == b"new"
    assert bench.get() == b"new"


def test_a_started_record_of_a_requeue(bench: StoreBench) -> None:
    """R-RANK-3: a record that is not final, of a higher generation, replaces a final one of a lower generation.

    Fix: let the generation decide also for records that are not final.
    """
    bench.put(b"failed", 0, 3, 1)
    assert bench.put(b"started again", 1, 0, 0, final=False) is None
    assert bench.get() == b"started again"


def test_the_overtaken_write_nothing(bench: StoreBench) -> None:
    """R-RANK-4: a record that is not final stands against lower ranks, final ones included.

    Fix: refuse a rank below that of the standing record; the zombie of a redelivery must not write.
    """
    assert bench.put(b"started by the second", 0, 0, 1, final=False) is None
    assert bench.put(b"zombie", 0, 0, 0) == b"started by the second"
    assert bench.put(b"zombie", 0, 0, 0, final=False) == b"started by the second"
    assert bench.get() == b"started by the second"


def test_equal_and_higher_ranks_replace_what_is_not_final(bench: StoreBench) -> None:
    """R-RANK-5: an equal or higher rank replaces a record that is not final.

    Fix: refuse lower ranks only; ranks compare as (generation, attempt, fence).
    """
    assert bench.put(b"progress 1", 0, 0, 1, final=False) is None
    assert bench.put(b"progress 2", 0, 0, 1, final=False) is None
    assert bench.put(b"retry", 0, 1, 0, final=False) is None
    assert bench.put(b"done", 0, 1, 0) is None
    assert bench.get() == b"done"


def test_ranks_compare_as_numbers(bench: StoreBench) -> None:
    """R-RANK-6: ranks are numbers: 10 is above 9, and attempt goes before fence.

    Fix: do not compare ranks as text; pad or pack them.
    """
    assert bench.put(b"nine", 0, 9, 50, final=False) is None
    assert bench.put(b"ten", 0, 10, 0, final=False) is None
    assert bench.put(b"nine", 0, 9, 100, final=False) == b"ten"
    assert bench.put(b"large", 3, 100_000, 70_000, final=False) is None
    assert bench.put(b"less", 3, 100_000, 69_999) == b"large"
    assert bench.get() == b"large"


def test_a_repeated_final_is_told_of_itself(bench: StoreBench) -> None:
    """R-RANK-7: repeating a final write returns the value that stands, so that its effects can be repeated.

    Fix: return the stored value also when the rank is equal.
    """
    assert bench.put(b"done") is None
    assert bench.put(b"done") == b"done"


def test_a_batch_is_written_in_order(bench: StoreBench) -> None:
    """R-RANK-8: a batch is written in order, answers are per item, and one key may come twice.

    Fix: apply the rules item by item; do not merge a batch by key.
    """
    bench.put(b"stands", key="b")
    batch = [
        Record("a", b"first", True, (0, 0, 0)),
        Record("b", b"late", True, (0, 0, 0)),
        Record("a", b"second", True, (0, 0, 0)),
        Record("c", b"c", False, (0, 0, 0)),
    ]
    assert bench.first.put(batch, 600.0) == [None, b"stands", b"first", None]
    assert bench.first.get(["c", "a", "b", "none", "a"]) == [b"c", b"first", b"stands", None, b"first"]


@claims(GUARDED)
def test_racing_writers_agree(bench: StoreBench) -> None:
    """R-RANK-9: of several final writes at one moment exactly one is written, and all others are told which.

    Fix: compare and write in one atomic step of the service (a script, a conditional update, a transaction).
    """
    stores = [bench.first, bench.open(), bench.open(), bench.open()]
    keys = [f"k{number}" for number in range(40)]

    def writer(store: FullStore, name: bytes) -> Callable[[], list[bytes | None]]:
        return lambda: [store.put([Record(key, name, True, (0, 0, 0))], 600.0)[0] for key in keys]

    answers = bench.all([bench.call(writer(store, b"%d" % number)) for number, store in enumerate(stores)])
    for index, standing in enumerate(bench.first.get(keys)):
        told = [answer[index] for answer in answers]
        assert told.count(None) == 1, "two writers were told that their final record was written"
        assert {value for value in told if value is not None} == {standing}
        assert b"%d" % told.index(None) == standing


def test_delete_forgets(bench: StoreBench) -> None:
    """R-DELETE-1: a deleted record is gone with its rank; deleting again, or what never was, is no error.

    Fix: remove the whole record.
    """
    bench.put(b"x", 5, 5, 5)
    bench.put(b"y", key="other")
    bench.first.delete(["k", "never"])
    bench.first.delete(["k"])
    assert bench.first.get(["k", "other"]) == [None, b"y"]
    assert bench.put(b"new", 0, 0, 0) is None
    assert bench.get() == b"new"


@claims(TTL)
def test_records_expire(bench: StoreBench) -> None:
    """R-TTL-1: after its time to live a record is gone, also for the rules; not before.

    Fix: check the expiry when reading and when comparing ranks; removal may come later.
    """
    ttl = 50.0 if bench.tuning.clock else 1.0
    bench.put(b"x", 4, 0, 0, ttl=ttl)
    bench.pass_time(ttl * 0.5)
    assert bench.get() == b"x", "a record was gone before its time"
    bench.pass_time(ttl * 0.6)
    assert bench.get() is None
    assert bench.put(b"low", 0, 0, 0, ttl=ttl) is None, "an expired record still stands"


@claims(TTL)
def test_each_write_starts_the_time_again(bench: StoreBench) -> None:
    """R-TTL-2: the time to live starts again with each write that is stored.

    Fix: set the expiry together with the value.
    """
    ttl = 50.0 if bench.tuning.clock else 1.0
    bench.put(b"started", 0, 0, 0, final=False, ttl=ttl)
    bench.pass_time(ttl * 0.7)
    bench.put(b"done", 0, 0, 0, ttl=ttl)
    bench.pass_time(ttl * 0.7)
    assert bench.get() == b"done"


@claims(TTL)
def test_zero_keeps_for_ever(bench: StoreBench) -> None:
    """R-TTL-3: a time to live of 0.0 keeps the record for ever.

    Fix: take 0.0 for "no expiry", not for "expired".
    """
    bench.put(b"x", ttl=0.0)
    bench.pass_time(1e9 if bench.tuning.clock else 0.2)
    assert bench.get() == b"x"
