"""In a process that gevent or eventlet has patched: the contract holds, and who waits lets the others go on."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

PATCH = {
    "gevent": "from gevent import monkey; monkey.patch_all()",
    "eventlet": "import warnings; warnings.simplefilter('ignore'); import eventlet; eventlet.monkey_patch()",
}
SUITE = """
import sys, pytest
sys.exit(pytest.main(sys.argv[1:]))
"""
#: What has to do with waiting and with threads; the rest is the same for everybody. Not what is left after `close`,
#: because a loop of gevent outlives the thread that it was made for.
ABOUT = "block wake wait rouse get thread publish inbox listen several race together ends"
NOT = "service restart kill recovers max_ notices_the_end leaves_nothing_behind"
CHOSEN = f"(TestTransport or TestResults) and ({' or '.join(ABOUT.split())}) and not ({' or '.join(NOT.split())})"

WAITING = """
import sys, threading, time
from kernel.native import Signal, start_new_thread
from kernel.ports import Outgoing, Record
from kernel_redis import RedisResults, RedisTransport

transport, results = RedisTransport.from_url(sys.argv[1]), RedisResults.from_url(sys.argv[1])
transport.open()
results.open()
got, done = [], Signal()

def receive():
    got.extend(transport.receive(["q"], 1, 10.0))
    got.extend(results.wait(["k"], 10.0))
    done.set()

start_new_thread(receive, ())
for _ in range(20):
    time.sleep(0.005)  # a switch to other greenlets
assert not got
start = time.monotonic()
green = [threading.Thread(target=transport.send, args=([Outgoing("q", b"x")],)) for _ in range(5)]
# This greenlet waits in the store while another one of the same thread writes there.
def put():
    time.sleep(0.1)
    results.put([Record("k", b"v", True, (0, 0, 0))], 60.0)

green.append(threading.Thread(target=put))
for each in green:
    each.start()
assert results.wait(["k"], 5.0) == [b"v"]
for each in green:
    each.join()
assert done.wait(5.0)
assert time.monotonic() - start < 1.0
assert len(got) == 2
transport.close()
results.close()
"""


def run(library: str, program: str, *arguments: str) -> None:
    """Run a program in a patched process."""
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", f"{PATCH[library]}\n{program}", *arguments]
    ran = subprocess.run(command, env=env, capture_output=True, text=True, timeout=85, check=False)
    # Of a crash in native code the first lines say which thread it was, and where.
    assert ran.returncode == 0, "\n[...]\n".join((ran.stdout[-3000:], ran.stderr[:3000], ran.stderr[-3000:]))


@pytest.mark.parametrize("library", PATCH)
def test_who_waits_does_not_stop_the_greenlets(library: str, url: str) -> None:
    run(library, WAITING, url)


@pytest.mark.slow
@pytest.mark.timeout(90)
@pytest.mark.parametrize("library", PATCH)
def test_the_contract_holds_in_a_patched_process(library: str) -> None:
    suite = Path(__file__).parents[2] / "conformance/test_redis.py"
    # A server is started in that process, and eventlet warns of every fork.
    quiet = ("-W", "ignore:Using fork:DeprecationWarning")
    run(library, SUITE, "-q", *quiet, "-p", "no:cacheprovider", "-k", CHOSEN, str(suite))
