"""Claims and sets."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import pytest

from kernel.errors import Unavailable
from kernel.ports import Claim, Coordination, CoordinationFeatures, Survives, Tally
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


def test_a_claim_is_only_renewed(bench: CoordinationBench) -> None:
    """C-CLAIM-7: who only renews has its claim for longer, and gets neither a free key nor one that has ended.

    Fix: look for the owner before writing, in the same step.
    """
    assert bench.claim("me", renew=True) == ""
    assert bench.claim("me") == "me"
    assert bench.claim("you", renew=True) == "me"
    bench.pass_time(bench.ttl * 0.7)
    assert bench.claim("me", renew=True) == "me"
    bench.pass_time(bench.ttl * 0.7)
    assert bench.claim("you") == "me", "a renewal was lost"
    bench.pass_time(bench.ttl * 1.2)
    assert bench.claim("me", renew=True) == ""
    assert bench.claim("you") == "you", "a key was claimed by who only renewed"


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
