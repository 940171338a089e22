"""The other three ports in memory, and the URL they are all made from."""

from __future__ import annotations

import threading
from math import inf

import pytest
from kernel_memory import Limits, MemoryCoordination, MemoryResults, MemorySchedules, MemoryTransport, Space
from kernel_memory.expiring import SWEEP_AFTER

from kernel.clock import FakeClock
from kernel.errors import ConfigError, PartialPut, Rejected, Unavailable, Unsupported
from kernel.native import Signal
from kernel.ports import Acquire, Claim, Outgoing, Parked, Record, Take, Tally, Waits


def results(clock: FakeClock, **more: object) -> MemoryResults:
    store = MemoryResults(Space(), clock, **more)  # type: ignore[arg-type]
    store.open()
    return store


def coordination(clock: FakeClock) -> MemoryCoordination:
    service = MemoryCoordination(Space(), clock)
    service.open()
    return service


def schedules(clock: FakeClock) -> MemorySchedules:
    store = MemorySchedules(clock=clock)
    store.open()
    return store


def record(value: str, *, final: bool = False, rank: tuple[int, int, int] = (0, 0, 0), key: str = "k") -> Record:
    return Record(key, value.encode(), final, rank)


# -- results -----------------------------------------------------------------------------------------------------------


def test_the_standing_record() -> None:
    store = results(FakeClock())
    assert store.put([record("1", rank=(0, 0, 1)), record("zombie"), record("same", rank=(0, 0, 1))], 0.0) == [
        None,
        b"1",
        None,
    ]
    assert store.put([record("end", final=True), record("late", final=True, rank=(0, 9, 9))], 0.0) == [b"same", None]
    assert store.put([record("second", final=True, rank=(0, 9, 9))], 0.0) == [b"late"]
    assert store.put([record("requeued", rank=(1, 0, 0))], 0.0) == [None]
    assert store.get(["k", "other"]) == [b"requeued", None]
    store.delete(["k", "k", "other"])
    assert store.get(["k"]) == [None]


def test_time_to_live_starts_again_with_each_write() -> None:
    clock = FakeClock()
    store = results(clock)
    store.put([record("1")], 10.0)
    clock.advance(9)
    store.put([record("2")], 10.0)
    clock.advance(9)
    assert store.get(["k"]) == [b"2"]
    clock.advance(1)
    assert store.get(["k"]) == [None]
    assert store.put([record("3")], 0.0) == [None]
    clock.advance(1e9)
    assert store.get(["k"]) == [b"3"]


def test_ended_records_do_not_pile_up() -> None:
    clock = FakeClock()
    store = results(clock)
    for start in range(0, 10 * SWEEP_AFTER, 512):
        store.put([record("1", key=f"{start + index}") for index in range(512)], 10.0)
        clock.advance(11)
    assert len(store._space.records) <= SWEEP_AFTER


def test_a_value_too_large_fails_alone() -> None:
    store = results(FakeClock(), limits=Limits(max_value=3))
    store.put([record("old", final=True)], 0.0)
    with pytest.raises(PartialPut) as caught:
        store.put([record("fits", key="a"), record("abc", key="b"), record("new")], 0.0)
    assert list(caught.value.errors) == [0]
    assert caught.value.standing == [None, None, b"old"]
    assert store.get(["a", "b"]) == [None, b"abc"]


