"""Opening, closing and declaring."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from math import isinf
from pathlib import Path
from typing import get_args

import pytest

from kernel.errors import PartialSend, Rejected, Unavailable
from kernel.native import sleep
from kernel.ports import Features, Outgoing, Survives
from kernel_conformance.bench import error_of, not_proven
from kernel_conformance.transport.bench import OTHER, QUEUE, FullTransport, TransportBench, payloads

#: `close` may take "a few seconds".
CLOSE_FOR = 5.0


def test_open_is_idempotent(bench: TransportBench) -> None:
    """T-OPEN-1: a second `open` of an open transport changes nothing.

    Fix: return at once from `open` when the connection is there; do not connect twice.
    """
    bench.send(b"before")
    held = bench.one()
    bench.first.open()
    assert bench.first.ack([held]) == [], "the second open ended a lease"


def test_features_are_final(bench: TransportBench) -> None:
    """T-OPEN-2: `features` are valid, and the same for every opened adapter and at any time.

    Fix: build one frozen `Features` value in `open` and return it from the property for ever.
    """
    f = bench.f
    assert isinstance(f, Features)
    assert f.lease is None or f.lease > 0
    assert f.lease is None or f.lease_total >= f.lease
    assert f.survives in get_args(Survives)
    assert f.max_batch >= 1
    assert 0 <= f.priorities <= 10
    assert min(f.delay, f.dedup, f.max_payload) >= 0
    bench.send(b"use")
    bench.settle(1)
    assert bench.first.features == f == bench.open().features


def test_namespaces_share_and_separate(bench: TransportBench) -> None:
    """T-OPEN-3: two adapters of one namespace see the same messages.

    Fix: derive every name on the service from the namespace that `make` is given, and from nothing else.
    """
    second = bench.open()
    second.send([Outgoing(QUEUE, b"from the second")])
    assert bench.settle(1) == [b"from the second"]


def test_limits_are_finite_where_they_are_used(bench: TransportBench) -> None:
    """T-OPEN-4: batch and payload limits are whole numbers that the kernel can cut a batch by.

    Fix: give `max_batch` a real limit; 0 in `max_payload` says that there is none.
    """
    assert isinstance(bench.f.max_batch, int)
    assert isinstance(bench.f.max_payload, int)
    assert isinstance(bench.f.priorities, int)
    assert bench.f.lease is None or not isinf(bench.f.lease), "a lease that never ends blocks a message for ever"


def test_close_is_idempotent(bench: TransportBench) -> None:
    """T-CLOSE-1: a second `close` is no error.

    Fix: remember that everything was let go of and return.
    """
    bench.first.close()
    bench.first.close()


def test_a_closed_transport_is_unavailable(bench: TransportBench) -> None:
    """T-CLOSE-2: after `close` every method raises `Unavailable`.

    Fix: check for the closed state first and raise `Unavailable`, not an error of the client library.
    """
    bench.send(b"x")
    held = bench.one()
    bench.first.close()
    message = Outgoing(QUEUE, b"y")
    calls: dict[str, Callable[[], object]] = {
        "declare": lambda: bench.first.declare([QUEUE]),
        "send": lambda: bench.first.send([message]),
        "receive": lambda: bench.first.receive([QUEUE], 1, 0.0),
        "ack": lambda: bench.first.ack([held]),
        "release": lambda: bench.first.release([held]),
    }
    if bench.f.lease is not None:
        calls["extend"] = lambda: bench.first.extend([held], 1.0)
    if bench.f.commit:
        calls["commit"] = lambda: bench.first.commit([(held, [message])])
    if bench.f.inspect:
        calls["sizes"] = lambda: bench.first.sizes([QUEUE])
    if bench.f.peek:
        calls["peek"] = lambda: bench.first.peek(QUEUE, 1)
    if bench.f.lists:
        calls["queues"] = bench.first.queues
    if bench.f.broadcast:
        calls["publish"] = lambda: bench.first.publish("channel", b"x")
    for name, call in calls.items():
        with pytest.raises(Unavailable):
            pytest.fail(f"{name} returned {call()!r} after close")


def test_a_closed_transport_stays_closed(bench: TransportBench) -> None:
    """T-CLOSE-7: `open` after `close` is `Unavailable`: a new connection is a new adapter.

    Fix: remember that the transport was closed.
    """
    bench.first.close()
    with pytest.raises(Unavailable):
        bench.first.open()


def test_close_ends_a_blocked_receive(bench: TransportBench) -> None:
    """T-CLOSE-3: `close` ends a `receive` that blocks, with `Unavailable`, within a few seconds.

    Fix: wake the blocked thread from `close` and let it find the closed state.
    """
    bench.first.declare([QUEUE])
    call = bench.blocked(lambda: bench.first.receive([QUEUE], 1, 60.0))
    bench.call(bench.first.close).result(min(CLOSE_FOR, bench.tuning.patience))
    with pytest.raises(Unavailable):
        pytest.fail(f"the blocked receive returned {call.result(min(CLOSE_FOR, bench.tuning.patience))!r}")


def test_close_gives_back_what_is_held(bench: TransportBench) -> None:
    """T-CLOSE-4: messages that were not settled before `close` come to another adapter, at the latest after the lease.

    Fix: release what is held in `close` where that is possible; never acknowledge it.
    """
    second = bench.open()
    bench.send(b"a", b"b", b"c")
    held = bench.drain(3)
    assert bench.first.ack(held[:1]) == []
    lasts_for = bench.shorten(held[1:])
    bench.call(bench.first.close).result(min(CLOSE_FOR, bench.tuning.patience))
    if bench.tuning.clock:
        bench.pass_time(lasts_for + 0.05)
    assert sorted(bench.settle(2, by=second)) == [b"b", b"c"]
    bench.quiet(by=second)


def test_messages_outlive_the_connection(bench: TransportBench) -> None:
    """T-CLOSE-5: what was sent before `close` is there for an adapter opened afterwards.

    Fix: do not tie queues or messages to the connection that made them (exclusive or auto-deleted queues).
    """
    bench.send(b"a", b"b")
    bench.first.close()
    assert bench.settle(2, by=bench.open()) == [b"a", b"b"]


def test_close_leaves_nothing_behind(bench: TransportBench) -> None:
    """T-CLOSE-6: after `close` no thread, socket or file of the adapter is left.

    Fix: stop and join every thread, close every connection, also those made lazily by other threads.
    """
    counters = [folder for folder in (Path("/proc/self/fd"), Path("/proc/self/task")) if folder.is_dir()]
    if not counters:
        not_proven("counting files and threads needs /proc")

    def cycle() -> None:
        transport = bench.open()
        transport.send([Outgoing(QUEUE, b"x")])
        found = bench.drain(1, by=transport)
        bench.call(lambda: transport.ack(found)).result(bench.tuning.patience)
        transport.close()

    def count() -> list[int]:
        return [len(list(folder.iterdir())) for folder in counters]

    cycle()
    before = count()
    for _ in range(8):
        cycle()
    for _ in range(40):
        # Three of slack for eight cycles: the test's own threads end a moment after their result is there.
        if all(now <= then + 3 for now, then in zip(count(), before, strict=True)):
            break
        sleep(0.05)
    else:
        pytest.fail(f"files and threads grew from {before} to {count()}: {threading.enumerate()}")


def test_declare_is_idempotent(bench: TransportBench) -> None:
    """T-DECLARE-1: declaring again is no error and touches no message; declaring nothing is allowed.

    Fix: create only what is missing.
    """
    bench.first.declare([])
    bench.first.declare([QUEUE, OTHER])
    bench.send(b"kept")
    bench.first.declare([QUEUE])
    bench.open().declare([OTHER, QUEUE, QUEUE])
    assert bench.settle(1) == [b"kept"]


def test_declare_races(bench: TransportBench) -> None:
    """T-DECLARE-2: workers that declare the same queues at the same moment all succeed.

    Fix: use the service's create-if-missing, or take "exists already" for success.
    """
    names = [f"race{number}" for number in range(5)]
    transports = [bench.first, bench.open(), bench.open()]

    def declare(transport: FullTransport) -> Callable[[], None]:
        return lambda: transport.declare(names)

    bench.all([bench.call(declare(transport)) for transport in transports * 2])
    for name in names:
        bench.send(name.encode(), queue=name)
        assert bench.settle(1, queue=name) == [name.encode()]


def test_undeclared_queues(bench: TransportBench) -> None:
    """T-DECLARE-3: using an undeclared queue declares it, or is `Rejected`; it never loses the message silently.

    Fix: declare on first use, or raise `Rejected` with the name of the queue.
    """
    error = error_of(lambda: bench.send(b"x", queue="undeclared"))
    if error is None:
        assert bench.settle(1, queue="undeclared") == [b"x"]
    else:
        assert isinstance(error, Rejected)
        assert error.sent == "no"
    error = error_of(lambda: bench.first.receive(["never-seen"], 1, 0.0))
    assert error is None or isinstance(error, Rejected)


def test_names_that_the_kernel_makes(bench: TransportBench) -> None:
    """T-DECLARE-4: queue names with letters, digits, dots, hyphens and underscores work and are told apart.

    Fix: encode what the service does not allow in a name, one to one.
    """
    names = ["emails", "emails.dead", "emails.p9", "emails-dead", "emails_dead", "Emails", "q" * 60]
    bench.first.declare(names)
    bench.first.send([Outgoing(name, name.encode()) for name in names])
    for name in names:
        delivery = bench.one(queue=name)
        assert (delivery.queue, delivery.payload) == (name, name.encode())
        assert bench.first.ack([delivery]) == []


def test_odd_names(bench: TransportBench) -> None:
    """T-DECLARE-5: any other name works and is told apart, or is `Rejected`; never mixed up.

    Fix: escape the name, or check it in `declare`, `send` and `receive` and raise `Rejected`.
    """
    for name in ["größe", "列", "with space", "a/b", "a:b", "a*b", "%41", "semi;colon", "it's", 'quo"te', "{brace}"]:
        error = error_of(partial(bench.first.declare, [name])) or error_of(
            partial(bench.send, name.encode(), queue=name)
        )
        if error is not None:
            assert isinstance(error, (Rejected, PartialSend)), f"{name!r} must work or be Rejected"
            continue
        found = bench.drain(1, queue=name)
        assert [(found[0].queue, found[0].payload)] == [(name, name.encode())]
        assert bench.first.ack(found) == []
        assert payloads(bench.first.receive([name], 1, 0.0)) == []
