from __future__ import annotations

import random
import time

import pytest
from kernel_sqlite import SqliteTransport
from kernel_sqlite.transport import MAX_BATCH, MAX_PAYLOAD

from kernel.errors import PartialSend, Rejected, Unavailable
from kernel.ports import Broadcasts, Commits, Delivery, Extends, Inspects, Outgoing, QueueSize, Wakes


def payloads(deliveries: list[Delivery]) -> list[bytes]:
    return [delivery.payload for delivery in deliveries]


def numbered(count: int, queue: str = "q") -> list[Outgoing]:
    return [Outgoing(queue, b"%d" % index) for index in range(count)]


def lose(transport: SqliteTransport, batch: list[Delivery]) -> None:
    assert transport.extend(batch, -1.0) == []


def test_it_has_the_optional_protocols(transport: SqliteTransport) -> None:
    for protocol in (Extends, Commits, Inspects, Wakes, Broadcasts):
        assert isinstance(transport, protocol)


def test_messages_come_in_the_order_of_sending(transport: SqliteTransport, other: SqliteTransport) -> None:
    transport.send(numbered(7))
    transport.send(numbered(3))
    got = other.receive(["q"], 5, 0.0) + other.receive(["q"], 100, 0.0)
    assert payloads(got) == [b"%d" % index for index in (*range(7), *range(3))]
    assert other.ack(got) == []
    assert other.receive(["q"], 1, 0.0) == []
    assert transport.sizes(["q"]) == [QueueSize("q", 0, 0, 0, None)]


def test_higher_priorities_and_earlier_queues_go_first(transport: SqliteTransport) -> None:
    transport.send([Outgoing("a", b"%d" % priority, priority=priority) for priority in (0, 9, 5)])
    transport.send([Outgoing("b", b"b")])
    assert payloads(transport.receive(["b", "a"], 10, 0.0)) == [b"b", b"9", b"5", b"0"]


def test_a_delayed_message_waits_and_is_seen(transport: SqliteTransport) -> None:
    transport.send([Outgoing("q", b"late", not_before=time.time() + 0.2), Outgoing("q", b"now")])
    assert transport.sizes(["q"])[0].delayed == 1
    assert transport.peek("q", 10) == [b"now", b"late"]
    assert payloads(transport.receive(["q"], 10, 0.0)) == [b"now"]
    start = time.monotonic()
    assert payloads(transport.receive(["q"], 10, 5.0)) == [b"late"]
    assert time.monotonic() - start < 1.0


def test_a_batch_of_max_batch_and_one_more(transport: SqliteTransport) -> None:
    transport.send(numbered(MAX_BATCH))
    got = transport.receive(["q"], MAX_BATCH, 0.0)
    assert len(got) == MAX_BATCH
    assert transport.ack(got) == []
    with pytest.raises(Rejected):
        transport.send(numbered(MAX_BATCH + 1))
    assert transport.receive(["q"], 1, 0.0) == []


def test_a_payload_too_large_is_rejected_alone(transport: SqliteTransport) -> None:
    large = bytes(MAX_PAYLOAD + 1)
    with pytest.raises(PartialSend) as partial:
        transport.send([Outgoing("q", b"1"), Outgoing("q", large), Outgoing("q", b"2")])
    assert set(partial.value.errors) == {1}
    assert payloads(transport.receive(["q"], 9, 0.0)) == [b"1", b"2"]
    with pytest.raises(Rejected):
        transport.send([Outgoing("q", large)])


def test_an_unsound_priority_is_rejected(transport: SqliteTransport) -> None:
    with pytest.raises(Rejected):
        transport.send([Outgoing("q", b"", priority=10)])


def test_a_queue_name_that_cannot_be_stored_is_rejected(transport: SqliteTransport) -> None:
    with pytest.raises(Rejected):
        transport.send([Outgoing("\ud800", b"")])
    transport.send([Outgoing("q", b"x")])


def test_an_expired_lease_is_claimable_and_fenced(transport: SqliteTransport, other: SqliteTransport) -> None:
    transport.send([Outgoing("q", b"x")])
    [zombie] = transport.receive(["q"], 1, 0.0)
    assert zombie.redelivered == 0
    lose(transport, [zombie])
    [again] = other.receive(["q"], 1, 0.0)
    assert again.redelivered == 1
    assert transport.ack([zombie]) == [zombie]
    assert transport.release([zombie]) == [zombie]
    assert transport.extend([zombie], 9.0) == [zombie]
    assert transport.commit([(zombie, [Outgoing("r", b"never")])]) == [zombie]
    assert other.ack([again]) == []
    assert transport.ack([zombie]) == [zombie]
    assert transport.receive(["q", "r"], 1, 0.0) == []


def test_two_deliveries_of_one_message_in_one_batch(transport: SqliteTransport) -> None:
    transport.send([Outgoing("q", b"x")])
    [zombie] = transport.receive(["q"], 1, 0.0)
    lose(transport, [zombie])
    [live] = transport.receive(["q"], 1, 0.0)
    assert transport.ack([zombie, live]) == [zombie]


def test_an_ack_after_the_lease_succeeds_while_nobody_has_it(transport: SqliteTransport) -> None:
    transport.send([Outgoing("q", b"x")])
    batch = transport.receive(["q"], 1, 0.0)
    lose(transport, batch)
    assert transport.ack(batch) == []
    assert transport.receive(["q"], 1, 0.0) == []


