"""Several processes on one file: nothing lost when one is killed, and a blocked receiver wakes at once."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from kernel_sqlite import SqliteTransport
from support import eventually

from kernel.errors import Rejected
from kernel.ports import Outgoing

CREW = Path(__file__).with_name("crew.py")
Spawn = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    crew: list[subprocess.Popen[str]] = []
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}

    def start(*args: str) -> subprocess.Popen[str]:
        process = subprocess.Popen([sys.executable, str(CREW), *args], stdout=subprocess.PIPE, text=True, env=env)
        crew.append(process)
        return process

    yield start
    for process in crew:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def lines(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout  # not communicate(): it would miss what readline() has read ahead
    return process.stdout.read().split()


@pytest.mark.slow
def test_a_killed_process_loses_nothing(url: str, spawn: Spawn) -> None:
    url += "&lease=2"
    survivor, victim = (spawn("receive", url, "5") for _ in range(2))
    assert first_line(survivor) == first_line(victim) == "ready"
    time.sleep(0.3)
    survivor.send_signal(signal.SIGSTOP)  # while it is idle, so that the other one has something to be killed over
    senders = [spawn("send", url, name, "150") for name in ("a", "b")]
    seen = [first_line(victim) for _ in range(50)]
    survivor.send_signal(signal.SIGCONT)
    seen += [first_line(victim) for _ in range(50)]
    victim.kill()
    seen += lines(victim)
    acked = Counter(line for line in seen + lines(survivor) if line[0] != "?")
    sent = {payload for sender in senders for payload in lines(sender)}
    assert len(sent) == 6000
    # The ack of the victim's last moment may be durable and not printed: nothing else may be missing.
    assert sent - set(acked) <= {line[1:] for line in seen[-15:] if line[0] == "?"}
    assert set(acked.values()) == {1}
    transport = SqliteTransport.from_url(url)
    transport.open()
    [size] = transport.sizes(["q"])
    transport.close()
    assert (size.ready, size.delayed, size.in_flight) == (0, 0, 0)


@pytest.mark.slow
def test_killing_everything_at_any_moment_loses_and_doubles_nothing(url: str, spawn: Spawn, tmp_path: Path) -> None:
    url += "&lease=0.5"
    ledger = tmp_path / "ledger"
    chance = random.Random(7)
    for cycle in range(5):
        crew = [spawn("churn", url, f"{cycle}.{index}", str(ledger)) for index in range(3)]
        before = ledger.stat().st_size if ledger.exists() else 0
        eventually(partial(longer, ledger, before + 1000))
        time.sleep(chance.random() * 0.2)
        for process in crew:
            process.kill()
        for process in crew:
            process.wait()
        connection = sqlite3.connect(tmp_path / "kernel.db")
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()
    transport = SqliteTransport.from_url(url)
    transport.open()
    while batch := transport.receive(["q"], 1000, 0.7):
        assert transport.commit([(one, [Outgoing("done", one.payload)]) for one in batch]) == []
    done: list[str] = []
    while batch := transport.receive(["done"], 5000, 0.0):
        done += [one.payload.decode() for one in batch]
        transport.ack(batch)
    assert len(done) == len(set(done))
    assert set(ledger.read_text().split()) <= set(done)
    for left in (tmp_path / "kernel.db.wake").iterdir():
        os.utime(left, (0, 0))
    transport.send([Outgoing("q", b"x")])  # who calls takes away what the dead have left
    assert list((tmp_path / "kernel.db.wake").iterdir()) == []
    transport.close()


def longer(file: Path, size: int) -> bool:
    return file.exists() and file.stat().st_size > size


def test_a_killed_sender_has_sent_what_it_reported(url: str, spawn: Spawn, transport: SqliteTransport) -> None:
    sender = spawn("send", url, "a", "100000")
    seen = [first_line(sender) for _ in range(100)]
    sender.kill()
    seen += [line for line in lines(sender) if line.count("-") == 2]
    got: list[bytes] = []
    while batch := transport.receive(["q"], 1000, 0.0):
        got += [delivery.payload for delivery in batch]
        transport.ack(batch)
    assert len(got) == len(set(got))
    assert len(got) % 20 == 0
    assert {payload.encode() for payload in seen[:-1]} <= set(got)


def test_a_receiver_in_another_process_wakes_at_once(url: str, spawn: Spawn, transport: SqliteTransport) -> None:
    receiver = spawn("clock", url)
    assert first_line(receiver) == "ready"
    delays = []
    for _ in range(9):
        wait_for_waiters(transport, 1)
        start = time.monotonic()
        transport.send([Outgoing("q", b"x")])
        delays.append(float(first_line(receiver)) - start)
    assert statistics.median(delays) < 0.02, delays


def test_a_delayed_message_and_a_release_wake_it_too(url: str, spawn: Spawn, transport: SqliteTransport) -> None:
    transport.send([Outgoing("q", b"held")])
    held = transport.receive(["q"], 1, 0.0)
    receiver = spawn("clock", url)
    first_line(receiver)
    wait_for_waiters(transport, 1)
    start = time.monotonic()
    transport.release(held)
    assert float(first_line(receiver)) - start < 0.3
    wait_for_waiters(transport, 1)
    start = time.monotonic()
    transport.send([Outgoing("q", b"late", not_before=time.time() + 0.4)])
    assert 0.39 <= float(first_line(receiver)) - start < 0.7


def test_processes_that_create_the_file_together_all_succeed(url: str, spawn: Spawn) -> None:
    crew = [spawn("open", url) for _ in range(4)]
    assert [first_line(process) for process in crew] == ["open"] * 4
    assert [process.wait(20) for process in crew] == [0] * 4


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_is_refused_and_the_parent_goes_on(transport: SqliteTransport) -> None:
    transport.send([Outgoing("q", b"x")])
    child = os.fork()
    if child == 0:
        try:
            transport.send([Outgoing("q", b"child")])
        except Rejected:
            transport.close()
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    start = time.monotonic()
    assert transport.receive(["empty"], 1, 0.2) == []
    assert time.monotonic() - start >= 0.2
    assert [delivery.payload for delivery in transport.receive(["q"], 9, 0.0)] == [b"x"]


def wait_for_waiters(transport: SqliteTransport, count: int) -> None:
    until = time.monotonic() + 10
    while len(transport._room.waiting()) < count:
        assert time.monotonic() < until
        time.sleep(0.002)
    time.sleep(0.02)  # it registers first and looks once more before it sleeps
