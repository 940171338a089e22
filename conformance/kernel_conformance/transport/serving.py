"""The end of the service: what survives it, and how an adapter behaves meanwhile. All of it needs `service`."""

from __future__ import annotations

import time
from math import inf

import pytest

from kernel.errors import Unavailable
from kernel.native import sleep
from kernel.ports import Outgoing
from kernel_conformance.bench import error_of, not_proven
from kernel_conformance.service import Freezes
from kernel_conformance.transport.bench import QUEUE, TransportBench


def _again(bench: TransportBench) -> None:
    """Wait until the first adapter works again without being opened anew: the kernel's loop does just that."""
    until = time.monotonic() + bench.tuning.patience
    while True:
        try:
            bench.first.receive(["again"], 1, 0.0)
            return
        except Unavailable:
            if time.monotonic() > until:
                raise
            sleep(0.05)


def test_a_stopped_service_is_unavailable(bench: TransportBench) -> None:
    """T-SERVICE-1: while the service is away, calls raise `Unavailable` and `open` does too.

    Fix: translate connection errors of the client library; never retry or wait for the service inside of a call.
    """
    bench.service.stop()
    try:
        with pytest.raises(Unavailable):
            bench.call(lambda: bench.first.send([Outgoing(QUEUE, b"x")])).result(bench.tuning.patience)
        with pytest.raises(Unavailable):
            bench.call(lambda: bench.first.receive([QUEUE], 1, 0.1)).result(bench.tuning.patience)
        other = bench.make()
        with pytest.raises(Unavailable):
            bench.call(other.open).result(bench.tuning.patience)
    finally:
        bench.service.start()


def test_an_adapter_recovers(bench: TransportBench) -> None:
    """T-SERVICE-2: when the service is back, the same adapter works again without a new `open`.

    Fix: connect lazily at the next call after a lost connection.
    """
    bench.send(b"before")
    bench.service.restart()
    _again(bench)
    bench.send(b"after", queue="fresh")
    assert bench.settle(1, queue="fresh") == [b"after"]


def test_a_restart_keeps_messages(bench: TransportBench) -> None:
    """T-SERVICE-3: with `survives` "service" or "power", an orderly restart keeps every stored message.

    Fix: store messages and queues durably, or claim "process".
    """
    bench.send(b"a", b"b")
    bench.service.restart()
    _again(bench)
    if bench.f.survives == "process":
        bench.declined = "survives"
        return
    assert sorted(bench.settle(2)) == [b"a", b"b"]


def test_a_kill_keeps_messages(bench: TransportBench) -> None:
    """T-SERVICE-4: with `survives` "service" or "power", a kill of the service loses no message that `send` stored.

    Fix: ask the service to flush before it confirms, or claim "process".
    """
    for number in range(20):
        bench.send(b"%d" % number)
    bench.service.kill()
    bench.service.start()
    _again(bench)
    if bench.f.survives == "process":
        bench.declined = "survives"
        return
    assert len(set(bench.settle(20))) == 20


def test_a_kill_keeps_leased_messages(bench: TransportBench) -> None:
    """T-SERVICE-5: messages under lease at a kill come again, and settled ones stay settled, as `survives` says.

    Fix: store leases and acknowledgements as durably as messages.
    """
    bench.send(b"acked", b"held")
    acked, held = bench.drain(2)
    assert bench.first.ack([acked]) == []
    lasts_for = bench.shorten([held])
    bench.service.kill()
    bench.service.start()
    _again(bench)
    if bench.f.survives == "process":
        bench.declined = "survives"
        return
    bench.pass_time(lasts_for + 0.05)
    assert bench.settle(1) == [b"held"]
    bench.quiet()
    bench.first.ack([held])


def test_a_blocked_receive_notices_the_end(bench: TransportBench) -> None:
    """T-SERVICE-6: a `receive` that blocks when the service dies ends, with `Unavailable` or at its timeout.

    Fix: let the blocking read fail with its connection.
    """
    bench.first.declare([QUEUE])
    call = bench.blocked(lambda: bench.first.receive([QUEUE], 1, 2.0))
    bench.service.kill()
    try:
        error = error_of(lambda: call.result(2.0 + bench.tuning.patience))
        assert error is None or isinstance(error, Unavailable)
    finally:
        bench.service.start()


def test_a_send_to_a_frozen_service_ends_in_time(bench: TransportBench) -> None:
    """T-SERVICE-7: while the service answers nothing, a `send` raises `Unavailable` within `answers_within` seconds.

    Fix: give the whole call one deadline, or do not claim a number.
    """
    service = bench.service
    lasts = bench.f.answers_within
    if lasts == inf:
        not_proven("no limit is claimed")
    if not isinstance(service, Freezes):
        not_proven("needs a service that can be frozen")
    bench.send(b"before")
    service.pause()
    try:
        began = time.monotonic()
        call = bench.call(lambda: bench.first.send([Outgoing(QUEUE, b"x")]))
        error = error_of(lambda: call.result(lasts + bench.tuning.patience))
        # Half a second for a busy machine to notice.
        assert time.monotonic() - began < lasts + 0.5
        assert isinstance(error, Unavailable)
    finally:
        service.resume()
    _again(bench)
