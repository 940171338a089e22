"""Ending a blocked receive from outside."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType

from kernel_conformance.bench import not_proven
from kernel_conformance.clause import claims
from kernel_conformance.transport.abilities import WAKE
from kernel_conformance.transport.bench import QUEUE, TransportBench


@claims(WAKE)
def test_wake_ends_a_blocked_receive(bench: TransportBench) -> None:
    """T-WAKE-1: `wake` from another thread makes a blocked `receive` return [] soon.

    Fix: let the blocking read wait on something that `wake` can signal too.
    """
    bench.first.declare([QUEUE])
    call = bench.blocked(lambda: bench.first.receive([QUEUE], 1, 30.0))
    bench.first.wake()
    assert call.result(bench.tuning.patience) == []
    assert call.lasted <= 1.0 + bench.tuning.slack


@claims(WAKE)
def test_wake_is_remembered_once(bench: TransportBench) -> None:
    """T-WAKE-2: a `wake` while nothing blocks ends the next `receive`, and only that one.

    Fix: keep a flag that `receive` clears when it returns because of it.
    """
    bench.first.declare([QUEUE])
    bench.first.wake()
    call = bench.call(lambda: bench.first.receive([QUEUE], 1, 30.0))
    assert call.result(bench.tuning.patience) == []
    after = bench.call(lambda: bench.first.receive([QUEUE], 1, 0.15))
    assert after.result(bench.tuning.patience) == []
    assert after.lasted >= 0.13, "one wake ended two receives"


@claims(WAKE)
def test_wake_in_a_signal_handler(bench: TransportBench) -> None:
    """T-WAKE-3: `wake` may be called by a signal handler that interrupts the very `receive` it ends.

    Fix: take no lock in `wake` that `receive` may hold; write to a pipe, or release a waiter's own lock.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        not_proven("signals need the main thread")

    def handler(number: int, frame: FrameType | None) -> None:
        bench.first.wake()

    bench.first.declare([QUEUE])
    before = signal.signal(signal.SIGALRM, handler)
    try:
        started_at = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        assert bench.first.receive([QUEUE], 1, bench.tuning.patience) == []
        assert time.monotonic() - started_at <= 1.0 + bench.tuning.slack
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


@claims(WAKE)
def test_wake_reaches_its_own_transport_only(bench: TransportBench) -> None:
    """T-WAKE-4: `wake` ends the `receive` of its own transport and of no other.

    Fix: keep the signal in the object, not on the service.
    """
    second = bench.open()
    second.declare([QUEUE])
    call = bench.blocked(lambda: second.receive([QUEUE], 1, 0.2))
    bench.first.wake()
    assert call.result(bench.tuning.patience) == []
    assert call.lasted >= 0.18
