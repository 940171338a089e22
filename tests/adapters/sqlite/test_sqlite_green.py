"""In a process that gevent has patched, a thread of the operating system blocks alone."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("gevent")

PROGRAM = """
from gevent import monkey
monkey.patch_all()
import sys, time
import gevent
from kernel.native import Signal, start_new_thread
from kernel.ports import Outgoing
from kernel_sqlite import SqliteTransport

transport = SqliteTransport.from_url(sys.argv[1])
transport.open()
got, done = [], Signal()

def receive():
    got.extend(transport.receive(["q"], 1, 10.0))
    done.set()

start_new_thread(receive, ())
ticks = 0
while ticks < 20:
    gevent.sleep(0.005)
    ticks += 1
assert not got
start = time.monotonic()
jobs = [gevent.spawn(transport.send, [Outgoing("q", b"x")]) for _ in range(5)]
gevent.joinall(jobs, raise_error=True)
assert done.wait(5.0)
assert time.monotonic() - start < 0.5
assert len(got) == 1
transport.close()
"""


def test_a_blocked_receive_does_not_stop_the_greenlets(url: str) -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", PROGRAM, url], env=env, check=True, timeout=30)
