"""Acknowledging and releasing: for good, fenced, at once."""

from __future__ import annotations

from kernel.ports import Outgoing
from kernel_conformance.clause import claims
from kernel_conformance.transport.abilities import COUNTS, LEASE
from kernel_conformance.transport.bench import QUEUE, TransportBench, payloads

#: More than any delivery limit that a broker sets by default.
MANY_RELEASES = 100


def test_acked_is_gone(bench: TransportBench) -> None:
    """T-ACK-1: an acknowledged message never comes back, not after its lease and not for a new adapter.

    Fix: delete the message on the service before `ack` returns.
    """
    bench.send(b"x")
    held = [bench.one()]
    assert bench.first.ack(held) == []
    if bench.f.lease is not None:
        bench.pass_time(bench.f.lease + 0.05 if bench.tuning.clock else 0.0)
    bench.quiet()
    bench.first.close()
    bench.quiet(by=bench.open())


def test_a_second_ack_is_no_error(bench: TransportBench) -> None:
    """T-ACK-2: acknowledging the same delivery again is no error.

    Fix: treat a receipt that is gone as settled, or as lost.
    """
    bench.send(b"x", b"y")
    held = bench.drain(2)
    assert bench.first.ack(held[:1]) == []
    bench.first.ack(held[:1])
    assert bench.first.ack([]) == []
    assert bench.first.ack(held[1:]) == []


@claims(LEASE)
def test_ack_is_fenced(bench: TransportBench) -> None:
    """T-ACK-3: an `ack` after the message went to somebody else returns the delivery and settles nothing.

    Fix: put a token of this delivery into the receipt and compare it on the service in the step that deletes.
    """
    lost, thief, held = bench.stolen()
    assert payloads(bench.first.ack([lost])) == [b"contested"], "a lost delivery was not returned"
    assert thief.release([held]) == [], "the zombie's ack ended the lease of the new holder"
    assert bench.settle(1, by=thief) == [b"contested"], "the zombie's ack settled the message"


@claims(LEASE)
def test_ack_returns_only_what_was_lost(bench: TransportBench) -> None:
    """T-ACK-4: of a batch, exactly the lost deliveries are returned; the others are settled.

    Fix: check the token per message, not per batch.
    """
    lost, thief, held = bench.stolen()
    bench.send(b"mine")
    mine = bench.one()
    returned = bench.first.ack([mine, lost])
    assert returned == [lost]
    assert returned[0] is lost, "the very object that was passed in is returned"
    assert thief.ack([held]) == []
    bench.lose([])
    bench.quiet()


def test_ack_settles_only_what_is_given(bench: TransportBench) -> None:
    """T-ACK-5: acknowledging one of several deliveries leaves the others under lease.

    Fix: acknowledge each message by its own receipt, not all up to it.
    """
    bench.send(b"a", b"b", b"c")
    a, b, c = bench.drain(3)
    assert bench.first.ack([b]) == []
    bench.quiet()
    assert bench.first.release([a, c]) == []
    assert bench.settle(2) == [b"a", b"c"]
    bench.quiet()


def test_ack_of_max_batch(bench: TransportBench) -> None:
    """T-ACK-6: `max_batch` deliveries can be acknowledged in one call, by a thread that did not receive them.

    Fix: split inside of the adapter, or claim a smaller `max_batch`.
    """
    count = min(bench.f.max_batch, 2000)
    bench.send(*[b"x"] * count)
    found = bench.drain(count, limit=count)
    assert bench.call(lambda: bench.first.ack(found)).result(bench.tuning.patience) == []
    bench.quiet()


@claims(LEASE)
def test_ack_after_expiry_is_consistent(bench: TransportBench) -> None:
    """T-ACK-7: an `ack` after the lease has run out, taken by nobody yet: settled, or returned and delivered again.

    Fix: decide by the token in one step; never return a delivery as lost whose message was deleted.
    """
    bench.send(b"x")
    held = [bench.one()]
    bench.lose(held)
    if bench.first.ack(held):
        assert bench.settle(1) == [b"x"]
    else:
        bench.quiet()


