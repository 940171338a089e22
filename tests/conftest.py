"""Fixtures that every kind of test may use, and the two Hypothesis profiles."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from support import eventually

from kernel.clock import FakeClock
from kernel.declaring import shared

# CI runs the same examples every time, so that a red build is red for everybody; at a desk they vary.
settings.register_profile(
    "ci", derandomize=True, max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("desk", max_examples=100, deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "desk")

# Under nohup what is started here would ignore it as well, and no worker would be replaced by a hang-up.
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def clock() -> FakeClock:
    """A clock that moves only when told to."""
    return FakeClock()


@pytest.fixture
def free_port() -> int:
    """A TCP port of the loopback interface that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def no_new_threads() -> Iterator[None]:
    """Fail the test when a thread that it started is still there two seconds after it.

    Counts threads of the operating system too (kernel's own are not known to `threading`).
    """
    before = _threads()
    yield
    eventually(lambda: _threads() <= before, timeout=2.0, what="the threads of this test end")


def _threads() -> int:
    try:
        return len(os.listdir("/proc/self/task"))
    except FileNotFoundError:
        return threading.active_count()


@pytest.fixture(autouse=True)
def shared_tasks_of_its_own() -> Iterator[None]:
    """What a test declares with `shared_task` ends with it: every application in the process would have it."""
    before = dict(shared)
    yield
    shared.clear()
    shared.update(before)
