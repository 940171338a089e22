"""Native threads and flags: no lost wake-up, safe in signal handlers, native also under a monkey-patch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from math import inf
from pathlib import Path
from textwrap import dedent

import pytest

from kernel import native
from kernel.native import Signal, SimpleQueue, Thread, allocate_lock, get_ident, monotonic, sleep

ROOT = Path(__file__).parents[2]


def started(target: Callable[[], None]) -> Thread:
    """A thread that must not raise."""
    raised: list[BaseException] = []
    thread = Thread(target, "test", raised.append)
    thread.start()
    return thread


# -- Signal ------------------------------------------------------------------------------------------------


def test_a_flag_goes_up_and_down() -> None:
    flag = Signal()
    assert not flag.is_set()
    flag.set()
    flag.set()
    assert flag.is_set()
    flag.clear()
    flag.clear()
    assert not flag.is_set()
    assert not flag.wait(0.0)


def test_waiting_for_a_flag_that_is_up_returns_every_time() -> None:
    flag = Signal()
    flag.set()
    assert all(flag.wait(timeout) for timeout in (0.0, 10.0, inf, 1e300))


def test_waiting_in_vain_takes_the_time_asked_for() -> None:
    flag = Signal()
    began = monotonic()
    assert not flag.wait(0.02)
    assert 0.02 <= monotonic() - began < 2.0


def test_a_flag_that_went_up_and_down_again_does_not_cut_a_wait_short() -> None:
    flag = Signal()
    flag.set()
    flag.clear()
    flag._lock.release()  # as `set` leaves it when `clear` ran between its two steps
    began = monotonic()
    assert not flag.wait(0.02)
    assert monotonic() - began >= 0.02


@pytest.mark.parametrize("timeout", [10.0, inf])
def test_a_waiter_is_woken_by_another_thread(timeout: float) -> None:
    flag, answer = Signal(), SimpleQueue()
    thread = started(lambda: answer.put(flag.wait(timeout)))
    flag.set()
    assert answer.get(timeout=10.0) is True
    assert thread.join(10.0)


def test_every_waiter_is_woken() -> None:
    flag, answers = Signal(), SimpleQueue()
    threads = [started(lambda: answers.put(flag.wait(10.0))) for _ in range(8)]
    flag.set()
    assert [answers.get(timeout=10.0) for _ in threads] == [True] * 8
    assert all(thread.join(10.0) for thread in threads)


def test_no_wake_up_is_lost_between_threads_that_hand_a_turn_back_and_forth() -> None:
    ping, pong = Signal(), Signal()

    def answer() -> None:
        for _ in range(2_000):
            assert ping.wait(10.0)
            ping.clear()
            pong.set()

    thread = started(answer)
    for _ in range(2_000):
        ping.set()
        assert pong.wait(10.0)
        pong.clear()
    assert thread.join(10.0)


class Interrupted:
    """A lock in whose `acquire` a signal handler sets the flag, at the worst moment: before or after taking it."""

    def __init__(self, flag: Signal, *, before: bool) -> None:
        self.lock, self.flag, self.before = flag._lock, flag, before

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if self.before:
            self.flag.set()
        taken = self.lock.acquire(blocking, timeout)
        if not self.before:
            self.flag.set()
        return taken

    def release(self) -> None:
        self.lock.release()


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_a_set_in_the_middle_of_a_clear_reaches_a_waiter_that_already_waits(before: bool) -> None:
    flag = Signal()
    lock = flag._lock
    flag._lock = Interrupted(flag, before=before)  # type: ignore[assignment]
    flag.clear()
    assert flag.is_set()
    assert lock.acquire(timeout=0), "a waiter that is blocked would stay so"


def test_a_handler_ends_the_wait_of_the_thread_that_it_interrupts() -> None:
    flag = Signal()
    previous = signal.signal(signal.SIGUSR1, lambda *_: flag.set())
    try:
        killer = started(lambda: os.kill(os.getpid(), signal.SIGUSR1))
        assert flag.wait(10.0)
        assert killer.join(10.0)
    finally:
        signal.signal(signal.SIGUSR1, previous)


def test_a_handler_may_interrupt_every_method() -> None:
    flag, stopped = Signal(), Signal()
    handled = 0

    def handler(*_: object) -> None:
        nonlocal handled
        handled += 1
        flag.set()

    def storm() -> None:
        while not stopped.wait(0.0002):
            os.kill(os.getpid(), signal.SIGUSR1)

    previous = signal.signal(signal.SIGUSR1, handler)
    thread = started(storm)
    try:
        while handled < 300:
            flag.set()
            flag.clear()
            assert flag.wait(10.0), "a wake-up was lost"
    finally:
        stopped.set()
        assert thread.join(10.0)
        signal.signal(signal.SIGUSR1, previous)


# -- Thread ------------------------------------------------------------------------------------------------


def test_a_thread_runs_and_is_joined(no_new_threads: None) -> None:
    seen = SimpleQueue()
    thread = started(lambda: seen.put(get_ident()))
    assert thread.join(10.0)
    assert thread.join(0.0)
    assert seen.get(timeout=1.0) == thread.ident != get_ident()


def test_a_thread_knows_its_own_ident_from_the_start() -> None:
    seen = SimpleQueue()
    threads: list[Thread] = []
    for _ in range(50):
        threads.append(Thread(lambda: seen.put(threads[-1].ident == get_ident()), "test", lambda error: None))
        threads[-1].start()
        assert seen.get(timeout=10.0)
        assert threads[-1].join(10.0)


def test_a_join_is_bounded() -> None:
    gate = Signal()
    thread = started(lambda: gate.wait(10.0) and None)
    assert not thread.join(0.01)
    gate.set()
    assert thread.join(10.0)


def test_a_thread_that_was_not_started_has_not_ended() -> None:
    assert not Thread(lambda: None, "test", lambda error: None).join(0.0)


@pytest.mark.parametrize(
    "error", [ValueError("no"), SystemExit(3), KeyboardInterrupt()], ids=lambda e: type(e).__name__
)
def test_what_a_thread_raises_is_handed_over_before_the_join_returns(error: BaseException) -> None:
    raised: list[BaseException] = []

    def fail() -> None:
        raise error

    thread = Thread(fail, "test", raised.append)
    thread.start()
    assert thread.join(10.0)
    assert raised == [error]


def test_what_a_thread_raises_is_logged_where_nobody_takes_it(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise LookupError("gone")

    thread = Thread(fail, "sweeper")
    thread.start()
    assert thread.join(10.0)
    (record,) = caplog.records
    assert (record.levelname, "sweeper" in record.getMessage()) == ("CRITICAL", True)
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], LookupError)


def test_a_thread_starts_once() -> None:
    thread = started(lambda: None)
    with pytest.raises(RuntimeError, match="before"):
        thread.start()
    assert thread.join(10.0)


def test_a_lock_is_one_of_the_system() -> None:
    lock = allocate_lock()
    assert lock.acquire()
    assert not lock.acquire(timeout=0.001)
    lock.release()


# -- under a monkey-patch ----------------------------------------------------------------------------------

CHECK = """
    assert Thread.__module__ == "kernel.native"
    native = [allocate_lock, start_new_thread, get_ident, sleep]
    assert all(type(one).__name__ == "builtin_function_or_method" for one in native), native
    assert SimpleQueue.__module__ == "_queue", SimpleQueue

    # The thread must work while this one computes and never yields to a hub.
    ready, done = Signal(), Signal()
    thread = Thread(lambda: (ready.wait(10.0), done.set()), "test", lambda error: None)
    thread.start()
    assert thread.ident != get_ident()
    ready.set()
    until = monotonic() + 10.0
    while not done.is_set():
        assert monotonic() < until, "the thread is a greenlet"
    assert thread.join(10.0)
    print("native")
