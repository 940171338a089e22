from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kernel_sqlite import SqliteTransport
from kernel_sqlite.wakeup import ANY, WaitingRoom

from kernel.errors import Unavailable
from kernel.ports import Delivery, Outgoing


class Receiver:
    """A blocked `receive` in a thread."""

    def __init__(self, transport: SqliteTransport, queue: str = "q", timeout: float = 10.0, limit: int = 1) -> None:
        self.got: list[Delivery] = []
        self.error: Exception | None = None
        self._call = (transport, queue, limit, timeout)
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        transport, queue, limit, timeout = self._call
        try:
            self.got = transport.receive([queue], limit, timeout)
        except Unavailable as error:
            self.error = error

    def join(self) -> list[Delivery]:
        self.thread.join(5.0)
        assert not self.thread.is_alive()
        return self.got


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.002)


def room_of(url: str) -> WaitingRoom:
    return WaitingRoom(url[len("sqlite:///") :].partition("?")[0])


def test_one_message_wakes_one_waiter_of_its_queue(url: str, opened: Callable[[Any], Any]) -> None:
    sender, *others = (opened(SqliteTransport.from_url(url)) for _ in range(5))
    room = room_of(url)
    receivers = [Receiver(other) for other in others[:3]]
    elsewhere = Receiver(others[3], "elsewhere")
    wait_until(lambda: len(room.waiting()) == 4)
    time.sleep(0.05)
    sender.send([Outgoing("q", b"1")])
    wait_until(lambda: any(receiver.got for receiver in receivers))
    assert len(room.waiting()) == 3
    assert elsewhere.thread.is_alive()
    sender.send([Outgoing("q", b"2"), Outgoing("q", b"3"), Outgoing("elsewhere", b"4")])
    got = [delivery.payload for receiver in (*receivers, elsewhere) for delivery in receiver.join()]
    assert sorted(got) == [b"1", b"2", b"3", b"4"]
    assert list(room.waiting()) == []


def test_wake_ends_a_receive_once(transport: SqliteTransport, url: str) -> None:
    receiver = Receiver(transport)
    wait_until(lambda: len(room_of(url).waiting()) == 1)
    transport.wake()
    assert receiver.join() == []
    transport.wake()
    start = time.monotonic()
    assert transport.receive(["q"], 1, 10.0) == []
    assert time.monotonic() - start < 1.0
    assert transport.receive(["q"], 1, 0.1) == []
    assert time.monotonic() - start >= 0.1


def test_wake_from_a_signal_handler(transport: SqliteTransport) -> None:
    before = signal.signal(signal.SIGUSR1, lambda *_: transport.wake())
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    start = time.monotonic()
    assert transport.receive(["q"], 1, 10.0) == []
    assert time.monotonic() - start < 2.0
    timer.join()
    signal.signal(signal.SIGUSR1, before)


def test_close_ends_a_blocked_receive(transport: SqliteTransport, url: str) -> None:
    receiver = Receiver(transport)
    wait_until(lambda: len(room_of(url).waiting()) == 1)
    transport.close()
    receiver.join()
    assert isinstance(receiver.error, Unavailable)


def test_an_expired_lease_wakes(transport: SqliteTransport, other: SqliteTransport) -> None:
    transport.send([Outgoing("q", b"x")])
    transport.extend(transport.receive(["q"], 1, 0.0), 0.3)
    start = time.monotonic()
    [delivery] = other.receive(["q"], 1, 5.0)
    assert delivery.redelivered == 1
    assert time.monotonic() - start < 0.6


def test_a_lease_cut_short_is_noticed(transport: SqliteTransport, other: SqliteTransport, url: str) -> None:
    transport.send([Outgoing("q", b"x")])
    held = transport.receive(["q"], 1, 0.0)
    receiver = Receiver(other)
    wait_until(lambda: len(room_of(url).waiting()) == 1)
    start = time.monotonic()
    transport.extend(held, 0.1)
    assert len(receiver.join()) == 1
    assert time.monotonic() - start < 0.5


def test_what_a_dead_process_left_is_removed(url: str, transport: SqliteTransport, tmp_path: Path) -> None:
    transport.receive(["q"], 1, 0.01)
    number = transport._queues["q"]
    left = tmp_path / "kernel.db.wake" / f"dead~q{number}"
    os.mkfifo(left)
    transport.send([Outgoing("q", b"x")])
    assert left.exists()  # for all that is known its process is just about to open it
    os.utime(left, (time.time() - 60, time.time() - 60))
    transport.send([Outgoing("q", b"x")])
    assert not left.exists()


def test_a_waiter_for_many_queues_is_found(url: str, transport: SqliteTransport, other: SqliteTransport) -> None:
    queues = [f"queue-{index}" for index in range(300)]
    got: list[Delivery] = []
    thread = threading.Thread(target=lambda: got.extend(other.receive(queues, 1, 10.0)))
    thread.start()
    wait_until(lambda: [name.partition("~")[2] for name in room_of(url).waiting()] == [f"{ANY}q"])
    time.sleep(0.1)
    start = time.monotonic()
    transport.send([Outgoing("queue-299", b"x")])
    thread.join(5.0)
    assert got
    assert time.monotonic() - start < 0.5


def test_without_named_pipes_it_polls(
    url: str, transport: SqliteTransport, other: SqliteTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kernel_sqlite.wakeup._CAN_PIPE", False)
    receiver = Receiver(other)
    time.sleep(0.1)
    start = time.monotonic()
    transport.send([Outgoing("q", b"x")])
    assert receiver.join()
    assert time.monotonic() - start < 0.3
    assert not os.path.exists(f"{url[len('sqlite:///') :].partition('?')[0]}.wake")


def test_a_bell_leaves_no_descriptor(url: str) -> None:
    if not os.path.isdir("/proc/self/fd"):
        return

    def cycle() -> int:
        transport = SqliteTransport.from_url(url)
        transport.open()
        transport.receive(["q"], 1, 0.01)
        transport.close()
        return len(os.listdir("/proc/self/fd"))

    before = cycle()
    assert [cycle() for _ in range(3)] == [before] * 3
