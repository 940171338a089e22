"""Buckets of tokens, and slots: what is shared out."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from kernel.ports import Acquire, Coordination, Take
from kernel_conformance.coordination.bench import CoordinationBench


def test_a_bucket_gives_its_burst(bench: CoordinationBench) -> None:
    """C-TAKE-1: a new bucket is full; when it has too few tokens nothing is taken, and the wait is told.

    Fix: compute the level from the time of the last take, in one atomic step.
    """
    assert bench.take(10.0, rate=0.5) == 0.0
    wait_for = bench.take(1.0, rate=0.5)
    assert 1.5 <= wait_for <= 2.0
    assert bench.take(2.0, rate=0.5) > wait_for, "a refused take took tokens, or waits are not by number"
    assert bench.take(1.0, bucket="other") == 0.0


def test_a_bucket_fills_at_its_rate(bench: CoordinationBench) -> None:
    """C-TAKE-2: tokens come at `rate` per second, up to `burst` and not beyond.

    Fix: cut the level at the burst before taking.
    """
    assert bench.take(3.0, rate=10.0, burst=3.0) == 0.0
    bench.pass_time(0.15)
    assert bench.take(1.0, rate=10.0, burst=3.0) == 0.0
    bench.pass_time(100.0 if bench.tuning.clock else 0.6)
    assert bench.take(3.0, rate=10.0, burst=3.0) == 0.0
    # As many once more, which take 0.3 s to come: a machine that stands still for a moment is not a bucket that leaks.
    assert bench.take(3.0, rate=10.0, burst=3.0) > 0.0, "the bucket held more than its burst"


def test_the_wait_is_true(bench: CoordinationBench) -> None:
    """C-TAKE-3: after the time that was told the tokens are there.

    Fix: compute the wait from the same level that refused.
    """
    assert bench.take(5.0, rate=20.0, burst=5.0) == 0.0
    wait_for = bench.take(4.0, rate=20.0, burst=5.0)
    assert 0.0 < wait_for <= 0.2
    bench.pass_time(wait_for + 0.01)
    assert bench.take(4.0, rate=20.0, burst=5.0) == 0.0


def test_more_than_a_bucket_holds(bench: CoordinationBench) -> None:
    """C-TAKE-5: asking for more than the burst is answered by infinity, and takes nothing.

    Fix: compare `n` with `burst` first: no time brings that many tokens.
    """
    assert bench.take(11.0, burst=10.0) == inf
    assert bench.take(10.0, burst=10.0) == 0.0


def test_racing_takers_share_a_bucket(bench: CoordinationBench) -> None:
    """C-TAKE-4: takers at one moment get no more than the burst between them.

    Fix: read and write the level in one atomic step.
    """
    services = [bench.first, bench.open(), bench.open(), bench.open()]

    def taker(service: Coordination) -> Callable[[], list[float]]:
        return lambda: [service.take([Take("b", 1.0, 0.001, 30.0)])[0] for _ in range(20)]

    waits = bench.all([bench.call(taker(service)) for service in services])
    assert sum(wait == 0.0 for own in waits for wait in own) == 30


def test_tokens_are_taken_ahead(bench: CoordinationBench) -> None:
    """C-TAKE-6: tokens that will be there within `ahead` seconds are taken too, so each taker has a time of its own;
    what would come later takes nothing.

    Fix: let the level fall below zero, and do not forget it before the bucket is full again.
    """
    assert bench.take(2.0, rate=4.0, burst=2.0, ahead=inf) == 0.0
    waits = [bench.take(1.0, rate=4.0, burst=2.0, ahead=inf) for _ in range(4)]
    assert 0.0 < waits[0] <= 0.25
    assert waits == sorted(waits), "two takers have the same token"
    assert 0.5 <= waits[3] <= 1.0
    late = bench.take(1.0, rate=4.0, burst=2.0, ahead=0.5)
    assert late > 0.5
    assert bench.take(1.0, rate=4.0, burst=2.0) <= late, "what is beyond `ahead` was taken"
    assert bench.take(3.0, rate=4.0, burst=2.0, ahead=inf) == inf
    bench.pass_time(waits[3] + 0.01)
    assert 0.0 < bench.take(1.0, rate=4.0, burst=2.0) <= 0.26, "what was taken ahead is forgotten"


def test_tokens_come_together(bench: CoordinationBench) -> None:
    """C-TAKE-7: with `every` the tokens of so many seconds come at one moment, counted from the first take.

    Fix: move the time of the level by whole steps.
    """
    waits = [bench.take(1.0, rate=4.0, burst=2.0, ahead=inf, every=0.5) for _ in range(6)]
    assert waits[:2] == [0.0, 0.0]
    assert 0.25 < waits[3] <= waits[2] <= 0.5, "tokens of one step are there at one moment"
    assert 0.75 < waits[5] <= waits[4] <= 1.0, "no more come at once than a step brings"
    bench.pass_time(waits[4] + 0.01)
    assert 0.0 < bench.take(1.0, rate=4.0, burst=2.0, every=0.5) <= 0.5
    bench.pass_time(5.0 if bench.tuning.clock else 1.2)
    assert bench.take(2.0, rate=4.0, burst=2.0, every=0.5) == 0.0
    assert 0.0 < bench.take(1.0, rate=4.0, burst=2.0, every=0.5) <= 0.5, "the bucket held more than its burst"


def test_slots_are_limited(bench: CoordinationBench) -> None:
    """C-SLOT-1: at most `limit` owners hold a slot of a key, through any adapter; keys are separate.

    Fix: count living owners and add in one atomic step.
    """
    second = bench.open()
    assert bench.acquire("a")
    assert bench.acquire("b", by=second)
    assert not bench.acquire("c", by=second)
    assert bench.acquire("c", key="other")
    assert bench.first.acquire([Acquire("x", owner, 2, 60.0) for owner in "abca"]) == [True, True, False, True]


def test_an_owner_keeps_its_slot(bench: CoordinationBench) -> None:
    """C-SLOT-2: an owner that asks again has its slot still, renewed, and no second one.

    Fix: look for the owner first.
    """
    bench.acquire("a")
    assert bench.acquire("a")
    assert bench.acquire("b")
    bench.pass_time(bench.ttl * 0.7)
    assert bench.acquire("a")
    bench.pass_time(bench.ttl * 0.5)
    assert bench.acquire("c"), "a dead owner's slot is not free"
    assert not bench.acquire("d"), "a renewal was lost"


def test_a_slot_is_released(bench: CoordinationBench) -> None:
    """C-SLOT-3: `release` frees the slot of its owner only, and may be repeated.

    Fix: remove by owner.
    """
    bench.acquire("a")
    bench.acquire("b")
    bench.first.release([("k", "nobody"), ("unknown", "a")])
    assert not bench.acquire("c")
    bench.first.release([("k", "a")])
    bench.first.release([("k", "a")])
    assert bench.acquire("c")
    assert not bench.acquire("a")


def test_a_slot_expires(bench: CoordinationBench) -> None:
    """C-SLOT-4: the slot of a dead owner is free after its time to live, not before.

    Fix: store an end per owner.
    """
    bench.acquire("dead", limit=1)
    bench.pass_time(bench.ttl * 0.5)
    assert not bench.acquire("next", limit=1)
    bench.pass_time(bench.ttl * 0.6)
    assert bench.acquire("next", limit=1)


def test_a_slot_is_left_to_an_heir(bench: CoordinationBench) -> None:
    """C-SLOT-6: an heir has the slot of who leaves it, which is never free in between, also where too many are held;
    the heir of nobody, or of one whose slot has ended, asks like anybody else.

    Fix: remove the one and add the other in one atomic step.
    """
    assert bench.acquire("a")
    assert bench.acquire("b")
    assert bench.acquire("c", heir_of="a")
    assert not bench.acquire("d", heir_of="a"), "a slot was left twice"
    assert not bench.acquire("a"), "who has left its slot still has it"
    assert bench.acquire("d", heir_of="b", limit=1), "a lower limit takes nothing from who inherits"
    assert bench.acquire("c", heir_of="d")
    assert bench.acquire("e"), "who inherits beside a slot of its own has two"
    bench.pass_time(bench.ttl * 1.2)
    assert bench.acquire("f", limit=1)
    assert not bench.acquire("g", limit=1, heir_of="e"), "a slot that has ended was left to an heir"


def test_racing_owners_share_the_slots(bench: CoordinationBench) -> None:
    """C-SLOT-5: owners that ask at one moment get no more than `limit` slots between them.

    Fix: count and add in one atomic step.
    """
    services = [bench.first, bench.open(), bench.open(), bench.open()]

    def asker(service: Coordination, number: int) -> Callable[[], list[bool]]:
        return lambda: [service.acquire([Acquire("s", f"{number}-{step}", 7, 60.0)])[0] for step in range(10)]

    answers = bench.all([bench.call(asker(service, number)) for number, service in enumerate(services)])
    assert sum(held for own in answers for held in own) == 7
