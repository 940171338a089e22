"""Adding, taking under a lease, removing."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import pytest

from kernel.errors import Unavailable
from kernel.ports import Parked, ScheduleFeatures, ScheduleStore, Survives
from kernel_conformance.schedule.bench import SPACE, ScheduleBench

#: Some moment of wall-clock time; a fraction that binary floating point has exactly.
T = 1_700_000_000.25


def test_open_is_idempotent(bench: ScheduleBench) -> None:
    """S-OPEN-1: a second `open` changes nothing; `features` are valid and final.

    Fix: build one frozen `ScheduleFeatures` and return it for ever.
    """
    bench.add("a", T)
    bench.first.open()
    assert bench.take(T) == ["a"]
    assert isinstance(bench.f, ScheduleFeatures)
    assert bench.f.survives in get_args(Survives)
    assert bench.f.max_batch >= 1
    assert bench.first.features == bench.f == bench.open().features


def test_a_closed_store_is_unavailable(bench: ScheduleBench) -> None:
    """S-CLOSE-1: after `close` every method raises `Unavailable`; closing twice is no error; entries stay.

    Fix: check for the closed state first.
    """
    entry = bench.add("a", T)
    bench.first.close()
    bench.first.close()
    calls: list[Callable[[], object]] = [
        lambda: bench.first.add([entry]),
        lambda: bench.take(T),
        lambda: bench.first.remove([entry]),
        lambda: bench.first.next_at(SPACE),
    ]
    for call in calls:
        with pytest.raises(Unavailable):
            call()
    assert bench.take(T, by=bench.open()) == ["a"]


def test_entries_are_verbatim(bench: ScheduleBench) -> None:
    """S-ADD-1: an entry comes back as it was given, any bytes and any key, at once and for any adapter.

    Fix: store bytes and full floats; a rounded `due_at` makes `remove` miss the entry.
    """
    entries = [
        Parked(SPACE, "größe 列/:*", T, bytes(range(256))),
        Parked(SPACE, "empty", T + 0.1, b""),
        Parked("limit:a/b", "empty", T + 1 / 3, b"x"),
    ]
    bench.first.add(entries)
    second = bench.open()
    assert second.take(SPACE, T + 1.0, 10, 60.0) == entries[:2]
    assert second.take("limit:a/b", T + 1.0, 10, 60.0) == entries[2:]


def test_an_entry_is_taken_when_due(bench: ScheduleBench) -> None:
    """S-TAKE-1: an entry is taken when `due_at <= now`, never before.

    Fix: compare the full value; no rounding down.
    """
    bench.add("a", T)
    assert bench.take(T - 0.001) == []
    assert bench.take(T) == ["a"]


def test_the_earliest_is_taken_first(bench: ScheduleBench) -> None:
    """S-TAKE-2: entries are taken in the order of `due_at`, up to `limit`; spaces are separate.

    Fix: order by time, not by key or by adding.
    """
    for key, due in (("c", 3.0), ("a", 1.0), ("b", 2.0), ("later", 100.0)):
        bench.add(key, T + due)
    bench.add("foreign", T, space="other")
    assert bench.take(T + 50.0, limit=2) == ["a", "b"]
    assert bench.take(T + 50.0) == ["c"]
    assert bench.take(T + 50.0, space="unknown") == []


def test_a_taken_entry_is_hidden(bench: ScheduleBench) -> None:
    """S-TAKE-3: a taken entry is hidden from every taker until its lease ends, then it is taken again.

    Fix: write the end of the lease in the step that takes; never delete at taking.
    """
    second = bench.open()
    bench.add("a", bench.now())
    assert bench.take(bench.now(), lease=bench.lease) == ["a"]
    bench.pass_time(bench.lease * 0.7)
    assert bench.take(bench.now()) == []
    assert bench.take(bench.now(), by=second) == []
    bench.pass_time(bench.lease * 0.4)
    assert bench.take(bench.now(), by=second) == ["a"], "an entry that was taken and not removed was lost"


def test_a_lease_runs_from_the_call(bench: ScheduleBench) -> None:
    """S-TAKE-5: `now` decides what is due; the lease runs from the moment of the call.

    Fix: compute the end of the lease from the clock, not from `now`: a taker may be told a time long past.
    """
    now = bench.now()
    bench.add("a", now - 3000.0)
    assert bench.take(now - 2000.0, lease=bench.lease) == ["a"]
    assert bench.take(now + 2000.0) == []
    bench.pass_time(bench.lease * 1.1)
    assert bench.take(bench.now()) == ["a"]


def test_takers_share(bench: ScheduleBench) -> None:
    """S-TAKE-4: several takers at one moment get each entry once between them.

    Fix: choose and hide in one atomic step.
    """
    bench.first.add([Parked(SPACE, f"{number:03d}", T, b"x") for number in range(100)])
    stores = [bench.first, bench.open(), bench.open(), bench.open()]

    def taker(store: ScheduleStore) -> Callable[[], list[str]]:
        return lambda: [key for _ in range(15) for key in bench.take(T, limit=3, by=store)]

    taken = [key for own in bench.all([bench.call(taker(store)) for store in stores]) for key in own]
    assert len(set(taken)) == len(taken), "an entry was taken twice"
    assert len(taken) == 100


def test_a_removed_entry_is_gone(bench: ScheduleBench) -> None:
    """S-REMOVE-1: a removed entry never comes back; removing again, or what never was, is no error.

    Fix: delete the entry with its lease.
    """
    entry = bench.add("a", T)
    bench.take(T, lease=1.0)
    bench.first.remove([entry, Parked(SPACE, "never", T, b"")])
    bench.first.remove([entry])
    bench.first.remove([])
    bench.first.add([])
    assert bench.take(T + 100.0) == []
    assert bench.first.next_at(SPACE) is None


def test_adding_replaces(bench: ScheduleBench) -> None:
    """S-ADD-2: an entry of the same space and key replaces the old one: time, payload and lease.

    Fix: write the whole row; a leased entry that is added anew may be taken at its new time.
    """
    now = bench.now() - 100.0
    bench.add("a", now, b"old")
    assert bench.take(now, lease=1000.0) == ["a"]
    bench.add("a", now + 5.0, b"new")
    assert bench.take(now + 4.0) == []
    assert bench.first.take(SPACE, now + 5.0, 10, 60.0) == [Parked(SPACE, "a", now + 5.0, b"new")]


def test_remove_spares_what_was_replaced(bench: ScheduleBench) -> None:
    """S-REMOVE-2: `remove` of an entry that was replaced meanwhile leaves the new one alone.

    Fix: compare `due_at` in the step that deletes.
    """
    old = bench.add("a", T, b"old")
    bench.take(T)
    bench.add("a", T + 5.0, b"new")
    bench.first.remove([old])
    assert bench.take(T + 5.0) == ["a"], "the replaced entry was dropped"


def test_next_at(bench: ScheduleBench) -> None:
    """S-NEXT-1: `next_at` is the earliest `due_at`, a leased entry counting at the end of its lease; None when empty.

    Fix: take the minimum over both kinds of entries.
    """
    assert bench.first.next_at(SPACE) is None
    now = bench.now()
    bench.add("b", now + 200.0)
    entry = bench.add("a", now)
    bench.add("foreign", now - 50.0, space="other")
    assert bench.first.next_at(SPACE) == now
    bench.take(now, lease=100.0)
    assert bench.first.next_at(SPACE) == pytest.approx(now + 100.0, abs=1.0 + bench.tuning.slack)
    bench.first.remove([entry])
    assert bench.first.next_at(SPACE) == now + 200.0


def test_a_batch_of_max_batch(bench: ScheduleBench) -> None:
    """S-BATCH-1: `max_batch` entries are added, taken and removed in one call each.

    Fix: claim the limit of one call of the service, or split inside of the adapter.
    """
    count = min(bench.f.max_batch, 2000)
    entries = [Parked(SPACE, f"{number:05d}", T + number, b"x") for number in range(count)]
    bench.first.add(entries)
    assert bench.first.take(SPACE, T + count, count, 60.0) == entries
    bench.first.remove(entries)
    assert bench.first.next_at(SPACE) is None


def test_a_stopped_service_is_unavailable(bench: ScheduleBench) -> None:
    """S-SERVICE-1: while the service is away calls raise `Unavailable`; a kill keeps entries, as `survives` says.

    Fix: translate connection errors; ask the service to flush before it confirms.
    """
    bench.add("a", T)
    bench.service.kill()
    try:
        with pytest.raises(Unavailable):
            bench.call(lambda: bench.take(T)).result(bench.tuning.patience)
    finally:
        bench.service.start()
    if bench.f.survives == "process":
        bench.declined = "survives"
        return
    assert bench.take(T, by=bench.open()) == ["a"]
