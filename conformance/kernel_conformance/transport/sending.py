"""Sending: durable, complete, verbatim, in order."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from kernel.errors import PartialSend, Rejected
from kernel.ports import Outgoing
from kernel_conformance.bench import error_of
from kernel_conformance.clause import claims
from kernel_conformance.transport.abilities import MAX_PAYLOAD
from kernel_conformance.transport.bench import OTHER, QUEUE, TransportBench, payloads

#: A claimed batch limit above this is tested at this size.
LARGEST_TESTED_BATCH = 10_000


def test_sent_is_visible_to_others(bench: TransportBench) -> None:
    """T-SEND-1: when `send` has returned, another adapter receives the message.

    Fix: wait for the confirmation of the service before `send` returns; never send from a background thread.
    """
    second = bench.open()
    for number in range(20):
        bench.send(b"%d" % number)
        assert bench.settle(1, by=second) == [b"%d" % number]


def test_payloads_are_verbatim(bench: TransportBench) -> None:
    """T-SEND-2: any bytes arrive unchanged, the empty payload too.

    Fix: store bytes, not text; do not take an empty payload for none.
    """
    samples = [b"", b"\x00", b"\xff\xfe", bytes(range(256)), "größe 列".encode(), b"\r\n" * 100, b"x" * 65536]
    samples = [sample for sample in samples if not bench.f.max_payload or len(sample) <= bench.f.max_payload]
    bench.send(*samples)
    found = bench.drain(len(samples))
    assert payloads(found) == samples
    assert all(type(delivery.payload) is bytes for delivery in found)
    assert bench.first.ack(found) == []


def test_an_empty_batch_is_nothing(bench: TransportBench) -> None:
    """T-SEND-3: sending an empty batch is no error and stores nothing.

    Fix: return early.
    """
    bench.first.send([])
    bench.quiet()


def test_a_batch_of_max_batch(bench: TransportBench) -> None:
    """T-SEND-4: a batch of `max_batch` messages is stored completely and in order.

    Fix: check that the service took every message, or claim a smaller `max_batch`.
    """
    count = min(bench.f.max_batch, LARGEST_TESTED_BATCH)
    bench.send(*[b"%d" % number for number in range(count)])
    found = bench.drain(count, limit=bench.f.max_batch)
    assert payloads(found) == [b"%d" % number for number in range(count)]
    assert bench.first.ack(found) == []
    bench.quiet()


def test_a_batch_above_max_batch(bench: TransportBench) -> None:
    """T-SEND-5: one message above `max_batch`: everything is stored, or `Rejected` and nothing is; never a part.

    Fix: raise `Rejected` before sending when the batch is too long.
    """
    count = bench.f.max_batch + 1
    if count > LARGEST_TESTED_BATCH:
        count = 2
    expected = [b"%d" % number for number in range(count)]
    error = error_of(lambda: bench.send(*expected))
    if error is None:
        assert payloads(bench.drain(count, limit=bench.f.max_batch)) == expected
    else:
        assert isinstance(error, Rejected)
        assert error.sent == "no"
        bench.quiet()


@claims(MAX_PAYLOAD)
def test_a_payload_of_max_payload(bench: TransportBench) -> None:
    """T-SEND-6: a payload of `max_payload` bytes is carried.

    Fix: claim the limit of the payload itself, after taking off what the adapter adds to it.
    """
    largest = bytes(bench.f.max_payload)
    bench.send(largest)
    assert bench.settle(1) == [largest]


@claims(MAX_PAYLOAD)
def test_a_payload_above_max_payload(bench: TransportBench) -> None:
    """T-SEND-7: one byte above `max_payload` is `Rejected` and not stored.

    Fix: compare the length before sending.
    """
    bench.refused([Outgoing(QUEUE, bytes(bench.f.max_payload + 1))])
    bench.quiet()


@claims(MAX_PAYLOAD)
def test_a_partial_send_tells_the_truth(bench: TransportBench) -> None:
    """T-SEND-8: with one message of a batch refused, either `PartialSend` names exactly it, or nothing is stored.

    Fix: map the service's answer to indices of the batch; all messages that are not named must be durable.
    """
    too_large = bytes(bench.f.max_payload + 1)
    with pytest.raises((PartialSend, Rejected)) as caught:
        bench.send(b"a", too_large, b"b")
    if isinstance(caught.value, PartialSend):
        assert list(caught.value.errors) == [1]
        assert isinstance(caught.value.errors[1], Rejected)
        assert bench.settle(2) == [b"a", b"b"]
    assert caught.value.sent == "no"
    bench.quiet()


def test_first_in_first_out(bench: TransportBench) -> None:
    """T-SEND-9: messages of one sender to one queue come in the order of sending, over batches and single sends.

    Fix: order by a sequence that the service hands out at the time of storing, not by time stamps or random ids.
    """
    expected = [b"%03d" % number for number in range(60)]
    bench.send(*expected[:20])
    for payload in expected[20:40]:
        bench.send(payload)
    bench.send(*expected[40:])
    assert payloads(bench.drain(60, limit=7)) == expected


def test_the_batch_stays_the_callers(bench: TransportBench) -> None:
    """T-SEND-10: the list passed to `send` is not kept: the caller may change it afterwards.

    Fix: copy what is needed beyond the call.
    """
    batch = [Outgoing(QUEUE, b"a"), Outgoing(QUEUE, b"b")]
    bench.first.send(batch)
    assert len(batch) == 2, "the caller's list was changed"
    batch.clear()
    assert bench.settle(2) == [b"a", b"b"]


def test_a_batch_for_several_queues(bench: TransportBench) -> None:
    """T-SEND-11: one batch may go to several queues; each message comes out of its own.

    Fix: group by queue inside of the adapter.
    """
    bench.first.send([Outgoing(QUEUE, b"a"), Outgoing(OTHER, b"b"), Outgoing(QUEUE, b"c")])
    assert bench.settle(1, queue=OTHER) == [b"b"]
    assert bench.settle(2) == [b"a", b"c"]
    bench.quiet(queue=OTHER)


def test_concurrent_senders(bench: TransportBench) -> None:
    """T-SEND-12: `send` may be called by several threads at once; nothing is lost, doubled or mixed.

    Fix: protect the connection, or keep one per thread.
    """

    def sender(letter: bytes) -> Callable[[], None]:
        def run() -> None:
            for number in range(25):
                bench.send(b"%s%02d" % (letter, number))

        return run

    bench.all([bench.call(sender(letter)) for letter in (b"a", b"b", b"c", b"d")])
    found = payloads(bench.drain(100))
    assert len(set(found)) == 100
    for letter in b"abcd":
        own = [payload for payload in found if payload[0] == letter]
        assert own == sorted(own), "messages of one sender changed their order"


def test_equal_payloads_are_two_messages(bench: TransportBench) -> None:
    """T-SEND-13: equal payloads without a `dedup_key` are separate messages.

    Fix: never identify a message by its content.
    """
    bench.send(b"same", b"same")
    bench.send(b"same")
    assert bench.settle(3) == [b"same"] * 3
    bench.quiet()


def test_sends_from_many_threads_over_time(bench: TransportBench) -> None:
    """T-SEND-14: each new thread may use the transport, also after other threads have ended.

    Fix: make connections of threads that ended reusable, or close them.
    """
    for number in range(10):
        bench.call(partial(bench.send, b"%d" % number)).result(bench.tuning.patience)
    assert bench.settle(10) == [b"%d" % number for number in range(10)]