"""
NAMES = "Signal, SimpleQueue, Thread, allocate_lock, get_ident, monotonic, sleep, start_new_thread"
PATCHES = {
    "gevent": "from gevent import monkey; monkey.patch_all()",
    "eventlet": "import eventlet; eventlet.monkey_patch()",
}


@pytest.mark.parametrize("first", ["patch", "kernel"])
@pytest.mark.parametrize("library", ["gevent", "eventlet"])
def test_it_stays_native(library: str, first: str) -> None:
    pytest.importorskip(library, exc_type=ImportError)
    lines = [PATCHES[library], f"from kernel.native import {NAMES}"]
    script = "\n".join(lines if first == "patch" else reversed(lines)) + dedent(CHECK)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("native\n", "")


def test_a_thread_runs_when_it_has_been_started(monkeypatch: pytest.MonkeyPatch) -> None:
    started_at_once = native.start_new_thread

    def late(function: Callable[..., None], args: tuple[object, ...]) -> int:
        return started_at_once(lambda: (sleep(0.1), function(*args)), ())

    monkeypatch.setattr(native, "start_new_thread", late)
    thread = Thread(lambda: None, "test", lambda error: None)
    began = monotonic()
    thread.start()
    assert monotonic() - began >= 0.1
    assert thread.join(5.0)
