"""Leases: hidden for their length, extended, counted, lost."""

from __future__ import annotations

from kernel.ports import Outgoing
from kernel_conformance.clause import claims
from kernel_conformance.transport.abilities import COUNTS, LEASE
from kernel_conformance.transport.bench import QUEUE, TransportBench, payloads


@claims(LEASE)
def test_an_expired_lease_redelivers(bench: TransportBench) -> None:
    """T-LEASE-1: a message whose lease has run out is delivered again, to any adapter.

    Fix: make expired leases visible in `receive` itself, or by the service; not by a thread of the holder.
    """
    second = bench.open()
    bench.send(b"a", b"b")
    bench.lose(bench.drain(2))
    assert sorted(bench.settle(2, by=second)) == [b"a", b"b"]


@claims(LEASE)
def test_a_lease_holds_for_its_length(bench: TransportBench) -> None:
    """T-LEASE-2: a message stays hidden for `Features.lease` seconds from the moment of its delivery.

    Fix: start the lease when the message is taken, and by the clock of the service.
    """
    second = bench.open()
    lease = bench.lease
    bench.send(b"x")
    bench.pass_time(0.5 * lease)
    held = bench.one()
    bench.pass_time(0.7 * lease)
    bench.quiet(by=second)
    bench.pass_time(0.4 * lease)
    again = bench.one(by=second)
    assert again.payload == held.payload == b"x"
    assert second.ack([again]) == []


@claims(LEASE)
def test_leases_run_out_again_and_again(bench: TransportBench) -> None:
    """T-LEASE-3: a message can lose its lease any number of times and is delivered each time.

    Fix: claim the service's own delivery limit away; poison messages are the kernel's business.
    """
    bench.send(b"x")
    for _ in range(20 if bench.tuning.clock else 3):
        bench.lose([bench.one()])
    assert bench.settle(1) == [b"x"]
    bench.quiet()


@claims(LEASE)
def test_leases_are_separate(bench: TransportBench) -> None:
    """T-LEASE-4: of messages received together, one can be settled, one released and one lost.

    Fix: keep the state of a lease per message, also where its deadline is shared.
    """
    second = bench.open()
    bench.send(b"acked", b"released", b"lost")
    acked, released, lost = bench.drain(3)
    assert bench.first.ack([acked]) == []
    assert bench.first.release([released]) == []
    assert bench.settle(1, by=second) == [b"released"]
    bench.lose([lost])
    assert bench.settle(1, by=second) == [b"lost"]
    bench.quiet(by=second)


@claims(LEASE)
def test_lost_messages_keep_their_place(bench: TransportBench) -> None:
    """T-LEASE-5: the loss of one message harms no other: what was ready stays ready, in order.

    Fix: change the state of the expired message only.
    """
    bench.send(b"lost", b"a", b"b")
    bench.lose([bench.one()])
    found = payloads(bench.drain(3))
    assert sorted(found) == [b"a", b"b", b"lost"]
    assert found.index(b"a") < found.index(b"b")


@claims(LEASE)
def test_extend_keeps_hidden(bench: TransportBench) -> None:
    """T-EXT-1: `extend` hides a message for `lease` seconds from the call on.

    Fix: set the deadline to the service's now plus `lease`.
    """
    second = bench.open()
    lease = bench.lease
    bench.send(b"x")
    held = [bench.one()]
    bench.pass_time(0.6 * lease)
    assert bench.first.extend(held, lease) == []
    bench.pass_time(0.8 * lease)
    bench.quiet(by=second)
    assert bench.first.ack(held) == [], "an extended lease was lost"
    bench.pass_time(0.4 * lease)
    bench.quiet(by=second)


@claims(LEASE)
def test_extend_counts_from_now(bench: TransportBench) -> None:
    """T-EXT-2: the new lease replaces the old one: it does not add to it, and may be shorter.

    Fix: set, do not add.
    """
    second = bench.open()
    bench.send(b"x")
    held = [bench.one()]
    short = bench.lease * 0.3 if bench.tuning.clock else min(bench.lease * 0.3, 0.3)
    assert bench.first.extend(held, bench.lease) == []
    assert bench.first.extend(held, short) == []
    bench.pass_time(short + 0.05)
    assert bench.settle(1, by=second) == [b"x"]


