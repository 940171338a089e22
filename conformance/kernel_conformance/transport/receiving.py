"""Receiving: prompt, bounded, exclusive, in order of preference."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from kernel.ports import Delivery, Outgoing
from kernel_conformance.clause import claims
from kernel_conformance.transport.abilities import LEASE
from kernel_conformance.transport.bench import OTHER, QUEUE, FullTransport, TransportBench, payloads

#: By how much the contract lets `receive` overrun its timeout.
OVERRUN = 0.1


def test_a_blocked_receive_returns_with_the_first_message(bench: TransportBench) -> None:
    """T-RECV-1: a blocked `receive` returns as soon as one message is there, however large its limit.

    Fix: do not collect a full batch; return what the first answer of the service holds.
    """
    bench.first.declare([QUEUE])
    call = bench.blocked(lambda: bench.first.receive([QUEUE], 10, 30.0))
    sent_at = time.monotonic()
    bench.send(b"x")
    assert payloads(call.result(bench.tuning.patience)) == [b"x"]
    assert time.monotonic() - sent_at <= 1.0 + bench.tuning.slack


def test_receive_does_not_wait_for_more(bench: TransportBench) -> None:
    """T-RECV-2: with messages there, `receive` returns at once although the limit is not reached.

    Fix: block only when nothing was found.
    """
    bench.send(b"a", b"b", b"c")
    call = bench.call(lambda: bench.first.receive([QUEUE], 10, 30.0))
    assert payloads(call.result(bench.tuning.patience))[:1] == [b"a"]
    assert call.lasted <= 1.0 + bench.tuning.slack


def test_the_timeout_is_kept(bench: TransportBench) -> None:
    """T-RECV-3: on an empty queue `receive` returns [] after `timeout` seconds, at most 100 ms later.

    Fix: measure the timeout by the monotonic clock; cut long polls of the client library to what is left.
    """
    bench.first.declare([QUEUE])
    for timeout in (0.1, 0.25):
        call = bench.call(partial(bench.first.receive, [QUEUE], 10, timeout))
        assert call.result(bench.tuning.patience) == []
        assert call.lasted >= timeout - 0.02, "receive gave up before its timeout"
        assert call.lasted <= timeout + OVERRUN + bench.tuning.slack, "receive blocked beyond its timeout"


def test_timeout_zero_only_looks(bench: TransportBench) -> None:
    """T-RECV-4: a timeout of 0.0 never blocks.

    Fix: use the non-blocking form of the read; many services take 0 for "for ever".
    """
    bench.first.declare([QUEUE])
    call = bench.call(lambda: bench.first.receive([QUEUE], 10, 0.0))
    assert call.result(bench.tuning.patience) == []
    assert call.lasted <= OVERRUN + bench.tuning.slack


def test_the_limit_is_kept(bench: TransportBench) -> None:
    """T-RECV-5: `receive` returns at most `limit` messages and leaves the rest to others.

    Fix: ask the service for no more than the limit; a message buffered in the adapter is hidden from everybody.
    """
    bench.send(*[b"%d" % number for number in range(10)])
    taken = bench.first.receive([QUEUE], 3, bench.tuning.patience)
    assert 1 <= len(taken) <= 3
    one = bench.first.receive([QUEUE], 1, bench.tuning.patience)
    assert len(one) == 1
    rest = bench.drain(10 - len(taken) - 1, by=bench.open())
    assert payloads(taken + one + rest) == [b"%d" % number for number in range(10)]


def test_a_limit_above_max_batch(bench: TransportBench) -> None:
    """T-RECV-6: a limit of `max_batch` is served.

    Fix: claim the `max_batch` that one call of the service can give.
    """
    bench.send(b"a", b"b")
    assert payloads(bench.first.receive([QUEUE], bench.f.max_batch, bench.tuning.patience))[:1] == [b"a"]


def test_earlier_queues_come_first(bench: TransportBench) -> None:
    """T-RECV-7: what an earlier queue of the list has comes before anything of a later one.

    Fix: look through the queues in the order given; do not merge them by time.
    """
    bench.send(b"b1", b"b2", queue=OTHER)
    bench.send(b"a1", b"a2")
    order = [QUEUE, OTHER]
    found = [delivery for _ in range(4) for delivery in bench.first.receive(order, 1, bench.tuning.patience)]
    assert payloads(found) == [b"a1", b"a2", b"b1", b"b2"]
    assert [delivery.queue for delivery in found] == [QUEUE, QUEUE, OTHER, OTHER]


def test_the_order_may_change_between_calls(bench: TransportBench) -> None:
    """T-RECV-8: the order of preference is that of each call.

    Fix: keep no order of queues from one call to the next.
    """
    bench.send(b"a1", b"a2")
    bench.send(b"b1", b"b2", queue=OTHER)
    wait_for = bench.tuning.patience
    found = bench.first.receive([OTHER, QUEUE], 1, wait_for) + bench.first.receive([QUEUE, OTHER], 1, wait_for)
    found += bench.first.receive([OTHER], 1, wait_for)
    assert payloads(found) == [b"b1", b"a1", b"b2"]


def test_a_first_delivery(bench: TransportBench) -> None:
    """T-RECV-9: a first delivery carries its queue and `redelivered` 0, or -1 where the service cannot tell.

    Fix: fill every field of `Delivery`; count earlier deliveries, not this one.
    """
    bench.send(b"x")
    delivery = bench.one()
    assert isinstance(delivery, Delivery)
    assert delivery.queue == QUEUE
    assert delivery.redelivered in ((0,) if bench.f.counts else (0, -1))


def test_the_list_belongs_to_the_caller(bench: TransportBench) -> None:
    """T-RECV-10: the caller may change the list that `receive` returned.

    Fix: return a fresh list; keep an own record of what is under lease if one is needed.
    """
    bench.send(b"a", b"b")
    found = bench.drain(2)
    copies = list(found)
    found.clear()
    assert bench.first.ack(copies) == []


def test_any_queue_of_the_list_wakes(bench: TransportBench) -> None:
    """T-RECV-11: a blocked `receive` returns for a message on any queue of its list.

    Fix: wait on all queues at once, not on one after the other.
    """
    bench.first.declare([QUEUE, OTHER])
    call = bench.blocked(lambda: bench.first.receive([QUEUE, OTHER], 10, 30.0))
    bench.send(b"x", queue=OTHER)
    assert payloads(call.result(bench.tuning.patience)) == [b"x"]
    assert call.lasted <= 1.5 + bench.tuning.slack


def test_other_calls_while_receive_blocks(bench: TransportBench) -> None:
    """T-RECV-12: `send`, `ack` and `release` by other threads do not wait for a blocked `receive`.

    Fix: use a second connection for the blocking read, or do not hold the lock while waiting.
    """
    bench.first.declare([QUEUE, OTHER])
    blocked = bench.blocked(lambda: bench.first.receive([QUEUE], 1, 30.0))
    helper = bench.open()
    bench.call(lambda: bench.send(b"a", b"b", queue=OTHER)).result(bench.tuning.patience)
    held = bench.drain(2, queue=OTHER, by=helper)
    assert bench.call(lambda: helper.ack(held[:1])).result(bench.tuning.patience) == []
    assert bench.call(lambda: helper.release(held[1:])).result(bench.tuning.patience) == []
    assert not blocked.ended(), "a message of another queue ended the receive"
    bench.call(lambda: bench.send(b"end")).result(bench.tuning.patience)
    received = blocked.result(bench.tuning.patience)
    again = bench.blocked(lambda: bench.first.receive([QUEUE], 1, 30.0))
    assert bench.call(lambda: bench.first.ack(received)).result(bench.tuning.patience) == []
    bench.send(b"end")
    again.result(bench.tuning.patience)


def test_a_blocked_receive_hears_other_adapters(bench: TransportBench) -> None:
    """T-RECV-13: a message sent by another adapter ends a blocked `receive`.

    Fix: let the service wake the reader; a notice inside of the sending process reaches nobody else.
    """
    second = bench.open()
    second.declare([QUEUE])
    call = bench.blocked(lambda: second.receive([QUEUE], 1, 30.0))
    bench.send(b"x")
    assert payloads(call.result(bench.tuning.patience)) == [b"x"]


def test_a_blocked_receive_hears_a_release(bench: TransportBench) -> None:
    """T-RECV-14: a released message ends the blocked `receive` of another adapter.

    Fix: give the same notice for a release as for a send.
    """
    second = bench.open()
    bench.send(b"x")
    held = [bench.one()]
    call = bench.blocked(lambda: second.receive([QUEUE], 1, 30.0))
    assert bench.first.release(held) == []
    assert payloads(call.result(bench.tuning.patience)) == [b"x"]


def test_concurrent_receivers(bench: TransportBench) -> None:
    """T-RECV-15: several receivers get each message exactly once between them.

    Fix: take and hide a message in one atomic step of the service.
    """
    count = 200
    transports = [bench.first, bench.open(), bench.open(), bench.open()]
    found: list[bytes] = []
    until = time.monotonic() + bench.tuning.patience

    def worker(transport: FullTransport) -> Callable[[], None]:
        def run() -> None:
            while len(found) < count and time.monotonic() < until:
                batch = transport.receive([QUEUE], 7, 0.05)
                found.extend(payloads(batch))
                assert transport.ack(batch) == []

        return run

    calls = [bench.call(worker(transport)) for transport in transports]
    for start in range(0, count, 20):
        bench.send(*[b"%d" % number for number in range(start, start + 20)])
    bench.all(calls)
    assert sorted(found) == sorted(b"%d" % number for number in range(count))
    bench.quiet()


def test_never_in_neither_place(bench: TransportBench) -> None:
    """T-RECV-16: a received message is hidden from everybody, and is not gone: its loss brings it back.

    Fix: move a message into its lease in one step; never delete it at receiving.
    """
    second = bench.open()
    bench.send(b"a", b"b")
    held = bench.drain(2)
    bench.quiet()
    bench.quiet(by=second)
    if bench.f.lease is None:
        bench.first.close()
    else:
        bench.lose(held)
    assert sorted(bench.settle(2, by=second)) == [b"a", b"b"]


def test_receive_may_change_threads(bench: TransportBench) -> None:
    """T-RECV-17: one thread at a time calls `receive`, not always the same one.

    Fix: tie no connection to the first thread that used it.
    """
    bench.send(b"a", b"b", b"c")
    found: list[Delivery] = []
    for _ in range(3):
        found += bench.call(lambda: bench.first.receive([QUEUE], 1, bench.tuning.patience)).result(30.0)
    assert payloads(found) == [b"a", b"b", b"c"]
    assert bench.call(lambda: bench.first.ack(found)).result(bench.tuning.patience) == []


@claims(LEASE)
def test_a_blocked_receive_sees_an_expired_lease(bench: TransportBench) -> None:
    """T-RECV-18: a lease that ends while `receive` blocks ends the `receive`.

    Fix: wait no longer than until the next lease ends, or let the service do so.
    """
    second = bench.open()
    bench.first.send([Outgoing(QUEUE, b"x")])
    held = [bench.one()]
    lease = min(bench.lease, bench.tuning.lease_for)
    assert bench.first.extend(held, lease) == []
    if bench.tuning.clock:
        # Blocked receives wait in real time, so the end of the lease is brought about before.
        bench.pass_time(lease + 0.05)
    found = bench.call(lambda: second.receive([QUEUE], 1, 30.0)).result(lease + bench.tuning.patience)
    assert payloads(found) == [b"x"]
