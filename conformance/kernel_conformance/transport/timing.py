"""Delays, expiry and deduplication."""

from __future__ import annotations

import time

import pytest

from kernel.errors import PartialSend, Rejected
from kernel.ports import Outgoing
from kernel_conformance.bench import not_proven
from kernel_conformance.clause import claims
from kernel_conformance.transport.abilities import DEDUP, DELAY, DELAY_LIMIT, EXPIRY
from kernel_conformance.transport.bench import OTHER, QUEUE, TransportBench, payloads


@claims(DELAY)
def test_never_early(bench: TransportBench) -> None:
    """T-DELAY-1: a delayed message is not delivered before `not_before`.

    Fix: round the time up to the resolution of the service, never down.
    """
    delay = bench.short_delay()
    due_at = bench.now() + delay
    bench.send(b"later", not_before=due_at)
    if bench.tuning.clock:
        for _ in range(9):
            bench.quiet()
            bench.pass_time(delay / 10)
        bench.quiet()
        return
    while bench.now() < due_at:
        found = bench.first.receive([QUEUE], 1, 0.02)
        assert not found or bench.now() >= due_at, f"delivered {due_at - bench.now():.3f} s early"


@claims(DELAY)
def test_hardly_late(bench: TransportBench) -> None:
    """T-DELAY-2: a delayed message is delivered soon after `not_before`, also to a `receive` that blocks.

    Fix: wait no longer than until the next delayed message is due, or let the service do so.
    """
    delay = bench.short_delay()
    due_at = bench.now() + delay
    bench.send(b"later", not_before=due_at)
    if bench.tuning.clock:
        bench.pass_time(delay)
    call = bench.call(lambda: bench.first.receive([QUEUE], 1, 30.0))
    assert payloads(call.result(delay + bench.tuning.patience)) == [b"later"]
    assert bench.now() - due_at <= 1.0 + bench.tuning.slack


@claims(DELAY)
def test_delayed_messages_outlive_the_connection(bench: TransportBench) -> None:
    """T-DELAY-3: a delayed message is as durable as any other.

    Fix: store delayed messages on the service, never in a timer of the process.
    """
    delay = bench.short_delay()
    bench.send(b"later", not_before=bench.now() + delay)
    bench.first.close()
    second = bench.open()
    bench.pass_time(delay + 0.05)
    assert bench.settle(1, by=second) == [b"later"]


@claims(DELAY)
def test_delayed_messages_come_by_due_time(bench: TransportBench) -> None:
    """T-DELAY-4: delayed messages come in the order of their `not_before`, not of sending, and block no others.

    Fix: keep them ordered by time, apart from what is ready.
    """
    delay = bench.short_delay()
    start = bench.now()
    bench.first.send(
        [
            Outgoing(QUEUE, b"third", not_before=start + delay),
            Outgoing(QUEUE, b"second", not_before=start + delay / 2),
            Outgoing(QUEUE, b"first"),
        ]
    )
    assert bench.settle(1) == [b"first"]
    bench.pass_time(delay / 2)
    assert bench.settle(1) == [b"second"]
    bench.pass_time(delay / 2)
    assert bench.settle(1) == [b"third"]


@claims(DELAY)
def test_the_longest_delay(bench: TransportBench) -> None:
    """T-DELAY-5: a delay of `Features.delay` is accepted.

    Fix: claim the longest delay that the service takes, with a little less where clocks may differ.
    """
    bench.send(b"far", not_before=bench.now() + bench.delay_limit() - 1.0)
    bench.quiet()


@claims(DELAY_LIMIT)
def test_beyond_the_longest_delay(bench: TransportBench) -> None:
    """T-DELAY-6: a delay beyond `Features.delay` is `Rejected`, and nothing is stored.

    Fix: compare `not_before` with now plus `Features.delay` before sending; never cut it silently.
    """
    bench.refused([Outgoing(QUEUE, b"too far", not_before=bench.now() + bench.f.delay + 30.0)])
    bench.quiet()


@claims(DELAY_LIMIT)
def test_a_batch_with_one_delay_too_long(bench: TransportBench) -> None:
    """T-DELAY-7: with one delay of a batch refused, either `PartialSend` names exactly it, or nothing is stored.

    Fix: check the whole batch before sending the first message.
    """
    too_far = Outgoing(QUEUE, b"too far", not_before=bench.now() + bench.f.delay + 30.0)
    with pytest.raises((PartialSend, Rejected)) as caught:
        bench.first.send([Outgoing(QUEUE, b"a"), too_far])
    if isinstance(caught.value, PartialSend):
        assert list(caught.value.errors) == [1]
        assert bench.settle(1) == [b"a"]
    bench.quiet()


