"""Connections that end: between calls and in the middle of one, with a fork, with a signal, with a reader too slow."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
from kernel_redis import RedisCoordination, RedisResults, RedisSchedules, RedisTransport
from redis import Redis
from services.redis import control, info
from services.server import Server
from support import PAUSE, eventually

from kernel import Kernel
from kernel.errors import Unavailable
from kernel.ports import Claim, Outgoing, Parked, Record

Private = tuple[Server, str]
Opened = Callable[..., Any]


def cut(client: Redis) -> None:
    """End every connection but this one."""
    for kind in ("normal", "pubsub"):
        client.client_kill_filter(_type=kind, skipme=True)


def subscriptions(client: Redis) -> int:
    return sum(count for _, count in client.pubsub_numsub(*client.pubsub_channels()))


def test_a_connection_cut_between_calls_is_made_again_unnoticed(private: Private, opened: Opened) -> None:
    _, url = private
    transport = opened(RedisTransport, f"{url}?lease=60")
    results, facts, schedules = (opened(port, url) for port in (RedisResults, RedisCoordination, RedisSchedules))
    held: list[Any] = []
    calls: list[Callable[[], Any]] = [
        lambda: transport.send([Outgoing("q", b"1"), Outgoing("q", b"2")]),
        lambda: held.extend(transport.receive(["q"], 1, 1.0)),
        lambda: transport.ack(held),
        lambda: transport.sizes(["q"]),
        lambda: results.put([Record("k", b"v", True, (0, 0, 0))], 60.0),
        lambda: results.get(["k"]),
        lambda: results.wait(["k", "other"], 5.0),
        lambda: results.wait(["other", "k"], 5.0),
        lambda: facts.claim([Claim("k", "me", 60)]),
        lambda: schedules.add([Parked("s", "k", 1.0, b"")]),
    ]
    with control(url) as client:
        for call in calls:
            cut(client)
            call()
    assert [delivery.payload for delivery in transport.receive(["q"], 5, 1.0)] == [b"2"]


def test_a_connection_cut_in_a_send_leaves_the_outcome_open(private: Private, opened: Opened, later: Any) -> None:
    server, url = private
    transport = opened(RedisTransport, url)
    transport.send([Outgoing("q", b"first")])
    server.pause()
    # What is written to the socket of a server that does not read can be awaited by nobody.
    later(lambda: (PAUSE.wait(0.2), server.kill()))
    with pytest.raises(Unavailable) as caught:
        transport.send([Outgoing("q", b"second")])
    assert caught.value.sent == "unknown"
    with pytest.raises(Unavailable) as caught:
        transport.send([Outgoing("q", b"third")])
    assert caught.value.sent == "no"
    server.start()
    transport.send([Outgoing("q", b"fourth")])
    assert [delivery.payload for delivery in transport.receive(["q"], 5, 1.0)] == [b"fourth"]


def test_a_connection_cut_in_a_receive_is_told_once(private: Private, opened: Opened, later: Any) -> None:
    _, url = private
    transport = opened(RedisTransport, url)
    with control(url) as client:
        for _ in range(3):
            waiting = later(lambda: transport.receive(["q", "r"], 1, 20.0))
            eventually(lambda: info(url, "clients")["blocked_clients"] == 1)
            cut(client)
            with pytest.raises(Unavailable):
                waiting.result(3.0)
    waiting = later(lambda: transport.receive(["q", "r"], 1, 20.0))
    transport.send([Outgoing("r", b"x")])
    assert [delivery.payload for delivery in waiting.result(3.0)] == [b"x"]


def test_an_inbox_cut_is_told_once_and_listens_again(private: Private, opened: Opened, later: Any) -> None:
    _, url = private
    transport = opened(RedisTransport, url)
    inbox = transport.listen("news")
    with control(url) as client:
        waiting = later(lambda: inbox.get(20.0))
        cut(client)
        with pytest.raises(Unavailable):
            waiting.result(3.0)
        assert inbox.get(0.0) == []
        transport.publish("news", b"x")
        assert inbox.get(3.0) == [b"x"]


def test_who_waits_for_results_survives_a_reconnect(private: Private, opened: Opened, later: Any) -> None:
    _, url = private
    results, other = (opened(RedisResults, url) for _ in range(2))
    with control(url) as client:
        waiting = later(lambda: results.wait(["a", "b"], 20.0))
        eventually(lambda: subscriptions(client) == 2)
        cut(client)
        with pytest.raises(Unavailable):
            waiting.result(3.0)
        # Written while nobody listened: found by the next wait without any notice.
        other.put([Record("a", b"done", True, (0, 0, 0))], 60.0)
        assert results.wait(["a", "b"], 20.0) == [b"done", None]
        waiting = later(lambda: results.wait(["b"], 20.0))
        eventually(lambda: subscriptions(client) == 3)  # two are of this thread
        other.put([Record("b", b"too", True, (0, 0, 0))], 60.0)
        assert waiting.result(3.0) == [b"too"]


def test_an_application_that_waits_survives_a_restart(private: Private) -> None:
    server, url = private
    with Kernel("caller", transport=url, results=url) as app:
        result = app.send_task("nobody.runs.this")
        started = time.monotonic()
        server.restart()
        with pytest.raises(TimeoutError):
            result.get(1.0)
        assert time.monotonic() - started < 10


@pytest.mark.parametrize("size", [13, 100_000, 40 * 1024 * 1024])
def test_a_record_of_any_size_reaches_who_waits(private: Private, opened: Opened, later: Any, size: int) -> None:
    """A server cuts off a subscriber to whom it has more than 32 MiB to tell."""
    _, url = private
    results, other = (opened(RedisResults, url) for _ in range(2))
    value = os.urandom(16) + bytes(size)
    assert results.wait(["before", "after"], 0.01) == [None, None]
    waiting = later(lambda: results.wait(["after"], 20.0))
    other.put([Record("after", b"started", False, (0, 0, 0))], 60.0)
    other.put([Record("after", value, True, (0, 0, 0))], 60.0)
    assert waiting.result(10.0) == [value]
    other.put([Record("before", value, False, (0, 0, 0))], 60.0)
    assert results.wait(["before", "after"], 20.0) == [value, value]
    assert results.wait(["before"], 0.0) == [value]


def test_many_records_reach_who_waits_together(private: Private, opened: Opened) -> None:
    _, url = private
    results = opened(RedisResults, url)
    records = [Record(f"k{number}", bytes(400_000), True, (0, 0, 0)) for number in range(100)]
    results.put(records, 60.0)
    assert results.wait([record.key for record in records], 5.0) == [record.value for record in records]


def test_a_wake_from_a_signal_handler_ends_a_receive(private: Private, opened: Opened) -> None:
    _, url = private
    transport = opened(RedisTransport, url)
    before = signal.signal(signal.SIGALRM, lambda *_: transport.wake())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        started = time.monotonic()
        assert transport.receive(["q"], 1, 20.0) == []
        assert 0.1 < time.monotonic() - started < 2.0
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    transport.send([Outgoing("q", b"x")])
    assert transport.receive(["q"], 1, 1.0)


@pytest.mark.filterwarnings("ignore:Using fork:DeprecationWarning")  # eventlet, where a test before has imported it
def test_parent_and_child_work_after_a_fork(private: Private) -> None:
    _, url = private
    with Kernel("forking", transport=url, results=url) as app:
        app.send_task("task", (0,))
        pid = os.fork()
        if not pid:
            status = 1
            try:
                for number in range(1, 4):
                    app.send_task("task", (number,))
                status = 0
            finally:
                os._exit(status)
        for number in range(4, 7):
            app.send_task("task", (number,))
        assert os.waitpid(pid, 0)[1] == 0
        app.send_task("task", (7,))
        assert app.ports.transport.sizes(["default"])[0].ready == 8


def test_a_look_finds_what_was_written_before_it(url: str, opened: Opened) -> None:
    """Also where the notice of it is still on its way to the connection that is told."""
    results, writer = opened(RedisResults, url), opened(RedisResults, url)
    results.wait(["k0"], 0.01)  # from now on it is told of something
    for number in range(300):
        key = f"k{number}"
        results.wait([key], 0.0001)
        writer.put([Record(key, b"v", True, (0, 0, 0))], 60.0)
        assert results.wait([key], 0.0) == [b"v"]
