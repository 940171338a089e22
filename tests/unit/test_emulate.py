"""Each feature taken from the memory transport and given back by `complete`: what comes out is what native gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import inf

import pytest
from kernel_memory import Limits, MemoryCoordination, MemorySchedules, MemoryTransport, Space

from kernel.clock import FakeClock
from kernel.emulate.complete import Completed, complete
from kernel.emulate.priority import QueuePriority
from kernel.emulate.pump import DelayPump
from kernel.emulate.unique import UNDERWAY, WINDOW
from kernel.envelope import decode_dead
from kernel.errors import ConfigError, PartialSend, Rejected, Unavailable, Unsupported
from kernel.ports import Broadcasts, Claim, Commits, Delivery, Extends, Inspects, Outgoing, Parked, Transport, Wakes


@dataclass
class World:
    """One memory space, and transports of it with some features masked."""

    clock: FakeClock = field(default_factory=FakeClock)
    space: Space = field(default_factory=Space)

    def __post_init__(self) -> None:
        self.schedule = MemorySchedules(self.space, clock=self.clock)
        self.coordination = MemoryCoordination(self.space, self.clock)
        self.schedule.open()
        self.coordination.open()

    def adapter(self, *mask: str, **limits: float) -> MemoryTransport:
        transport = MemoryTransport(self.space, self.clock, mask, Limits(**limits))  # type: ignore[arg-type]
        transport.open()
        return transport

    def completed(self, *mask: str, **limits: float) -> Completed:
        return complete(self.adapter(*mask, **limits), self.schedule, self.coordination, self.clock)

    def pump(self, completed: Completed) -> DelayPump:
        [pump] = completed.pumps
        assert isinstance(pump, DelayPump)
        return pump


@pytest.fixture
def world() -> World:
    return World()


def out(payload: str, **more: object) -> Outgoing:
    return Outgoing("q", payload.encode(), **more)  # type: ignore[arg-type]


def payloads(transport: Transport, queue: str = "q") -> list[bytes]:
    deliveries = transport.receive([queue], 100, 0.0)
    assert transport.ack(deliveries) == []
    return [delivery.payload for delivery in deliveries]


# -- the choice --------------------------------------------------------------------------------------------------------


def test_an_adapter_that_lacks_nothing_is_returned_itself(world: World) -> None:
    adapter = world.adapter()
    assert complete(adapter, None, None, world.clock) == Completed(adapter)


def test_what_was_added_is_told(world: World) -> None:
    completed = world.completed("delay", "priorities", "dedup")
    assert completed.emulated == (
        "priority: 4 queues for each queue",
        "delay: schedule store",
        "dedup: claims for 300 s",
    )
    features = completed.transport.features
    assert (features.delay, features.priorities, features.dedup, features.commit) == (inf, 4, WINDOW, False)
    hops = world.completed(delay=900.0, priorities=3)
    assert hops.emulated == ("priority: 0 to 9 in 3 levels", "delay beyond 900 s: hops of 899 s")
    assert (hops.transport.features.delay, hops.transport.features.priorities, hops.pumps) == (inf, 3, ())
    assert hops.transport.features.commit


def test_more_levels_than_priorities_are_a_mistake(world: World) -> None:
    with pytest.raises(ConfigError):
        complete(world.adapter("priorities"), levels=11)


def test_the_smaller_batch_counts(world: World) -> None:
    """Of the two that take the messages: claims are made in as many parts as they need."""
    schedule = MemorySchedules(world.space, Limits(max_batch=7))
    coordination = MemoryCoordination(world.space, world.clock, Limits(max_batch=5))
    adapter = world.adapter("delay", "dedup")
    assert complete(adapter, schedule, None, world.clock).transport.features.max_batch == 7
    assert complete(adapter, schedule, coordination, world.clock).transport.features.max_batch == 7


def test_durability_is_that_of_the_weaker_port(world: World) -> None:
    strong = ClosingAt(world.adapter("delay"), world.coordination)
    strong.features = replace(strong.features, survives="power")
    assert complete(strong, world.schedule, None, world.clock).transport.features.survives == "process"


@pytest.mark.parametrize("mask", [("priorities",), ("delay",), ("dedup",), ("priorities", "delay", "dedup")])
def test_the_optional_protocols_stay(world: World, mask: tuple[str, ...]) -> None:
    transport = world.completed(*mask).transport
    assert isinstance(transport, Extends)
    assert isinstance(transport, Broadcasts)
    assert isinstance(transport, Inspects)
    assert isinstance(transport, Wakes)
    assert isinstance(transport, Commits)
    inbox = transport.listen("c")
    transport.publish("c", b"1")
    assert inbox.get(0.0) == [b"1"]
    transport.wake()
    assert transport.receive(["q"], 1, 30.0) == []
    transport.send([out("1", priority=9), out("2")])
    held = transport.receive(["q"], 2, 0.0)
    world.clock.advance(50)
    assert transport.extend(held, 60.0) == []
    world.clock.advance(50)
    if transport.features.commit:
        assert transport.commit([(delivery, [out("then")]) for delivery in held[:1]]) == []
        assert payloads(transport) == [b"then"]
    else:
        with pytest.raises(Unsupported):
            transport.commit([(held[0], [])])
        assert transport.ack(held[:1]) == []
    assert transport.release(held[1:]) == []
    assert transport.queues() == ["q"]
    assert transport.sizes(["q"])[0].ready == 1
    assert transport.peek("q", 10) == [b"2"] if "priorities" not in mask else transport.peek("q", 10)
    assert transport.purge("q") == 1
    transport.close()
    with pytest.raises(Unavailable):
        transport.declare(["q"])


def test_a_method_that_the_adapter_masks_stays_masked(world: World) -> None:
    transport = world.completed(
        "priorities", "lease", "commit", "broadcast", "inspect", "peek", "lists", "wake"
    ).transport
    assert isinstance(transport, QueuePriority)
    for call in (
        lambda: transport.extend([], 1.0),
        lambda: transport.commit([]),
        lambda: transport.listen("c"),
        transport.queues,
        transport.wake,
    ):
        with pytest.raises(Unsupported):
            call()


@pytest.mark.parametrize(("mask", "message"), [("delay", out("1", not_before=inf)), ("dedup", out("1", dedup_key="k"))])
def test_without_the_helper_it_is_refused_before_anything_is_sent(world: World, mask: str, message: Outgoing) -> None:
    completed = complete(world.adapter(mask), None, None, world.clock)
    assert (len(completed.refused), completed.emulated, completed.pumps) == (1, (), ())
    transport = completed.transport
    with pytest.raises(Unsupported, match="configure"):
        transport.send([out("innocent"), message])
    assert payloads(transport) == []
    transport.send([out("innocent", not_before=world.clock.now())])
    [held] = transport.receive(["q"], 1, 0.0)
    assert isinstance(transport, Commits)
    with pytest.raises(Unsupported):
        transport.commit([(held, [out("innocent"), message])])
    assert payloads(transport) == []
    assert transport.ack([held]) == []


# -- priority ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limits", [{}, {"priorities": 4}])
def test_priorities_order_a_queue(world: World, limits: dict[str, float]) -> None:
    transport = world.completed(*(() if limits else ("priorities",)), **limits).transport
    transport.send([out(str(priority), priority=priority) for priority in (0, 3, 5, 8, 9, 0)])
    transport.send([Outgoing("p", b"first queue")])
    got = transport.receive(["p", "q"], 3, 0.0) + transport.receive(["p", "q"], 10, 0.0)
    assert [d.payload for d in got] == [b"first queue", b"8", b"9", b"5", b"3", b"0", b"0"]
    assert {delivery.queue for delivery in got[1:]} == {"q"}
    assert transport.ack(got) == []
    assert transport.sizes(["q"])[0].in_flight == 0  # type: ignore[attr-defined]


def test_ten_levels_are_exact(world: World) -> None:
    transport = complete(world.adapter("priorities"), None, None, world.clock, levels=10).transport
    transport.send([out(str(priority), priority=priority) for priority in range(10)])
    assert payloads(transport) == [str(priority).encode() for priority in range(9, -1, -1)]


def test_the_fence_of_a_level_is_the_adapters(world: World) -> None:
    transport = world.completed("priorities").transport
    assert isinstance(transport, QueuePriority)
    transport.send([out("high", priority=9), out("low")])
    old = transport.receive(["q"], 2, 0.0)
    world.clock.advance(61)
    [new, _] = transport.receive(["q"], 2, 0.0)
    assert new.redelivered == 1
    for lost in (transport.ack(old), transport.release(old), transport.extend(old, 9.0)):
        assert [id(delivery) for delivery in lost] == [id(delivery) for delivery in old]
    assert transport.commit([(old[0], [out("zombie")]), (new, [out("child", priority=9)])]) == old[:1]
    assert payloads(transport) == [b"child"]


def test_release_of_a_level_keeps_order_and_count(world: World) -> None:
    transport = world.completed("priorities").transport
    transport.send([out("1", priority=9), out("2", priority=9), out("3")])
    assert transport.release(transport.receive(["q"], 2, 0.0)) == []
    again = transport.receive(["q"], 9, 0.0)
    assert [(d.payload, d.redelivered) for d in again] == [(b"1", 0), (b"2", 0), (b"3", 0)]


def test_all_levels_are_one_queue_to_tools(world: World) -> None:
    transport = world.completed("priorities").transport
    assert isinstance(transport, QueuePriority)
    transport.declare(["q", "q.dead"])
    at = world.clock.now()
    transport.send([out("low"), out("later", priority=5, not_before=at + 9), out("high", priority=9)])
    world.clock.advance(1)
    transport.send([Outgoing("q.dead", b"dead", priority=9)])
    assert transport.queues() == ["q", "q.dead"]
    q, dead = transport.sizes(["q", "q.dead"])
    assert (q.queue, q.ready, q.delayed, q.in_flight, q.oldest_at) == ("q", 2, 1, 0, at)
    assert (dead.queue, dead.ready, dead.oldest_at) == ("q.dead", 1, at + 1)
    assert transport.peek("q", 2) == [b"high", b"later"]
    assert transport.purge("q") == 3


def test_a_name_that_is_kept_for_levels_is_refused(world: World) -> None:
    transport = world.completed("priorities").transport
    for call in (lambda: transport.send([out("1"), Outgoing("q.p1", b"")]), lambda: transport.declare(["q.p3"])):
        with pytest.raises(Unsupported, match="kept"):
            call()
    transport.declare(["q.p4", "q.p10"])
    assert payloads(transport) == []


def test_order_goes_before_priority(world: World) -> None:
    for transport in (world.completed().transport, world.completed("priorities").transport):
        transport.send([out("1", order_key="k"), out("2", order_key="k", priority=9)])
        assert [payloads(transport), payloads(transport)] == [[b"1"], [b"2"]]


# -- delay -------------------------------------------------------------------------------------------------------------


def test_a_parked_message_is_never_early_and_never_forgotten(world: World) -> None:
    completed = world.completed("delay", "priorities")
    transport, pump = completed.transport, world.pump(completed)
    due = world.clock.now() + 3600
    transport.send([out("now"), out("past", not_before=due - 7200), out("low", not_before=due)])
    transport.send([out("high", not_before=due, priority=9), out("later", not_before=due + 0.5)])
    assert payloads(transport) == [b"now", b"past"]
    assert pump.step() == 1.0
    world.clock.advance(3599.75)
    assert pump.step() == 0.25
    assert payloads(transport) == []
    world.clock.advance(0.25)
    assert pump.step() == 0.0
    assert payloads(transport) == [b"high", b"low"]
    assert pump.step() == 0.5
    world.clock.advance(0.5)
    assert pump.step() == 0.0
    assert payloads(transport) == [b"later"]
    assert world.schedule.next_at("delay") is None
    assert transport.sizes(["q"])[0].delayed is None  # type: ignore[attr-defined]


class Crash(BaseException):
    """The end of a process."""


@dataclass
class Dying:
    """A schedule store whose process ends at `remove`."""

    inner: MemorySchedules

    def __post_init__(self) -> None:
        self.features = self.inner.features
        self.add, self.take, self.next_at = self.inner.add, self.inner.take, self.inner.next_at

    def open(self) -> None: ...

    def close(self) -> None: ...

    def remove(self, entries: Sequence[Parked]) -> None:
        raise Crash


def test_a_crash_between_send_and_remove_repeats_and_loses_nothing(world: World) -> None:
    adapter = world.adapter("delay")
    dying = complete(adapter, Dying(world.schedule), None, world.clock)
    healthy = complete(adapter, world.schedule, None, world.clock)
    dying.transport.send([out("1", not_before=world.clock.now() + 5)])
    world.clock.advance(5)
    with pytest.raises(Crash):
        world.pump(dying).step()
    assert world.pump(healthy).step() == 1.0
    assert payloads(adapter) == [b"1"]
    world.clock.advance(61)
    assert world.pump(healthy).step() == 0.0
    assert payloads(adapter) == [b"1"]
    assert world.schedule.next_at("delay") is None


class Shaky(Dying):
    """A schedule store that is away once, when something is to be removed."""

    away = True

    def remove(self, entries: Sequence[Parked]) -> None:
        if self.away:
            self.away = False
            raise Unavailable("away")
        self.inner.remove(entries)


def test_what_was_moved_and_not_removed_is_removed_later_and_not_sent_again(world: World) -> None:
    adapter = world.adapter("delay")
    completed = complete(adapter, Shaky(world.schedule), None, world.clock)
    completed.transport.send([out("1", not_before=world.clock.now() + 5)])
    world.clock.advance(5)
    pump = world.pump(completed)
    with pytest.raises(Unavailable):
        pump.step()
    world.clock.advance(61)  # longer than its lease of what it took
    assert pump.step() == 1.0
    assert payloads(adapter) == [b"1"]
    assert world.schedule.next_at("delay") is None


def test_a_failed_send_leaves_the_entries_free(world: World) -> None:
    adapter = world.adapter("delay", "dedup")
    completed = complete(adapter, world.schedule, None, world.clock)
    completed.transport.send([out("1", not_before=world.clock.now() + 5)])
    world.clock.advance(5)
    adapter.close()
    with pytest.raises(Unavailable):
        world.pump(completed).step()
    again = complete(world.adapter("delay"), world.schedule, None, world.clock)
    assert world.pump(again).step() == 0.0
    assert payloads(again.transport) == [b"1"]


class Picky:
    """A transport that refuses a whole batch when one message of it goes to the queue "bad"."""

    def __init__(self, inner: MemoryTransport) -> None:
        self.features, self._inner = inner.features, inner
        self.open, self.close, self.declare = inner.open, inner.close, inner.declare
        self.receive, self.ack, self.release = inner.receive, inner.ack, inner.release

    def send(self, batch: Sequence[Outgoing]) -> None:
        if any(message.queue == "bad" for message in batch):
            raise Rejected("bad queue")
        self._inner.send(batch)


def test_what_is_refused_when_due_goes_to_the_dead_letters_and_takes_no_neighbour_along(world: World) -> None:
    completed = complete(Picky(world.adapter("delay", "dedup")), world.schedule, None, world.clock)
    at = world.clock.now() + 5
    completed.transport.send([out("1", not_before=at), Outgoing("bad", b"2", 7, at), out("3", not_before=at)])
    world.schedule.add([Parked("delay", "junk", at, b"\xff")])
    world.clock.advance(5)
    world.pump(completed).step()
    assert payloads(completed.transport) == [b"1", b"3"]
    refused = decode_dead(payloads(completed.transport, "bad.dead")[0])
    assert refused is not None
    assert (refused.payload, refused.queue, refused.reason, refused.priority) == (b"2", "bad", "bad queue", 7)
    unread = decode_dead(payloads(completed.transport, "delay.dead")[0])
    assert unread is not None
    assert (unread.payload, unread.queue, unread.kind) == (b"\xff", "delay", "unprocessable")
    assert world.schedule.next_at("delay") is None


def test_what_no_queue_takes_stays_in_the_store(world: World) -> None:
    wide, narrow = world.completed("delay"), world.completed("delay", max_payload=20)
    at = world.clock.now() + 5
    wide.transport.send([out("x" * 21, not_before=at), out("fits", not_before=at)])
    world.schedule.add([Parked("delay", "junk", at, b"\xff")])
    world.clock.advance(5)
    for _ in range(2):
        with pytest.raises(Rejected):
            world.pump(narrow).step()
    assert payloads(narrow.transport) == [b"fits"]
    world.pump(wide).step()
    assert payloads(wide.transport) == [b"x" * 21]
    assert narrow.transport.queues() == ["delay.dead", "q"]  # type: ignore[attr-defined]


def test_a_mixed_batch_tells_what_was_not_sent(world: World) -> None:
    transport = world.completed("delay", max_payload=3).transport
    at = world.clock.now() + 5
    with pytest.raises(PartialSend) as caught:
        transport.send([out("ok", not_before=at), out("large"), out("ok")])
    assert list(caught.value.errors) == [1]
    with pytest.raises(PartialSend) as caught:
        transport.send([out("ok", not_before=at), out("large")])
    assert list(caught.value.errors) == [1]
    with pytest.raises(Rejected):
        transport.send([out("large", not_before=at - 10)])
    assert payloads(transport) == [b"ok"]


def test_the_pump_runs_in_a_thread_and_is_told_of_local_entries(world: World) -> None:
    completed = world.completed("delay")
    pump = world.pump(completed)
    pump.start()
    pump.start()
    completed.transport.send([out("1", not_before=world.clock.now() + 0.001)])
    world.clock.advance(1)
    pump.look()
    assert [delivery.payload for delivery in completed.transport.receive(["q"], 1, 10.0)] == [b"1"]
    assert pump.stop(5.0)
    assert pump.stop(5.0)


def test_a_pump_that_never_started_stops(world: World) -> None:
    pump = world.pump(world.completed("delay"))
    assert pump.stop(0.0)
    pump.start()


def test_the_pump_outlives_an_outage(world: World, caplog: pytest.LogCaptureFixture) -> None:
    completed = world.completed("delay", max_batch=10)
    pump = world.pump(completed)
    take, failures = world.schedule.take, iter([Unavailable("gone"), ValueError("defect")])

    def flaky(space: str, now: float, limit: int, lease: float) -> list[Parked]:
        for error in failures:
            pump.look()
            raise error
        return take(space, now, limit, lease)

    world.schedule.take = flaky  # type: ignore[method-assign]
    completed.transport.send([out("1", not_before=world.clock.now() + 1)])
    world.clock.advance(1)
    pump.start()
    assert [delivery.payload for delivery in completed.transport.receive(["q"], 1, 10.0)] == [b"1"]
    assert pump.stop(5.0)
    assert "gone" in caplog.text
    assert "defect" in caplog.text


def test_a_hop_is_as_long_as_can_be_and_the_last_one_is_exact(world: World) -> None:
    transport = world.completed(delay=10.0).transport
    at = world.clock.now()
    transport.send([out("long", not_before=at + 100), out("short", not_before=at + 5), out("now")])
    assert payloads(transport) == [b"now"]
    world.clock.advance(5)
    assert payloads(transport) == [b"short"]
    world.clock.advance(3.9)
    assert payloads(transport) == []
    world.clock.advance(0.2)
    [hop] = transport.receive(["q"], 1, 0.0)
    assert isinstance(transport, Commits)
    assert transport.commit([(hop, [out("long", not_before=at + 12)])]) == []
    world.clock.advance(2.8)
    assert payloads(transport) == []
    world.clock.advance(0.2)
    assert payloads(transport) == [b"long"]


# -- dedup -------------------------------------------------------------------------------------------------------------


def test_an_equal_key_within_the_window_is_one_message(world: World) -> None:
    for transport in (world.completed().transport, world.completed("dedup").transport):
        transport.send([out("1", dedup_key="k"), out("same batch", dedup_key="k"), out("none"), out("none")])
        transport.send([out("again", dedup_key="k"), Outgoing("p", b"other queue", dedup_key="k")])
        assert payloads(transport) == [b"1", b"none", b"none"]
        assert payloads(transport, "p") == [b"other queue"]
        world.clock.advance(WINDOW - 1)
        transport.send([out("again", dedup_key="k")])
        assert payloads(transport) == []
        world.clock.advance(1)
        transport.send([out("new", dedup_key="k")])
        assert payloads(transport) == [b"new"]
        world.clock.advance(WINDOW)


def test_another_process_sees_the_claim(world: World) -> None:
    world.completed("dedup").transport.send([out("1", dedup_key="k")])
    other = world.completed("dedup").transport
    other.send([out("again", dedup_key="k"), out("2")])
    assert payloads(other) == [b"1", b"2"]


def test_a_failed_send_leaves_no_claim(world: World) -> None:
    transport = world.completed("dedup", max_payload=3).transport
    with pytest.raises(PartialSend) as caught:
        transport.send([out("1", dedup_key="a"), out("large", dedup_key="b"), out("2", dedup_key="c")])
    assert list(caught.value.errors) == [1]
    with pytest.raises(Rejected):
        transport.send([out("large", dedup_key="d")])
    transport.send([out(key, dedup_key=key) for key in "abcd"])
    assert payloads(transport) == [b"1", b"2", b"b", b"d"]


def test_a_sender_that_died_between_claim_and_send_blocks_its_key_for_a_moment_only(world: World) -> None:
    transport = world.completed("dedup").transport
    world.coordination.claim([Claim("dedup:q:k", "a sender that died", UNDERWAY)])
    with pytest.raises(Unavailable) as one:
        transport.send([out("1", dedup_key="k")])
    assert one.value.sent == "no"
    with pytest.raises(PartialSend) as some:
        transport.send([out("2"), out("1", dedup_key="k")])
    assert isinstance(some.value.errors[1], Unavailable)
    [held] = transport.receive(["q"], 1, 0.0)
    assert isinstance(transport, Commits)
    with pytest.raises(Unavailable):
        transport.commit([(held, [out("3", dedup_key="other"), out("1", dedup_key="k")])])
    world.clock.advance(UNDERWAY)
    assert transport.commit([(held, [out("3", dedup_key="other"), out("1", dedup_key="k")])]) == []
    assert payloads(transport) == [b"3", b"1"]


def test_the_claim_of_a_lost_delivery_is_ended(world: World) -> None:
    transport = world.completed("dedup").transport
    assert isinstance(transport, Commits)
    transport.send([out("1")])
    [old] = transport.receive(["q"], 1, 0.0)
    world.clock.advance(61)
    [new] = transport.receive(["q"], 1, 0.0)
    assert transport.commit([(old, [out("zombie", dedup_key="k")])]) == [old]
    assert transport.commit([(old, [out("zombie", dedup_key="k")]), (new, [out("child", dedup_key="k")])]) == [old]
    transport.send([out("again", dedup_key="k")])
    assert payloads(transport) == [b"child"]


def test_a_coordination_that_fails_after_the_send_is_not_the_senders_trouble(world: World) -> None:
    adapter = world.adapter("dedup")
    coordination = MemoryCoordination(world.space, world.clock)
    coordination.open()
    transport = complete(ClosingAt(adapter, coordination), None, coordination, world.clock).transport
    transport.send([out("1", dedup_key="k")])
    assert payloads(adapter) == [b"1"]
    with pytest.raises(Unavailable):
        transport.send([out("1", dedup_key="k")])
    assert payloads(adapter) == []


class ClosingAt:
    """A transport during whose `send` the coordination service goes away."""

    def __init__(self, inner: MemoryTransport, coordination: MemoryCoordination) -> None:
        self.features, self._inner, self._coordination = inner.features, inner, coordination
        self.open, self.close, self.declare = inner.open, inner.close, inner.declare
        self.receive, self.ack, self.release = inner.receive, inner.ack, inner.release

    def send(self, batch: Sequence[Outgoing]) -> None:
        self._inner.send(batch)
        self._coordination.close()


def test_a_transport_without_optional_methods_is_completed_too(world: World) -> None:
    transport = complete(ClosingAt(world.adapter("dedup"), world.coordination), None, world.coordination).transport
    with pytest.raises(Unsupported, match="wake"):
        transport.wake()  # type: ignore[attr-defined]


def test_parked_messages_of_one_key_are_one(world: World) -> None:
    completed = world.completed("delay", "dedup")
    at = world.clock.now() + 1000
    completed.transport.send([out("1", dedup_key="k", not_before=at)])
    world.clock.advance(WINDOW + 1)
    completed.transport.send([out("1", dedup_key="k", not_before=at)])
    world.clock.advance(1000)
    world.pump(completed).step()
    assert payloads(completed.transport) == [b"1"]


def test_a_batch_that_uses_nothing_is_handed_on_as_it_is(world: World) -> None:
    seen: list[object] = []
    adapter = world.adapter("delay", "priorities", "dedup")
    send = adapter.send

    def spy(batch: Sequence[Outgoing]) -> None:
        seen.append(batch)
        send(batch)

    adapter.send = spy  # type: ignore[method-assign]
    batch = [out("1"), out("2")]
    complete(adapter, world.schedule, world.coordination, world.clock).transport.send(batch)
    assert seen == [batch]
    assert seen[0] is batch
    assert isinstance(adapter.receive(["q"], 1, 0.0)[0], Delivery)