@pytest.fixture
def blocked(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when somebody is about to wait for a record."""
    event = threading.Event()

    class Spy(Signal):
        def wait(self, timeout: float) -> bool:
            event.set()
            return super().wait(timeout)

    monkeypatch.setattr("kernel_memory.results.Signal", Spy)
    return event


def test_wait_returns_on_a_final_record_only(blocked: threading.Event) -> None:
    store = results(FakeClock())
    assert isinstance(store, Waits)
    store.put([record("started")], 0.0)
    assert store.wait(["k", "k"], 0.0) == [b"started", b"started"]
    got: list[list[bytes | None]] = []
    thread = threading.Thread(target=lambda: got.append(store.wait(["x", "k"], 30.0)))
    thread.start()
    assert blocked.wait(5)
    store.put([record("retrying")], 0.0)
    store.put([record("end", final=True)], 0.0)
    thread.join(5)
    assert got == [[None, b"end"]]
    assert store.wait(["k"], 30.0) == [b"end"]
    assert store._space.readers == {}


def test_close_ends_a_blocked_wait(blocked: threading.Event) -> None:
    store = results(FakeClock())
    closer = threading.Thread(target=lambda: (blocked.wait(5), store.close()))
    closer.start()
    with pytest.raises(Unavailable):
        store.wait(["k"], 30.0)
    closer.join()


def test_a_masked_wait_is_not_usable() -> None:
    store = results(FakeClock(), mask={"wait", "guarded"})
    assert (store.features.wait, store.features.guarded) == (False, False)
    with pytest.raises(Unsupported):
        store.wait(["k"], 0.0)


# -- coordination ------------------------------------------------------------------------------------------------------


def test_claims() -> None:
    clock = FakeClock()
    facts = coordination(clock)
    assert facts.claim([Claim("k", "a", 10), Claim("k", "b", 10), Claim("l", "b", 10)]) == ["a", "a", "b"]
    clock.advance(9)
    assert facts.claim([Claim("k", "a", 10)]) == ["a"]
    clock.advance(9)
    assert facts.claim([Claim("k", "b", 10)]) == ["a"]
    facts.drop([("k", "b"), ("none", "a")])
    assert facts.claim([Claim("k", "b", 10)]) == ["a"]
    facts.drop([("k", "a"), ("k", "a")])
    assert facts.claim([Claim("k", "b", 10)]) == ["b"]
    clock.advance(10)
    assert facts.claim([Claim("k", "a", 10)]) == ["a"]


def test_a_tally_counts_members_and_not_calls() -> None:
    clock = FakeClock()
    facts = coordination(clock)
    assert facts.tally([Tally("k", "a", 10), Tally("k", "b", 10), Tally("k", "a", 10), Tally("l", "a", 10)]) == [
        1,
        2,
        2,
        1,
    ]
    clock.advance(10)
    assert facts.tally([Tally("k", "c", 10)]) == [1]


def test_token_bucket() -> None:
    clock = FakeClock()
    facts = coordination(clock)
    assert facts.take([Take("k", 1, 2, 2)] * 3) == [0.0, 0.0, 0.5]
    clock.advance(0.25)
    assert facts.take([Take("k", 1, 2, 2)]) == [0.25]
    clock.advance(100)
    assert facts.take([Take("k", 2, 2, 2), Take("k", 1, 2, 2)]) == [0.0, 0.5]
    assert facts.take([Take("k", 3, 2, 2), Take("z", 1, 0, 1), Take("z", 1, 0, 1)]) == [inf, 0.0, inf]


def test_slots_are_held_by_living_owners() -> None:
    clock = FakeClock()
    facts = coordination(clock)
    assert facts.acquire([Acquire("k", owner, 2, 10) for owner in "abca"]) == [True, True, False, True]
    facts.release([("k", "a"), ("k", "a"), ("k", "c"), ("none", "c")])
    clock.advance(5)
    assert facts.acquire([Acquire("k", "c", 2, 10), Acquire("k", "a", 2, 10)]) == [True, False]
    clock.advance(5)
    assert facts.acquire([Acquire("k", "a", 2, 10), Acquire("k", "b", 2, 10)]) == [True, False]


# -- schedules ---------------------------------------------------------------------------------------------------------


def test_take_is_earliest_first_and_leases() -> None:
    clock = FakeClock(25.0)
    store = schedules(clock)
    a, b, c = (Parked("s", key, due, b"") for key, due in (("a", 30.0), ("b", 10.0), ("c", 20.0)))
    store.add([a, b, c, Parked("other", "a", 1.0, b"")])
    assert store.next_at("s") == 10.0
    assert store.take("s", 9.9, 10, 60.0) == []
    assert store.take("s", 25.0, 1, 60.0) == [b]
    assert store.take("s", 25.0, 10, 60.0) == [c]
    assert store.next_at("s") == 30.0
    store.remove([c, c])
    assert store.take("s", 85.0, 10, 0.0) == [a], "the lease of b runs from the call, whatever time is told"
    clock.advance(60.0)
    assert store.take("s", 85.0, 10, 60.0) == [b, a]
    assert store.next_at("s") == 145.0
    store.remove([a, b])
    assert store.next_at("s") is None


def test_adding_again_replaces_entry_and_lease_and_survives_the_removal_of_the_old() -> None:
    store = schedules(FakeClock(15.0))
    old, new = Parked("s", "k", 10.0, b"old"), Parked("s", "k", 15.0, b"new")
    store.add([old])
    assert store.take("s", 10.0, 1, 60.0) == [old]
    store.add([new])
    store.remove([old])
    assert store.take("s", 15.0, 9, 60.0) == [new]
    assert store.take("s", 74.0, 9, 60.0) == []


# -- lifecycle and URLs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [MemoryTransport, MemoryResults, MemoryCoordination, MemorySchedules])
def test_only_an_open_adapter_works(kind: type) -> None:
    adapter = kind.from_url("memory://?max_batch=2")
    adapter.close()
    with pytest.raises(Unavailable):
        adapter.open()
    adapter = kind.from_url("memory://?max_batch=2&lease=2&mask=delay,wait")
    verb = next(getattr(adapter, name) for name in ("send", "put", "claim", "add") if hasattr(adapter, name))
    more = (0.0,) if kind is MemoryResults else ()
    with pytest.raises(Unavailable):
        verb([], *more)
    adapter.open()
    adapter.open()
    verb([], *more)
    assert adapter.features.max_batch == 2
    assert adapter.features.survives == "process"
    with pytest.raises(Rejected):
        verb([None] * 3, *more)
    adapter.close()
    adapter.close()
    with pytest.raises(Unavailable):
        verb([], *more)


def test_a_name_is_shared_and_no_name_is_private() -> None:
    def exchange(url: str) -> list[bytes]:
        sender, receiver = MemoryTransport.from_url(url), MemoryTransport.from_url(url)
        sender.open()
        receiver.open()
        sender.send([Outgoing("q", b"1")])
        return [delivery.payload for delivery in receiver.receive(["q"], 1, 0.0)]

    assert exchange("memory://test-stores") == [b"1"]
    assert exchange("memory://") == []
    shared = Space.named("test-stores")
    Space.forget("test-stores")
    Space.forget("test-stores")
    assert Space.named("test-stores") is not shared
    Space.forget("test-stores")


def test_a_url_says_what_there_is() -> None:
    url = "memory://?mask=delay,priorities,wait&lease=2&expiry=yes&dedup=5&release_counts=no"
    features = MemoryTransport.from_url(url).features
    assert (features.delay, features.priorities, features.lease) == (0.0, 0, 2.0)
    assert (features.expiry, features.dedup, features.release_counts, features.ordered) == (True, 5.0, False, True)
    assert not MemoryResults.from_url(url).features.wait


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("memory://x?leese=2", "did you mean 'lease'"),
        ("memory://x?mask=delays", "did you mean 'delay'"),
        ("memory://x?lease=soon", "is a number of seconds"),
        ("memory://x?lease=0", "positive"),
        ("memory://x?priorities=11", "1 to 10"),
        ("memory://x/y", "without a path"),
    ],
)
def test_a_wrong_url_says_what_is_wrong(url: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        MemoryTransport.from_url(url)


def test_a_mask_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError):
        MemoryTransport(mask={"wait"})
