"""Calls that their callers can stop waiting for."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from support import eventually

from kernel.errors import Unavailable
from kernel.sending import errand
from kernel.sending.errand import Errands, Overdue


@pytest.fixture
def errands() -> Iterator[Errands]:
    made = Errands()
    yield made
    made.close()


def test_what_a_call_returns_or_raises_comes_back(errands: Errands) -> None:
    assert errands.run(lambda: 7, 5.0) == 7
    with pytest.raises(ZeroDivisionError):
        errands.run(lambda: 1 // 0, 5.0)


def test_one_caller_needs_one_helper(errands: Errands) -> None:
    assert len({errands.run(threading.get_ident, 5.0) for _ in range(200)}) == 1


def test_callers_of_one_moment_have_a_helper_each(errands: Errands) -> None:
    both = threading.Barrier(2, timeout=5.0)
    other = threading.Thread(target=lambda: errands.run(both.wait, 5.0))
    other.start()
    errands.run(both.wait, 5.0)
    other.join()


def test_who_waits_too_long_leaves(errands: Errands) -> None:
    hold = threading.Event()
    began = time.monotonic()
    with pytest.raises(Overdue):
        errands.run(hold.wait, 0.05)
    assert time.monotonic() - began < 5.0
    hold.set()


def test_too_many_that_were_left_are_a_reason_to_begin_no_more(errands: Errands) -> None:
    hold, calls = threading.Event(), []
    for _ in range(errand.MOST_LEFT):
        with pytest.raises(Overdue):
            errands.run(hold.wait, 0.0)
    with pytest.raises(Unavailable, match="32 earlier calls still wait") as caught:
        errands.run(lambda: calls.append(1), 1.0)
    assert (caught.value.sent, calls) == ("no", [])
    hold.set()
    eventually(lambda: errands._left == 0)
    assert errands.run(lambda: 7, 5.0) == 7


def test_a_caller_that_is_interrupted_has_left() -> None:
    program = """
import signal, threading
from kernel.sending.errand import Errands

class Stop(Exception): pass
def stop(*_): raise Stop
signal.signal(signal.SIGALRM, stop)
signal.setitimer(signal.ITIMER_REAL, 0.1)
errands, hold = Errands(), threading.Event()
try:
    errands.run(hold.wait, 30.0)
except Stop:
    assert errands._left == 1
    print("left")
"""
    assert (
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20).stdout == "left\n"
    )


@pytest.mark.usefixtures("no_new_threads")
def test_helpers_end_when_there_is_nothing_to_do() -> None:
    errands = Errands()
    assert errands.run(lambda: 7, 5.0) == 7
    errands.close()


GREEN = """
import {library}
{patch}
import threading, time
from kernel.sending.errand import Errands, Overdue

errands, turns, going = Errands(), [], True
def other():
    while going:
        turns.append(1)
        time.sleep(0.01)
thread = threading.Thread(target=other)
thread.start()
assert errands.run(lambda: 7, 5.0) == 7
try:
    errands.run(lambda: time.sleep(30), 0.3)
except Overdue:
    print("left", len(turns) > 5)
going = False
"""


@pytest.mark.parametrize(
    ("library", "patch"),
    [("gevent.monkey", "gevent.monkey.patch_all()"), ("eventlet", "eventlet.monkey_patch()")],
)
def test_other_greenlets_go_on(library: str, patch: str) -> None:
    pytest.importorskip(library.partition(".")[0])
    program = GREEN.format(library=library, patch=patch)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=40)
    assert done.stdout == "left True\n", done.stderr
