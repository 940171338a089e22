"""Looking at queues, and emptying them."""

from __future__ import annotations

from kernel.ports import QueueSize
from kernel_conformance.clause import claims
from kernel_conformance.transport.abilities import INSPECT, LISTS, PEEK
from kernel_conformance.transport.bench import OTHER, QUEUE, TransportBench


@claims(LISTS)
def test_queues_are_listed(bench: TransportBench) -> None:
    """T-INSPECT-1: `queues` has the name of every declared queue, sorted, and no foreign or internal one.

    Fix: list the queues of this namespace, under the names that they were declared by.
    """
    bench.first.declare(["zebra", "ant", QUEUE])
    names = bench.first.queues()
    assert names == sorted(names)
    assert [name for name in names if name in ("zebra", "ant", QUEUE)] == ["ant", QUEUE, "zebra"]


@claims(INSPECT)
def test_sizes_are_true(bench: TransportBench) -> None:
    """T-INSPECT-2: `sizes` counts ready, delayed and leased messages; what cannot be told is None, never 0.

    Fix: count on the service; a message is in exactly one of the three.
    """
    bench.send(b"a", b"b", b"c", b"d")
    held = bench.drain(1)
    delayed = 2 if bench.f.delay else 0
    for _ in range(delayed):
        bench.send(b"later", not_before=bench.now() + min(bench.f.delay, 60.0))
    size = bench.first.sizes([QUEUE])[0]
    assert size.queue == QUEUE
    assert size.ready in (3, None)
    assert size.delayed in (delayed, None)
    assert size.in_flight in (1, None)
    assert bench.first.ack(held) == []
    after = bench.first.sizes([QUEUE])[0]
    assert (after.ready, after.in_flight) in ((3, 0), (3, None), (None, 0), (None, None))


@claims(INSPECT)
def test_sizes_are_in_the_order_asked(bench: TransportBench) -> None:
    """T-INSPECT-3: `sizes` answers in the order asked; an unknown queue is empty, and stays unknown.

    Fix: build the answer from the list of names, not from the service's.
    """
    bench.send(b"x")
    bench.send(b"y", b"z", queue=OTHER)
    sizes = bench.first.sizes(["unknown", OTHER, QUEUE])
    assert [size.queue for size in sizes] == ["unknown", OTHER, QUEUE]
    assert sizes[0].ready in (0, None)
    assert sizes[0].oldest_at is None
    assert [size.ready for size in sizes[1:]] in ([2, 1], [None, None])
    if bench.f.lists:
        assert "unknown" not in bench.first.queues()
    assert bench.first.sizes([]) == []


@claims(INSPECT)
def test_the_oldest_message(bench: TransportBench) -> None:
    """T-INSPECT-4: `oldest_at` is about the moment at which the oldest ready message became ready, None for none.

    Fix: store the time of sending with the message, by the clock of the service.
    """
    bench.first.declare([QUEUE])
    assert bench.first.sizes([QUEUE])[0].oldest_at is None
    sent_at = bench.now()
    bench.send(b"old")
    if bench.tuning.clock:
        bench.pass_time(100.0)
    bench.send(b"new")
    oldest_at = bench.first.sizes([QUEUE])[0].oldest_at
    assert oldest_at is None or abs(oldest_at - sent_at) <= 2.0 + bench.tuning.slack
    bench.settle(2)
    assert bench.first.sizes([QUEUE])[0] in (
        QueueSize(QUEUE, ready, delayed, in_flight, None)
        for ready in (0, None)
        for delayed in (0, None)
        for in_flight in (0, None)
    )


@claims(PEEK)
def test_peek_takes_nothing(bench: TransportBench) -> None:
    """T-INSPECT-5: `peek` shows up to `limit` payloads, the next to be delivered first, and takes and counts nothing.

    Fix: read without a lease; where the service cannot, do not claim `peek`.
    """
    bench.send(b"a", b"b", b"c")
    assert bench.first.peek(QUEUE, 2) == [b"a", b"b"]
    assert bench.open().peek(QUEUE, 10) == [b"a", b"b", b"c"]
    assert bench.first.peek("unknown", 10) == []
    delivery = bench.one()
    assert delivery.payload == b"a"
    assert delivery.redelivered in (0, -1), "a peek was counted as a delivery"
    assert bench.first.peek(QUEUE, 10) == [b"b", b"c"], "what is under lease is not shown"
    assert bench.first.ack([delivery]) == []
    assert bench.settle(2) == [b"b", b"c"]


@claims(PEEK)
def test_peek_shows_delayed_messages(bench: TransportBench) -> None:
    """T-INSPECT-6: `peek` shows delayed messages behind the ready ones.

    Fix: look at both places.
    """
    if not bench.f.delay:
        bench.send(b"ready")
        assert bench.first.peek(QUEUE, 10) == [b"ready"]
        return
    soon = min(bench.f.delay, 60.0)
    bench.send(b"later", not_before=bench.now() + soon)
    bench.send(b"ready")
    assert bench.first.peek(QUEUE, 10) == [b"ready", b"later"]
    bench.settle(1)
    bench.quiet()


@claims(INSPECT)
def test_purge_drops_what_nobody_holds(bench: TransportBench) -> None:
    """T-INSPECT-7: `purge` drops the ready and delayed messages of one queue and says how many.

    Fix: count what was deleted; leave other queues and the queue itself alone. Delayed messages may stay where `sizes`
    says None of them.
    """
    bench.send(b"a", b"b")
    bench.send(b"kept", queue=OTHER)
    dropped = 2
    if bench.f.delay:
        bench.send(b"later", not_before=bench.now() + min(bench.f.delay, 60.0))
        dropped = 2 if bench.first.sizes([QUEUE])[0].delayed is None else 3
    assert bench.first.purge(QUEUE) == dropped
    assert bench.first.purge(QUEUE) == 0
    assert bench.first.purge("unknown") == 0
    bench.quiet()
    assert bench.settle(1, queue=OTHER) == [b"kept"]
    bench.send(b"new")
    assert bench.settle(1) == [b"new"]


@claims(INSPECT)
def test_purge_leaves_leased_messages(bench: TransportBench) -> None:
    """T-INSPECT-8: `purge` leaves messages under lease to their holders: they can be settled or released.

    Fix: delete ready and delayed messages only.
    """
    bench.send(b"a", b"b", b"c")
    a, b = bench.drain(2)
    assert bench.first.purge(QUEUE) == 1
    assert bench.first.ack([a]) == []
    assert bench.first.release([b]) == []
    assert bench.settle(1) == [b"b"]
