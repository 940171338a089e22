"""From the commit to the queue: killed at each step, twice at the same time, with bad rows, and idle."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from kernel_sql import SqlOutbox
from support import eventually, slowness

import kernel
from kernel import Kernel
from kernel.envelope import decode
from kernel.errors import Unavailable
from kernel.ports import Outgoing, Transport
from kernel.sending import relay as relaying
from kernel.sending.outbox import rows_of
from kernel.sending.relay import INTERVAL, Relay

ROOT = Path(kernel.__file__).parents[1]
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("KERNEL_")},
    "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "adapters"))),
    "KERNEL_CONFIG": "none",
}
_numbers = itertools.count()

#: Writes 35 calls in one transaction, and dies when it is committed.
COMMITS = """
import os, sys
from kernel import Kernel
from sqlalchemy import create_engine

app = Kernel("shop", transport="memory://unused")
with create_engine(sys.argv[1]).begin() as connection, app.within(connection):
    app.send_many("shop.add", [(number,) for number in range(35)])
os.kill(os.getpid(), 9)
"""

#: A relay that dies in its second batch, at the point that is named.
RELAYS = """
import os, sys
from kernel import Kernel
from kernel.sending import relay
from kernel_sql import SqlOutbox

url, transport, point = sys.argv[1:]
relay.CLAIM_FOR = 0.5
batches = 0

def at(name, call, after):
    def dying(*arguments):
        global batches
        batches += name == "claim"
        if batches == 2 and point == f"before {name}":
            os.kill(os.getpid(), 9)
        value = call(*arguments)
        if batches == 2 and point == f"after {name}":
            os.kill(os.getpid(), 9)
        return value
    return dying

app, outbox = Kernel("relay", transport=transport), SqlOutbox.from_url(url)
outbox.open()
opened = app.ports.transport
opened.send = at("send", opened.send, point)
outbox.claim, outbox.drop = at("claim", outbox.claim, point), at("drop", outbox.drop, point)
relay.Relay(outbox, lambda: opened, batch=10).drain()
"""


def run(program: str, *arguments: str) -> int:
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=50)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


def received(transport: Transport, queue: str = "default") -> list[str]:
    """The ids of all tasks in a queue, each message once."""
    found = []
    while batch := transport.receive([queue], 1000, 0.0):
        found += [decode(delivery.payload).id for delivery in batch]
        transport.ack(batch)
    return found


@pytest.mark.parametrize(
    ("point", "twice"),
    [("before claim", 0), ("after claim", 0), ("before send", 0), ("after send", 10), ("before drop", 10),
     ("after drop", 0)],
)  # fmt: skip
def test_killed_at_each_step_nothing_is_lost_and_one_batch_at_most_is_there_twice(
    point: str, twice: int, url: str, outbox: SqlOutbox, app: Kernel
) -> None:
    assert run(COMMITS, url) == -signal.SIGKILL
    ids = [decode(row.payload).id for row in outbox.waiting(False, 100)]
    assert len(ids) == 35
    assert run(RELAYS, url, app.config.ports.transport, point) == -signal.SIGKILL
    relay = Relay(outbox, lambda: app.ports.transport)
    eventually(lambda: (relay.drain(), outbox.fill().waiting)[1] == 0, 20.0, "the claim of the dead has run out")
    counts = Counter(received(app.ports.transport))
    assert set(counts) == set(ids)
    assert [id for id in ids if counts[id] == 2] == (ids[10:20] if twice else [])
    assert sum(counts.values()) == 35 + twice


def test_two_relays_at_once_send_everything_once(url: str, outbox: SqlOutbox, app: Kernel) -> None:
    outbox.add(rows_of([Outgoing("q", b"%d" % number) for number in range(1000)], time.time()))
    start = threading.Barrier(2, timeout=20)

    def work() -> None:
        mine = SqlOutbox.from_url(url)
        relay = Relay(mine, lambda: app.ports.transport, batch=20)
        start.wait()
        until = time.monotonic() + 40
        while mine.fill().waiting and time.monotonic() < until:
            try:
                relay.step()
            except Unavailable:
                continue  # SQLite: the other one is writing
        mine.close()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = []
    while batch := app.ports.transport.receive(["q"], 1000, 0.0):
        found += [int(delivery.payload) for delivery in batch]
        app.ports.transport.ack(batch)
    assert sorted(found) == list(range(1000))


@pytest.fixture
def small() -> Iterator[Kernel]:
    """A transport that takes 1,000 bytes in a message."""
    with Kernel("small", transport=f"memory://relay{next(_numbers)}?max_payload=1000", results="none") as app:
        yield app


def test_what_is_refused_for_good_is_seen_and_holds_up_nothing(
    outbox: SqlOutbox, small: Kernel, caplog: pytest.LogCaptureFixture
) -> None:
    messages = [Outgoing("q", bytes(2000 if number % 7 == 3 else 10)) for number in range(20)]
    outbox.add(rows_of(messages, 0.0))
    relay = Relay(outbox, lambda: small.ports.transport)
    moved = relay.drain()
    assert (moved.sent, moved.refused) == (17, 3)
    assert len(small.ports.transport.receive(["q"], 100, 0.0)) == 17
    refused = outbox.waiting(True, 10)
    assert [len(row.payload) for row in refused] == [2000] * 3
    assert all("1000" in row.reason for row in refused)
    assert sum("stays in the outbox" in record.getMessage() for record in caplog.records) == 3
    assert relay.drain().total == 0


def test_while_the_transport_is_away_rows_wait(outbox: SqlOutbox, app: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relaying, "SEND_FOR", 0.1)
    outbox.add(rows_of([Outgoing("q", b"x")] * 3, 0.0))
    transport = app.ports.transport
    send = transport.send
    with monkeypatch.context() as broken:

        def away(batch: object) -> None:
            raise Unavailable("gone")

        broken.setattr(transport, "send", away)
        with pytest.raises(Unavailable, match="gone"):
            Relay(outbox, lambda: transport).step()
    assert transport.send == send
    assert Relay(outbox, lambda: transport).drain().sent == 3


def cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_relay_that_waits_is_cheap_soon_awake_and_ends_in_order(url: str, outbox: SqlOutbox, app: Kernel) -> None:
    app.ports.transport.declare(["q"])
    command = [sys.executable, "-m", "kernel.cli.main", "relay", url, "--transport", app.config.ports.transport]
    relay = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    try:
        assert relay.stderr is not None
        assert relay.stderr.readline() == "relay started\n"
        outbox.add(rows_of([Outgoing("q", b"first")], 0.0))
        assert app.ports.transport.receive(["q"], 10, 20.0)
        if sys.platform == "linux":
            began = cpu(relay.pid)
            threading.Event().wait(3.0)
            used = cpu(relay.pid) - began
            assert used <= 0.01 * 3.0 * slowness() + 0.01
        longest = 0.0
        for _ in range(5):
            written = time.monotonic()
            outbox.add(rows_of([Outgoing("q", b"next")], 0.0))
            assert app.ports.transport.receive(["q"], 10, 20.0)
            longest = max(longest, time.monotonic() - written)
        assert longest < INTERVAL + 0.3 * slowness()
        relay.send_signal(signal.SIGTERM)
        assert relay.stderr.readline().startswith("relay ended: sent 6 messages in ")
        assert relay.wait(20) == 0
    finally:
        relay.kill()
        relay.communicate()
