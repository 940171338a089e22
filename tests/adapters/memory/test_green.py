"""The memory adapter between native threads and greenlets, in a process that gevent has patched."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("gevent")

PROGRAM = """
from gevent import monkey
monkey.patch_all()
import gevent
from kernel.native import Thread, get_ident
from kernel.ports import Outgoing
from kernel_memory import MemoryTransport, Space

space = Space()
sender, receiver = MemoryTransport(space), MemoryTransport(space)
sender.open()
receiver.open()
got, idents, errors = [], set(), []

def intake():
    idents.add(get_ident())
    while len(got) < 1000:
        deliveries = receiver.receive(["q"], 100, 10.0)
        got.extend(deliveries)
        receiver.ack(deliveries)

thread = Thread(intake, "intake", errors.append)
thread.start()
ticks = []

def send(part):
    for index in range(100):
        sender.send([Outgoing("q", b"%d" % index)])
        gevent.sleep(0)
    ticks.append(part)

gevent.joinall([gevent.spawn(send, part) for part in range(10)], raise_error=True)
assert thread.join(10), len(got)
assert not errors, errors
assert len(got) == 1000 and len(ticks) == 10 and idents != {get_ident()}
print("ok")
"""


def test_greenlets_send_to_a_native_thread() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=30, check=False)
    assert (done.stdout, done.stderr) == ("ok\n", "")
