"""The memory transport: what the port promises, to the letter, and the choices that its own docstring names."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from math import inf

import pytest
from kernel_memory import Limits, MemoryTransport, Space

from kernel.clock import FakeClock
from kernel.errors import PartialSend, Rejected, Unavailable, Unsupported
from kernel.native import Signal
from kernel.ports import Broadcasts, Commits, Extends, Inspects, Lists, Outgoing, Peeks, Wakes


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def transport(clock: FakeClock) -> Iterator[MemoryTransport]:
    transport = MemoryTransport(Space(), clock)
    transport.open()
    yield transport
    transport.close()


def other(transport: MemoryTransport, clock: FakeClock, **more: object) -> MemoryTransport:
    twin = MemoryTransport(transport._space, clock, **more)  # type: ignore[arg-type]
    twin.open()
    return twin


def payloads(transport: MemoryTransport, limit: int = 100, queue: str = "q") -> list[bytes]:
    return [delivery.payload for delivery in transport.receive([queue], limit, 0.0)]


def out(payload: str, **more: object) -> Outgoing:
    return Outgoing("q", payload.encode(), **more)  # type: ignore[arg-type]


def test_order_within_a_batch_and_between_batches(transport: MemoryTransport) -> None:
    transport.send([out("1"), out("2")])
    transport.send([out("3")])
    assert payloads(transport, 2) == [b"1", b"2"]
    assert payloads(transport, 2) == [b"3"]


def test_earlier_queues_and_higher_priorities_first(transport: MemoryTransport) -> None:
    transport.send([Outgoing("b", b"b"), Outgoing("a", b"low"), Outgoing("a", b"high", priority=9)])
    assert [d.payload for d in transport.receive(["a", "b"], 10, 0.0)] == [b"high", b"low", b"b"]


def test_a_priority_above_the_highest_counts_as_the_highest(clock: FakeClock) -> None:
    transport = MemoryTransport(Space(), clock, limits=Limits(priorities=2))
    transport.open()
    transport.send([out("0"), out("9", priority=9), out("1", priority=1)])
    assert payloads(transport) == [b"9", b"1", b"0"]


def test_ack_is_idempotent_and_final(transport: MemoryTransport, clock: FakeClock) -> None:
    transport.send([out("1")])
    deliveries = transport.receive(["q"], 1, 0.0)
    assert transport.ack(deliveries) == []
    assert transport.ack(deliveries) == []
    clock.advance(1000)
    assert payloads(transport) == []
    assert transport._space.queues.holds == {}


def test_a_lost_lease_fences_every_verb(transport: MemoryTransport, clock: FakeClock) -> None:
    transport.send([out("1")])
    old = transport.receive(["q"], 1, 0.0)
    clock.advance(59.9)
    assert payloads(transport) == []
    clock.advance(0.2)
    [new] = transport.receive(["q"], 1, 0.0)
    assert (old[0].redelivered, new.redelivered) == (0, 1)
    assert transport.ack(old) == old
    assert transport.release(old) == old
    assert transport.extend(old, 60.0) == old
    assert transport.commit([(old[0], [out("child")])]) == old
    assert transport.ack([new]) == []
    assert payloads(transport) == []


def test_a_lease_that_ended_is_lost_even_before_somebody_takes_the_message(
    transport: MemoryTransport, clock: FakeClock
) -> None:
    transport.send([out("1")])
    old = transport.receive(["q"], 1, 0.0)
    clock.advance(60.1)
    assert transport.ack(old) == old
    assert payloads(transport) == [b"1"]


def test_release_goes_to_the_front_in_order_and_does_not_count(transport: MemoryTransport) -> None:
    transport.send([out("1"), out("2"), out("3"), out("urgent", priority=5)])
    deliveries = transport.receive(["q"], 3, 0.0)
    assert transport.release([*deliveries, deliveries[0]]) == []
    again = transport.receive(["q"], 10, 0.0)
    assert [d.payload for d in again] == [b"urgent", b"1", b"2", b"3"]
    assert {d.redelivered for d in again} == {0}
    assert transport.ack(deliveries) == deliveries


def test_release_counts_when_asked(clock: FakeClock) -> None:
    transport = MemoryTransport(Space(), clock, limits=Limits(release_counts=True))
    transport.open()
    transport.send([out("1")])
    transport.release(transport.receive(["q"], 1, 0.0))
    assert transport.receive(["q"], 1, 0.0)[0].redelivered == 1


def test_extend_moves_only_what_it_names(transport: MemoryTransport, clock: FakeClock) -> None:
    transport.send([out("1"), out("2")])
    kept, left = transport.receive(["q"], 2, 0.0)
    clock.advance(50)
    assert transport.extend([kept], 30.0) == []
    clock.advance(20)
    assert payloads(transport) == [b"2"]
    assert transport.ack([left]) == [left]
    clock.advance(9.9)
    assert payloads(transport) == []
    clock.advance(0.2)
    assert payloads(transport) == [b"1"]


def test_redelivered_is_exact_and_a_hint_when_masked(transport: MemoryTransport, clock: FakeClock) -> None:
    transport.send([out("1")])
    for count in range(4):
        assert transport.receive(["q"], 1, 0.0)[0].redelivered == count
        clock.advance(61)
    assert other(transport, clock, mask={"counts"}).receive(["q"], 1, 0.0)[0].redelivered == 1


def test_delayed_never_early(transport: MemoryTransport, clock: FakeClock) -> None:
    due = clock.now() + 10
    transport.send([out("late", not_before=due), out("later", not_before=due + 1), out("now")])
    assert payloads(transport) == [b"now"]
    clock.advance(9.999)
    assert payloads(transport) == []
    clock.advance(0.002)
    assert payloads(transport) == [b"late"]


def test_delay_beyond_the_limit_is_rejected_and_the_rest_is_sent(clock: FakeClock) -> None:
    transport = MemoryTransport(Space(), clock, limits=Limits(delay=900.0))
    transport.open()
    at = clock.now()
    with pytest.raises(PartialSend) as caught:
        transport.send([out("fits", not_before=at + 900), out("not", not_before=at + 901)])
    assert list(caught.value.errors) == [1]
    assert caught.value.sent == "no"
    assert transport.peek("q", 10) == [b"fits"]
    with pytest.raises(Rejected):
        transport.send([out("not", not_before=at + 901)])


def test_size_limits(clock: FakeClock) -> None:
    transport = MemoryTransport(Space(), clock, limits=Limits(max_payload=3, max_batch=2))
    transport.open()
    transport.send([out("abc")])
    with pytest.raises(Rejected):
        transport.send([out("abcd")])
    with pytest.raises(Rejected):
        transport.send([out("a"), out("b"), out("c")])
    transport.send([out("a"), out("b")])
    assert len(transport.receive(["q"], 10, 0.0)) == 2


def test_dedup_window_per_queue(transport: MemoryTransport, clock: FakeClock) -> None:
    transport.send([out("1", dedup_key="k"), out("2", dedup_key="k"), Outgoing("p", b"p", dedup_key="k")])
    assert payloads(transport) == [b"1"]
    assert payloads(transport, queue="p") == [b"p"]
    clock.advance(299)
    transport.send([out("3", dedup_key="k")])
    clock.advance(2)
    transport.send([out("4", dedup_key="k")])
    assert [d.payload for d in transport.receive(["q"], 9, 0.0) if not d.redelivered] == [b"4"]


def test_ordered_keys_one_at_a_time(transport: MemoryTransport, clock: FakeClock) -> None:
    transport.send(
        [out("a1", order_key="a"), out("a2", order_key="a"), out("b1", order_key="b"), out("a3", order_key="a")]
    )
    first = transport.receive(["q"], 10, 0.0)
    assert [d.payload for d in first] == [b"a1", b"b1"]
    transport.release(first[:1])
    [again] = transport.receive(["q"], 10, 0.0)
    assert again.payload == b"a1"
    transport.ack([again])
    [second] = transport.receive(["q"], 10, 0.0)
    assert second.payload == b"a2"
    clock.advance(61)
    assert payloads(transport) == [b"a2", b"b1"]
    assert transport.sizes(["q"])[0].ready == 1
    assert transport.purge("q") == 1


def test_order_is_free_when_masked(clock: FakeClock) -> None:
    transport = MemoryTransport(Space(), clock, mask={"ordered"})
    transport.open()
    transport.send([out("a1", order_key="a"), out("a2", order_key="a")])
    assert payloads(transport) == [b"a1", b"a2"]


def test_expiry_only_when_asked(transport: MemoryTransport, clock: FakeClock) -> None:
    strict = other(transport, clock, limits=Limits(expiry=True))
    at = clock.now() + 5
    transport.send([out("a1", order_key="a", expires_at=at), out("a2", order_key="a"), out("x", expires_at=at)])
    clock.advance(5)
    assert not transport.features.expiry
    assert strict.features.expiry
    assert strict.sizes(["q"])[0].ready == 1
    assert strict.peek("q", 9) == [b"a2"]
    assert payloads(strict, 1) == [b"a2"]
    transport.send([out("x", expires_at=at)])
    assert payloads(transport) == [b"x"]


def test_commit_is_one_step(transport: MemoryTransport, clock: FakeClock) -> None:
    transport.send([out("1"), out("2")])
    lost = transport.receive(["q"], 1, 0.0)
    clock.advance(61)
    held = transport.receive(["q"], 2, 0.0)
    batch = [(lost[0], [Outgoing("c", b"zombie")]), *((d, [Outgoing("c", b"of " + d.payload)]) for d in held)]
    assert transport.commit(batch) == lost
    assert transport.commit(batch) == lost
    assert payloads(transport, queue="c") == [b"of 1", b"of 2"]
    assert transport.sizes(["q"])[0].in_flight == 0


def test_a_refused_commit_changes_nothing(clock: FakeClock) -> None:
    transport = MemoryTransport(Space(), clock, mask={"delay"})
    transport.open()
    transport.send([out("1")])
    held = transport.receive(["q"], 1, 0.0)
    with pytest.raises(Rejected):
        transport.commit([(held[0], [out("fits"), out("not", not_before=clock.now() + 1)])])
    assert transport.sizes(["q"])[0].ready == 0
    assert transport.sizes(["q"])[0].in_flight == 1


def test_sizes_peek_purge(transport: MemoryTransport, clock: FakeClock) -> None:
    at = clock.now()
    transport.send([out("held"), out("ready")])
    transport.send([out("d2", not_before=at + 20), out("d1", not_before=at + 10), out("urgent", priority=1)])
    transport.release(transport.receive(["q"], 1, 0.0))
    [held] = transport.receive(["q"], 1, 0.0)
    assert held.payload == b"urgent"
    clock.advance(5)
    size = transport.sizes(["q", "unknown"])
    assert (size[0].ready, size[0].delayed, size[0].in_flight, size[0].oldest_at) == (2, 2, 1, at)
    assert (size[1].ready, size[1].delayed, size[1].in_flight, size[1].oldest_at) == (0, 0, 0, None)
    assert transport.peek("q", 3) == [b"held", b"ready", b"d1"]
    assert transport.purge("q") == 4
    assert transport.ack([held]) == []
    assert transport.queues() == ["q"]


def test_a_delayed_message_is_as_old_as_its_due_time(transport: MemoryTransport, clock: FakeClock) -> None:
    due = clock.now() + 10
    transport.send([out("d", not_before=due)])
    assert transport.sizes(["q"])[0].oldest_at is None
    clock.advance(15)
    transport.send([out("young")])
    assert transport.sizes(["q"])[0].oldest_at == due


def test_close_gives_back_and_ends_everything(transport: MemoryTransport, clock: FakeClock) -> None:
    twin = other(transport, clock, mask={"lease"})
    transport.send([out("1")])
    held = twin.receive(["q"], 1, 0.0)
    clock.advance(1e9)
    assert payloads(transport) == []
    twin.close()
    twin.close()
    assert transport.ack(held) == held
    assert transport.receive(["q"], 1, 0.0)[0].redelivered == 1
    for call in (
        twin.open,
        lambda: twin.send([]),
        lambda: twin.receive(["q"], 1, 0.0),
        lambda: twin.ack(held),
        twin.wake,
    ):
        with pytest.raises(Unavailable):
            call()


class Spy(Signal):
    """A signal that tells when somebody is about to wait for it, and whether each wait ended by being told."""

    __slots__ = ("blocked", "told")

    def __init__(self) -> None:
        super().__init__()
        self.blocked = threading.Event()
        self.told: list[bool] = []

    def wait(self, timeout: float) -> bool:
        self.blocked.set()
        self.told.append(super().wait(timeout))
        return self.told[-1]


def blocked_receive(
    receiver: MemoryTransport, end: Callable[[], object]
) -> tuple[list[bytes] | Unavailable, list[bool]]:
    """What a blocked `receive` gives when `end` happens, and whether its waits were told."""
    spy = receiver._signal = Spy()
    got: list[list[bytes] | Unavailable] = []

    def run() -> None:
        try:
            got.append([delivery.payload for delivery in receiver.receive(["p", "q"], 5, 30.0)])
        except Unavailable as error:
            got.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert spy.blocked.wait(5)
    end()
    thread.join(5)
    assert not thread.is_alive()
    assert not receiver._space.queues.queue("q").watchers
    return got[0], spy.told


@pytest.mark.parametrize("end", ["send", "release", "close", "close other", "wake", "order"])
def test_a_blocked_receive_is_told(end: str) -> None:
    space = Space()
    sender, receiver = MemoryTransport(space), MemoryTransport(space)
    sender.open()
    receiver.open()
    if end != "send":
        sender.send([out("x", order_key="k"), out("y", order_key="k")])
    held = sender.receive(["q"], 1, 0.0)
    got, told = blocked_receive(
        receiver,
        {
            "send": lambda: sender.send([out("new")]),
            "release": lambda: sender.release(held),
            "close": receiver.close,
            "close other": sender.close,
            "wake": receiver.wake,
            "order": lambda: sender.ack(held),
        }[end],
    )
    expected = {"send": [b"new"], "wake": [], "order": [b"y"], "release": [b"x"], "close other": [b"x"]}
    assert isinstance(got, Unavailable) if end == "close" else got == expected[end]
    assert told == [True]  # not found at the next look


def test_a_blocked_receive_sees_a_delay_end(transport: MemoryTransport, clock: FakeClock) -> None:
    transport.send([out("d", not_before=clock.now() + 5)])
    assert blocked_receive(transport, lambda: clock.advance(5))[0] == [b"d"]


def test_a_blocked_receive_sees_a_lease_end(transport: MemoryTransport, clock: FakeClock) -> None:
    transport.send([out("x")])
    held = transport.receive(["q"], 1, 0.0)
    assert blocked_receive(transport, lambda: clock.advance(60))[0] == [b"x"]
    assert transport.ack(held) == held


def test_a_delay_ends_by_the_machines_clock() -> None:
    transport = MemoryTransport()
    transport.open()
    due = time.time() + 0.05
    transport.send([out("d", not_before=due)])
    assert [delivery.payload for delivery in transport.receive(["q"], 1, 5.0)] == [b"d"]
    assert due <= time.time() < due + 0.5


def test_wake_ends_the_next_receive_once(transport: MemoryTransport) -> None:
    transport.wake()
    assert transport.receive(["q"], 1, 30.0) == []
    transport.send([out("1")])
    assert payloads(transport) == [b"1"]
    assert not transport._woken


def test_a_blocked_receive_ends_in_real_time_though_the_clock_stands(transport: MemoryTransport) -> None:
    assert transport.receive(["q"], 1, 0.01) == []


def test_broadcast_reaches_open_inboxes_only(transport: MemoryTransport, clock: FakeClock) -> None:
    twin = other(transport, clock)
    transport.publish("c", b"before")
    one, two, elsewhere = transport.listen("c"), twin.listen("c"), twin.listen("d")
    transport.publish("c", b"1")
    transport.publish("c", b"2")
    assert one.get(0.0) == two.get(1.0) == [b"1", b"2"]
    assert one.get(0.0) == elsewhere.get(0.0) == []
    two.close()
    two.close()
    twin.publish("c", b"3")
    assert one.get(0.0) == [b"3"]
    with pytest.raises(Unavailable):
        two.get(0.0)
    transport.close()
    with pytest.raises(Unavailable):
        one.get(10.0)


def test_an_inbox_waits_for_the_first(transport: MemoryTransport) -> None:
    inbox = transport.listen("c")
    thread = threading.Thread(target=transport.publish, args=("c", b"1"))
    thread.start()
    assert inbox.get(30.0) == [b"1"]
    thread.join()


def test_every_optional_protocol_is_there(transport: MemoryTransport) -> None:
    for protocol in (Extends, Commits, Broadcasts, Inspects, Peeks, Lists, Wakes):
        assert isinstance(transport, protocol)
    assert transport.features.delay == inf


@pytest.mark.parametrize(
    ("feature", "value", "calls"),
    [
        ("lease", None, [lambda t: t.extend([], 1.0)]),
        ("commit", False, [lambda t: t.commit([])]),
        ("broadcast", False, [lambda t: t.publish("c", b""), lambda t: t.listen("c")]),
        ("inspect", False, [lambda t: t.sizes([]), lambda t: t.purge("q")]),
        ("peek", False, [lambda t: t.peek("q", 1)]),
        ("lists", False, [lambda t: t.queues()]),
        ("wake", False, [lambda t: t.wake()]),
    ],
)
def test_a_masked_method_is_not_usable(feature: str, value: object, calls: list[object]) -> None:
    transport = MemoryTransport(mask={feature})
    transport.open()
    assert getattr(transport.features, feature) is value
    for call in calls:
        with pytest.raises(Unsupported):
            call(transport)  # type: ignore[operator]


def test_concurrent_senders_and_receivers_lose_and_repeat_nothing() -> None:
    space, each = Space(), 2000
    got: list[list[bytes]] = [[] for _ in range(3)]

    def send(name: int) -> None:
        transport = MemoryTransport(space)
        transport.open()
        for start in range(0, each, 50):
            transport.send([out(f"{name}:{index}") for index in range(start, start + 50)])

    def receive(mine: list[bytes]) -> None:
        transport = MemoryTransport(space)
        transport.open()
        while b"stop" not in mine:
            deliveries = transport.receive(["q"], 7, 10.0)
            mine += [delivery.payload for delivery in deliveries]
            assert transport.ack([d for d in deliveries if d.payload != b"stop"]) == []
            assert transport.release([d for d in deliveries if d.payload == b"stop"]) == []

    receivers = [threading.Thread(target=receive, args=(mine,)) for mine in got]
    senders = [threading.Thread(target=send, args=(name,)) for name in range(3)]
    for thread in [*receivers, *senders]:
        thread.start()
    for thread in senders:
        thread.join()
    last = MemoryTransport(space)
    last.open()
    last.send([out("stop")])
    for thread in receivers:
        thread.join()
    received = sorted(payload for mine in got for payload in mine if payload != b"stop")
    assert received == sorted(f"{name}:{index}".encode() for name in range(3) for index in range(each))


def test_a_forgotten_space_is_collected_though_messages_are_leased() -> None:
    transport = MemoryTransport()
    transport.open()
    transport.send([out("1"), out("2")])
    transport.ack(transport.receive(["q"], 2, 0.0)[:1])
    space = weakref.ref(transport._space.channels)
    del transport
    gc.collect()
    assert space() is None


def test_nothing_is_taken_once_it_is_closed() -> None:
    """A `receive` that another thread has begun gets the lock right after `close` has given everything back."""
    space = Space()
    transport, other = MemoryTransport(space), MemoryTransport(space)
    transport.open()
    other.open()
    other.send([Outgoing("q", b"x")])
    refused: list[Unavailable] = []

    def receive() -> None:
        try:
            transport.receive(["q"], 1, 0.0)
        except Unavailable as error:
            refused.append(error)

    receiver = threading.Thread(target=receive)
    with space.lock:
        receiver.start()
        time.sleep(0.1)  # nothing tells that a thread waits for a lock
        transport._state = "closed"
    receiver.join()
    assert refused
    assert len(other.receive(["q"], 1, 0.0)) == 1
