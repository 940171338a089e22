"""In a process that gevent has patched, a blocked receive on a native thread stops no greenlet."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from services.sqs import CREDENTIALS

pytest.importorskip("gevent")

PROGRAM = """
from gevent import monkey
monkey.patch_all()
import sys, time
import gevent
from kernel.native import Signal, start_new_thread
from kernel.ports import Outgoing
from kernel_sqs import SqsTransport

transport = SqsTransport.from_url(sys.argv[1])
transport.open()
transport.declare(["q", "r"])
got, done = [], Signal()

def receive():
    got.extend(transport.receive(["q", "r"], 1, 20.0))
    done.set()

start_new_thread(receive, ())
ticks = 0
started_at = time.monotonic()
while ticks < 40:
    gevent.sleep(0.005)
    ticks += 1
assert not got
assert time.monotonic() - started_at < 2.0
jobs = [gevent.spawn(transport.send, [Outgoing("r", b"x")]) for _ in range(5)]
gevent.joinall(jobs, raise_error=True)
assert done.wait(10.0)
assert transport.ack(got) == []
transport.close()
"""


def test_a_blocked_receive_does_not_stop_the_greenlets(url: str) -> None:
    env = {**os.environ, **CREDENTIALS, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", PROGRAM, url], env=env, check=True, timeout=50)
