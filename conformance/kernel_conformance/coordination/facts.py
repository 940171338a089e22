"""Claims, sets, buckets and slots."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import get_args

import pytest

from kernel.errors import Unavailable
from kernel.ports import Acquire, Claim, Coordination, CoordinationFeatures, Survives, Take, Tally
from kernel_conformance.coordination.bench import CoordinationBench


def test_open_is_idempotent(bench: CoordinationBench) -> None:
    """C-OPEN-1: a second `open` changes nothing; `features` are valid and final.

    Fix: build one frozen `CoordinationFeatures` and return it for ever.
    """
    bench.claim("me")
    bench.first.open()
    assert bench.claim("other") == "me"
    assert isinstance(bench.f, CoordinationFeatures)
    assert bench.f.survives in get_args(Survives)
    assert bench.f.max_batch >= 1
    assert bench.first.features == bench.f == bench.open().features


def test_a_closed_service_is_unavailable(bench: CoordinationBench) -> None:
    """C-CLOSE-1: after `close` every method raises `Unavailable`; closing twice is no error; facts stay.

    Fix: check for the closed state first; tie no fact to the connection.
    """
    bench.claim("me")
    bench.first.close()
    bench.first.close()
    calls: list[Callable[[], object]] = [
        lambda: bench.claim("me"),
        lambda: bench.tally("m"),
        lambda: bench.take(1.0),
        lambda: bench.acquire("me"),
        lambda: bench.first.drop([("k", "me")]),
        lambda: bench.first.release([("k", "me")]),
    ]
    for call in calls:
        with pytest.raises(Unavailable):
            call()
    assert bench.claim("other", by=bench.open()) == "me"


def test_an_empty_batch_is_nothing(bench: CoordinationBench) -> None:
    """C-BATCH-1: empty batches are answered by empty lists.

    Fix: return early.
    """
    assert bench.first.claim([]) == []
    assert bench.first.tally([]) == []
    assert bench.first.take([]) == []
    assert bench.first.acquire([]) == []
    bench.first.drop([])
    bench.first.release([])


def test_a_batch_of_max_batch(bench: CoordinationBench) -> None:
    """C-BATCH-2: `max_batch` items are served in one call, answers in the order of the items.

    Fix: claim the limit of one call of the service, or split inside of the adapter.
    """
    count = min(bench.f.max_batch, 2000)
    assert bench.first.claim([Claim(f"k{n}", f"o{n}", 60.0) for n in range(count)]) == [f"o{n}" for n in range(count)]
    assert bench.first.tally([Tally("set", f"m{n}", 60.0) for n in range(count)]) == list(range(1, count + 1))


def test_a_free_key_is_claimed(bench: CoordinationBench) -> None:
    """C-CLAIM-1: the first owner has the key, every other is told who has it, through any adapter.

    Fix: set if absent, and read the owner in the same step.
    """
    second = bench.open()
    assert bench.claim("first") == "first"
    assert bench.claim("second", by=second) == "first"
    assert bench.claim("second", key="other", by=second) == "second"


def test_a_claim_expires(bench: CoordinationBench) -> None:
    """C-CLAIM-2: a claim ends by itself after its time to live, not before.

    Fix: give the expiry to the service together with the owner.
    """
    bench.claim("dead")
    bench.pass_time(bench.ttl * 0.5)
    assert bench.claim("next") == "dead"
    bench.pass_time(bench.ttl * 0.6)
    assert bench.claim("next") == "next"


def test_a_claim_is_renewed_by_its_owner(bench: CoordinationBench) -> None:
    """C-CLAIM-3: claiming an own key renews it; the attempt of another owner does not.

    Fix: write the expiry only when the owner is the same.
    """
    bench.claim("me")
    bench.claim("other", key="k2")
    bench.pass_time(bench.ttl * 0.7)
    assert bench.claim("me") == "me"
    assert bench.claim("me", key="k2") == "other"
    bench.pass_time(bench.ttl * 0.5)
    assert bench.claim("other") == "me", "the renewal was lost"
    assert bench.claim("me", key="k2") == "me", "somebody else's attempt renewed the claim"


def test_drop_is_for_the_owner(bench: CoordinationBench) -> None:
    """C-CLAIM-4: `drop` ends a claim of its owner, never one of somebody else, and may be repeated.

    Fix: compare the owner in the step that deletes.
    """
    bench.claim("me")
    bench.first.drop([("k", "other"), ("unknown", "me")])
    assert bench.claim("other") == "me"
    bench.first.drop([("k", "me")])
    bench.first.drop([("k", "me")])
    assert bench.claim("other") == "other"


def test_racing_claims_have_one_owner(bench: CoordinationBench) -> None:
    """C-CLAIM-5: of several claims at one moment exactly one wins, and all are told the same owner.

    Fix: decide in one atomic step of the service.
    """
    services = [bench.first, bench.open(), bench.open(), bench.open()]
    keys = [f"k{number}" for number in range(30)]

    def claimer(service: Coordination, owner: str) -> Callable[[], list[str]]:
        return lambda: [service.claim([Claim(key, owner, 60.0)])[0] for key in keys]

    told = bench.all([bench.call(claimer(service, str(number))) for number, service in enumerate(services)])
    for owners in zip(*told, strict=True):
        assert len(set(owners)) == 1, f"one key has the owners {set(owners)}"


def test_one_batch_may_claim_a_key_twice(bench: CoordinationBench) -> None:
    """C-CLAIM-6: items of one batch are applied in order.

    Fix: look at the state that the item before has left.
    """
    items = [Claim("k", "first", 60.0), Claim("k", "second", 60.0), Claim("k", "first", 60.0)]
    assert bench.first.claim(items) == ["first"] * 3


def test_a_tally_counts_members(bench: CoordinationBench) -> None:
    """C-TALLY-1: each new member raises the size by one, a known one by none; sets are separate.

    Fix: keep a set, not a counter.
    """
    second = bench.open()
    assert bench.tally("a") == 1
    assert bench.tally("b", by=second) == 2
    assert bench.tally("a", by=second) == 2, "a member was counted twice"
    assert bench.tally("a", key="other") == 1
    assert bench.first.tally([Tally("k", "c", 60.0), Tally("k", "c", 60.0), Tally("k", "d", 60.0)]) == [3, 3, 4]


def test_a_full_tally_is_seen(bench: CoordinationBench) -> None:
    """C-TALLY-2: of members that join at one moment, at least one sees the full size.

    Fix: add and count in one atomic step; the body of a join is sent by who sees it full.
    """
    services = [bench.first, bench.open(), bench.open(), bench.open()]

    def joiner(service: Coordination, number: int) -> Callable[[], list[int]]:
        return lambda: [service.tally([Tally("set", f"{number}-{step}", 60.0)])[0] for step in range(25)]

    sizes = bench.all([bench.call(joiner(service, number)) for number, service in enumerate(services)])
    assert sorted(size for own in sizes for size in own) == list(range(1, 101))


def test_a_tally_lives_from_its_last_write(bench: CoordinationBench) -> None:
    """C-TALLY-3: a set ends after its time to live, which starts again with each write.

    Fix: set the expiry of the set at every write.
    """
    bench.tally("a")
    bench.pass_time(bench.ttl * 0.7)
    assert bench.tally("b") == 2
    bench.pass_time(bench.ttl * 0.7)
    assert bench.tally("c") == 3
    bench.pass_time(bench.ttl * 1.2)
    assert bench.tally("d") == 1


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
    assert bench.take(1.0, rate=10.0, burst=3.0) > 0.0, "the bucket held more than its burst"


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


def test_a_stopped_service_is_unavailable(bench: CoordinationBench) -> None:
    """C-SERVICE-1: while the service is away calls raise `Unavailable`; the same adapter works again afterwards.

    Fix: translate connection errors; connect lazily at the next call.
    """
    bench.service.stop()
    try:
        with pytest.raises(Unavailable):
            bench.call(lambda: bench.claim("me")).result(bench.tuning.patience)
    finally:
        bench.service.start()