def test_a_second_ack_is_no_error(transport: SqliteTransport) -> None:
    transport.send(numbered(2))
    first, second = transport.receive(["q"], 2, 0.0)
    assert transport.ack([first, first]) == []
    assert transport.ack([first, second]) == []
    assert transport.commit([(second, [Outgoing("q", b"twice")])]) == [second]
    assert transport.receive(["q"], 1, 0.0) == []


def test_a_release_is_not_counted_and_goes_to_the_front(transport: SqliteTransport) -> None:
    transport.send(numbered(3))
    got = transport.receive(["q"], 2, 0.0)
    assert transport.release(got) == []
    again = transport.receive(["q"], 3, 0.0)
    assert payloads(again) == [b"0", b"1", b"2"]
    assert [delivery.redelivered for delivery in again] == [0, 0, 0]
    assert transport.ack(got) == got


def test_redeliveries_are_counted_exactly(transport: SqliteTransport) -> None:
    transport.send([Outgoing("q", b"x")])
    for count in range(4):
        batch = transport.receive(["q"], 1, 0.0)
        assert batch[0].redelivered == count
        transport.release(batch)
        lose(transport, transport.receive(["q"], 1, 0.0))


def test_an_extended_lease_holds(transport: SqliteTransport, other: SqliteTransport) -> None:
    transport.send(numbered(2))
    kept, dropped = transport.receive(["q"], 2, 0.0)
    lose(transport, [kept, dropped])
    assert transport.extend([kept], 30.0) == []
    assert payloads(other.receive(["q"], 2, 0.0)) == [dropped.payload]


def test_settling_any_subset_in_any_order(transport: SqliteTransport) -> None:
    chance = random.Random(7)
    transport.send(numbered(300, "a"))
    transport.send([Outgoing("b", b"%d" % index, priority=index % 10) for index in range(300)])
    got = [delivery for _ in range(4) for delivery in transport.receive(["b", "a"], 150, 0.0)]
    chance.shuffle(got)
    acked, released = got[:250], got[250:]
    assert transport.ack(acked[:100]) == []
    assert transport.ack(sorted(acked[100:], key=lambda delivery: delivery.receipt.key)) == []
    assert transport.release(released) == []
    left = transport.receive(["a", "b"], 600, 0.0)
    assert sorted(payloads(left)) == sorted(payloads(released))
    assert transport.ack(got) == [delivery for delivery in got if delivery in released]
    assert transport.ack(left) == []


def test_commit_publishes_and_acks_in_one_step(transport: SqliteTransport, other: SqliteTransport) -> None:
    transport.send(numbered(2))
    live, zombie = transport.receive(["q"], 2, 0.0)
    lose(transport, [zombie])
    other.receive(["q"], 1, 0.0)
    lost = transport.commit([(live, [Outgoing("next", b"yes")]), (zombie, [Outgoing("next", b"no")])])
    assert lost == [zombie]
    assert payloads(transport.receive(["next"], 9, 0.0)) == [b"yes"]


def test_a_refused_commit_changes_nothing(transport: SqliteTransport) -> None:
    transport.send([Outgoing("q", b"x")])
    [delivery] = transport.receive(["q"], 1, 0.0)
    with pytest.raises(Rejected):
        transport.commit([(delivery, [Outgoing("next", b"ok"), Outgoing("next", bytes(MAX_PAYLOAD + 1))])])
    assert transport.receive(["next"], 1, 0.0) == []
    assert transport.ack([delivery]) == []


def test_close_gives_back_what_is_held(transport: SqliteTransport, other: SqliteTransport) -> None:
    transport.send(numbered(3))
    kept = other.receive(["q"], 1, 0.0)
    assert len(transport.receive(["q"], 2, 0.0)) == 2
    transport.close()
    assert payloads(other.receive(["q"], 9, 0.0)) == [b"1", b"2"]
    assert other.ack(kept) == []
    for call in (transport.open, lambda: transport.send([]), lambda: transport.receive(["q"], 1, 1.0)):
        with pytest.raises(Unavailable):
            call()


def test_tools_see_the_queues(transport: SqliteTransport) -> None:
    transport.declare(["z", "a", "a"])
    transport.send(numbered(4, "a"))
    transport.send([Outgoing("a", b"late", not_before=time.time() + 60)])
    held = transport.receive(["a"], 1, 0.0)
    [size] = transport.sizes(["a"])
    assert (size.ready, size.delayed, size.in_flight) == (3, 1, 1)
    assert size.oldest_at is not None
    assert abs(size.oldest_at - time.time()) < 5
    assert transport.queues() == ["a", "z"]
    assert transport.sizes(["nobody"]) == [QueueSize("nobody", 0, 0, 0, None)]
    assert transport.peek("a", 2) == [b"1", b"2"]
    assert transport.purge("a") == 4
    assert transport.ack(held) == []


def test_broadcast_reaches_every_open_inbox_once(transport: SqliteTransport, other: SqliteTransport) -> None:
    transport.publish("news", b"before")
    one, two = transport.listen("news"), other.listen("news")
    transport.publish("news", b"1")
    transport.publish("olds", b"x")
    assert one.get(1.0) == [b"1"]
    assert two.get(1.0) == [b"1"]
    assert one.get(0.0) == []
    one.close()
    assert one.get(1.0) == []


def test_an_expired_message_is_still_delivered(transport: SqliteTransport) -> None:
    transport.send([Outgoing("q", b"old", expires_at=time.time() - 5)])
    assert payloads(transport.receive(["q"], 1, 0.0)) == [b"old"]