@claims(LEASE)
def test_extend_again_and_again(bench: TransportBench) -> None:
    """T-EXT-3: renewals hold a message for several leases, up to `lease_total`.

    Fix: let each renewal count from its own moment; claim a `lease_total` where the service has one.
    """
    second = bench.open()
    bench.send(b"x")
    held = [bench.one()]
    # Half a lease, so that a busy machine has the other half to be late; four times, so that it is held for two.
    step = 0.5 * bench.lease
    for _ in range(max(1, min(4, int(min(bench.f.lease_total, 100 * step) / step) - 1))):
        bench.pass_time(step)
        assert bench.first.extend(held, bench.lease) == []
    bench.quiet(by=second)
    assert bench.first.ack(held) == []


@claims(LEASE)
def test_extend_is_fenced(bench: TransportBench) -> None:
    """T-EXT-4: `extend` of a delivery that somebody else holds now returns it and changes nothing.

    Fix: compare the token of the receipt in the step that sets the deadline.
    """
    lost, thief, held = bench.stolen()
    assert payloads(bench.first.extend([lost], bench.lease)) == [b"contested"]
    assert thief.extend([held], bench.lease) == []
    assert thief.ack([held]) == []
    bench.quiet()


@claims(LEASE)
def test_extend_touches_only_what_is_given(bench: TransportBench) -> None:
    """T-EXT-5: of messages received together, only the extended one stays hidden.

    Fix: give an extended message a deadline of its own.
    """
    second = bench.open()
    bench.send(b"left", b"kept", b"left too")
    held = bench.drain(3)
    assert bench.first.extend([], bench.lease) == []
    short = bench.lease if bench.tuning.clock else min(bench.lease, bench.tuning.lease_for)
    assert bench.first.extend([held[0], held[2]], short) == []
    bench.pass_time(short * 0.7)
    assert bench.first.extend([held[1]], bench.lease) == []
    bench.pass_time(short * 0.4)
    assert sorted(bench.settle(2, by=second)) == [b"left", b"left too"]
    bench.quiet(by=second)
    assert bench.first.ack([held[1]]) == []


@claims(LEASE)
def test_extend_revives_nothing(bench: TransportBench) -> None:
    """T-EXT-6: extending a settled delivery does not bring its message back.

    Fix: change only what is under the lease of this receipt.
    """
    bench.send(b"x")
    held = [bench.one()]
    assert bench.first.ack(held) == []
    bench.first.extend(held, bench.lease)
    bench.pass_time(bench.lease + 0.05)
    bench.quiet()


@claims(COUNTS)
def test_exact_counts(bench: TransportBench) -> None:
    """T-COUNT-1: `redelivered` counts the earlier deliveries that ended by the loss of their lease, one by one.

    Fix: raise the count on the service in the step that delivers; the kernel fences zombies by it.
    """
    bench.send(b"x")
    for expected in range(4 if bench.tuning.clock else 3):
        delivery = bench.one()
        assert delivery.redelivered == expected
        if bench.f.lease is None:
            bench.first.close()
            bench.first = bench.open()
        else:
            bench.lose([delivery])


@claims(COUNTS)
def test_close_counts(bench: TransportBench) -> None:
    """T-COUNT-3: what was not settled before `close` counts as delivered: nobody said that it did not run.

    Fix: raise the count when `close` gives back.
    """
    second = bench.open()
    bench.send(b"x")
    lasts_for = bench.shorten([bench.one()])
    bench.first.close()
    if bench.f.lease is not None:
        bench.pass_time(lasts_for + 0.05)
    assert bench.one(by=second).redelivered == 1


@claims(COUNTS)
def test_counts_are_per_message(bench: TransportBench) -> None:
    """T-COUNT-2: the count of one message says nothing of another one.

    Fix: store the count with the message.
    """
    bench.send(b"lost")
    held = [bench.one()]
    if bench.f.lease is None:
        bench.first.close()
        bench.first = bench.open()
    else:
        bench.lose(held)
    bench.first.send([Outgoing(QUEUE, b"fresh")])
    assert {delivery.payload: delivery.redelivered for delivery in bench.drain(2)} == {b"lost": 1, b"fresh": 0}