def test_a_time_in_the_past_is_now(bench: TransportBench) -> None:
    """T-DELAY-8: a `not_before` in the past is no delay, with or without the ability.

    Fix: take a time that has passed for "at once".
    """
    bench.send(b"x", not_before=bench.now() - 100.0)
    assert bench.settle(1) == [b"x"]


@claims(DELAY)
def test_delayed_messages_are_leased_like_others(bench: TransportBench) -> None:
    """T-DELAY-9: a delayed message is delivered once and settled like any other.

    Fix: move it from the delayed to the ready ones in one atomic step.
    """
    delay = bench.short_delay()
    bench.send(b"a", b"b", not_before=bench.now() + delay)
    second = bench.open()
    bench.pass_time(delay + 0.05)
    held = bench.drain(2)
    bench.quiet(by=second)
    assert bench.first.release(held[:1]) == []
    assert bench.first.ack(held[1:]) == []
    assert bench.settle(1, by=second) == [held[0].payload]
    bench.quiet()


def test_no_delay_means_at_once(bench: TransportBench) -> None:
    """T-DELAY-10: a message without `not_before` can be received immediately.

    Fix: do not defer a send to a timer or a flush.
    """
    bench.send(b"x")
    started_at = time.monotonic()
    bench.one()
    assert time.monotonic() - started_at <= 1.0 + bench.tuning.slack


@claims(EXPIRY)
def test_expired_messages_are_not_delivered(bench: TransportBench) -> None:
    """T-EXP-1: a message is never delivered at or after its `expires_at`.

    Fix: check the expiry in the step that delivers.
    """
    bench.send(b"expired", expires_at=bench.now() - 1.0)
    bench.send(b"expires", expires_at=bench.now() + 0.3)
    bench.send(b"fresh")
    bench.pass_time(0.4)
    assert bench.settle(1) == [b"fresh"]
    bench.quiet()


@claims(EXPIRY)
def test_messages_that_have_not_expired(bench: TransportBench) -> None:
    """T-EXP-2: before `expires_at` a message is delivered, settled and released like any other.

    Fix: compare the right way round, in the same unit.
    """
    bench.send(b"fresh", expires_at=bench.now() + 3600.0)
    assert bench.first.release([bench.one()]) == []
    assert bench.settle(1) == [b"fresh"]


@claims(DEDUP)
def test_equal_keys_are_one_message(bench: TransportBench) -> None:
    """T-DEDUP-1: messages of equal `dedup_key` within `Features.dedup` seconds are stored once, by any adapter.

    Fix: keep the keys on the service and check them in the step that stores.
    """
    bench.send(b"first", dedup_key="k")
    bench.send(b"again", dedup_key="k")
    bench.open().send([Outgoing(QUEUE, b"elsewhere", dedup_key="k"), Outgoing(QUEUE, b"other", dedup_key="k2")])
    assert bench.settle(2) == [b"first", b"other"]
    bench.quiet()


@claims(DEDUP)
def test_equal_keys_in_one_batch(bench: TransportBench) -> None:
    """T-DEDUP-2: the rule holds inside of one batch; messages without a key are never dropped.

    Fix: check each message after those before it; take "" for no key.
    """
    bench.send(b"first", b"again", dedup_key="k")
    bench.send(b"a", b"b")
    assert bench.settle(3) == [b"first", b"a", b"b"]
    bench.quiet()


@claims(DEDUP)
def test_keys_belong_to_their_queue(bench: TransportBench) -> None:
    """T-DEDUP-5: equal keys in different queues are different messages.

    Fix: make the name of the queue part of the stored key.
    """
    bench.first.send([Outgoing(QUEUE, b"here", dedup_key="k"), Outgoing(OTHER, b"there", dedup_key="k")])
    assert bench.settle(1) == [b"here"]
    assert bench.settle(1, queue=OTHER) == [b"there"]


@claims(DEDUP)
def test_the_window_is_kept_after_ack(bench: TransportBench) -> None:
    """T-DEDUP-3: a key is remembered for its window although its message is settled.

    Fix: store keys apart from messages.
    """
    bench.send(b"first", dedup_key="k")
    assert bench.settle(1) == [b"first"]
    bench.send(b"again", dedup_key="k")
    bench.quiet()


@claims(DEDUP)
def test_the_window_ends(bench: TransportBench) -> None:
    """T-DEDUP-4: after the window an equal key is a new message.

    Fix: expire the keys; claim the length of the window as it is.
    """
    if not bench.tuning.clock and bench.f.dedup > bench.tuning.patience:
        not_proven(f"the window of {bench.f.dedup} s is too long to wait for")
    bench.send(b"first", dedup_key="k")
    bench.pass_time(bench.f.dedup + 0.1)
    bench.send(b"again", dedup_key="k")
    assert bench.settle(2) == [b"first", b"again"]