def test_release_is_at_once(bench: TransportBench) -> None:
    """T-REL-1: a released message can be received at once, by any adapter.

    Fix: make it visible again in the call itself, without waiting for the lease.
    """
    second = bench.open()
    bench.send(b"x")
    assert bench.first.release([bench.one()]) == []
    assert payloads(second.receive([QUEUE], 1, bench.tuning.patience)) == [b"x"]


def test_release_to_the_front(bench: TransportBench) -> None:
    """T-REL-2: a released message is the next to be delivered.

    Fix: keep the message's place in the queue, or put it to the head; never append it.
    """
    bench.send(b"a", b"b", b"c")
    assert bench.first.release([bench.one()]) == []
    assert bench.settle(3) == [b"a", b"b", b"c"]


def test_a_released_batch_keeps_its_order(bench: TransportBench) -> None:
    """T-REL-3: messages released in one call come again in the order in which they were delivered.

    Fix: push a batch to the head from its end.
    """
    bench.send(b"a", b"b", b"c", b"d")
    assert bench.first.release(bench.drain(3)) == []
    assert bench.first.release([]) == []
    assert bench.settle(4) == [b"a", b"b", b"c", b"d"]


def test_many_releases_harm_nothing(bench: TransportBench) -> None:
    """T-REL-4: a message released a hundred times is still there, and uncounted unless `release_counts` is claimed.

    Fix: give the message back without counting; set the service's own delivery limit far above, or off.
    """
    bench.send(b"x")
    for _ in range(MANY_RELEASES):
        delivery = bench.one()
        if not bench.f.release_counts:
            assert delivery.redelivered in ((0,) if bench.f.counts else (0, -1)), "a release was counted"
        assert bench.first.release([delivery]) == []
    assert bench.settle(1) == [b"x"]
    bench.quiet()


@claims(COUNTS)
def test_counted_releases(bench: TransportBench) -> None:
    """T-REL-5: with `release_counts` a release raises `redelivered`, without it never.

    Fix: claim what the service does; the kernel reads the claim before it suspects a message.
    """
    bench.send(b"x")
    assert bench.first.release([bench.one()]) == []
    assert bench.one().redelivered == (1 if bench.f.release_counts else 0)


@claims(LEASE)
def test_release_is_fenced(bench: TransportBench) -> None:
    """T-REL-6: a `release` after the message went to somebody else returns the delivery and gives nothing back.

    Fix: compare the token of the receipt in the step that makes the message visible.
    """
    lost, thief, held = bench.stolen()
    assert payloads(bench.first.release([lost])) == [b"contested"], "a lost delivery was not returned"
    bench.quiet()
    assert thief.ack([held]) == []
    bench.quiet()


def test_release_ends_the_delivery(bench: TransportBench) -> None:
    """T-REL-7: after `release`, an `ack` of the same delivery does nothing to the message.

    Fix: make the receipt worthless when the message is given back.
    """
    bench.send(b"x")
    held = [bench.one()]
    assert bench.first.release(held) == []
    bench.first.ack(held)
    assert bench.settle(1) == [b"x"]


def test_release_after_ack_revives_nothing(bench: TransportBench) -> None:
    """T-REL-8: after `ack`, a `release` of the same delivery does not bring the message back.

    Fix: give back only what is still under the lease of this receipt.
    """
    bench.send(b"x")
    held = [bench.one()]
    assert bench.first.ack(held) == []
    bench.first.release(held)
    bench.first.release(held)
    bench.quiet()


def test_release_keeps_the_message(bench: TransportBench) -> None:
    """T-REL-9: a released message has the same payload and queue as before; a double release makes no copy.

    Fix: return the stored message itself, do not send a new one.
    """
    payload = bytes(range(256))
    bench.first.send([Outgoing(QUEUE, payload)])
    held = [bench.one()]
    assert bench.first.release(held) == []
    bench.first.release(held)
    again = bench.one()
    assert (again.payload, again.queue) == (payload, QUEUE)
    bench.quiet()
    assert bench.first.ack([again]) == []
