"""The order of messages under load: nobody starves, nobody is early."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from kernel_redis import RedisTransport
from support import eventually

from kernel.ports import Outgoing

Opened = Callable[..., Any]


def test_a_stream_of_urgent_messages_starves_nobody(url: str, opened: Opened) -> None:
    """`aging` seconds of waiting count as one level: after nine times as long, 0 is as urgent as what comes in now."""
    aging = 0.05
    transport = opened(RedisTransport, f"{url}&aging={aging}")
    transport.send([Outgoing("q", b"patient", priority=0)])
    started = time.monotonic()
    seen: list[bytes] = []
    while b"patient" not in seen:
        assert time.monotonic() - started < 5.0
        # More than is taken: there is always something urgent.
        transport.send([Outgoing("q", b"urgent", priority=9) for _ in range(3)])
        held = transport.receive(["q"], 2, 1.0)
        seen += [delivery.payload for delivery in held]
        assert transport.ack(held) == []
    waited = time.monotonic() - started
    assert 8 * aging <= waited
    assert len(seen) > 10


def test_the_urgent_go_first_where_nobody_has_waited_long(url: str, opened: Opened) -> None:
    transport = opened(RedisTransport, url)
    transport.send([Outgoing("q", b"%d" % priority, priority=priority) for priority in (0, 5, 9, 3, 9, 0, 7)])
    assert [delivery.payload for delivery in transport.receive(["q"], 7, 1.0)] == [
        b"9", b"9", b"7", b"5", b"3", b"0", b"0",
    ]  # fmt: skip


def test_an_earlier_queue_goes_first_also_behind_what_has_expired(
    url: str, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long a claim took of which some had expired: what it lacks is not filled up from the next queue."""
    transport = opened(RedisTransport, url)
    transport.declare(["a", "b"])
    now = time.time()
    transport.send([Outgoing("a", b"first"), Outgoing("a", b"gone", expires_at=now + 0.05), Outgoing("a", b"second")])
    transport.send([Outgoing("b", b"third")])
    eventually(lambda: time.time() > now + 0.1)
    monkeypatch.setattr("kernel_redis.transport.OVERRUN", -1.0)
    order: list[bytes] = []
    while held := transport.receive(["a", "b"], 2, 0.0):
        order += [delivery.payload for delivery in held]
        assert transport.ack(held) == []
    assert order == [b"first", b"second", b"third"]


def test_no_delay_ends_early_and_none_is_lost_under_load(url: str, opened: Opened, later: Any) -> None:
    transport, other = (opened(RedisTransport, f"{url.replace('lease=0.3', 'lease=30')}") for _ in range(2))
    count, start = 600, time.time()
    due = [start + 0.1 + number / count for number in range(count)]
    ending: list[bool] = []

    def load() -> None:
        """Messages without a delay, in and out all the time, and look after look."""
        while not ending:
            other.send([Outgoing("q", b"") for _ in range(20)])

    loading = later(load)
    for at in range(0, count, 100):
        transport.send([Outgoing("q", repr(each).encode(), not_before=each) for each in due[at : at + 100]])
    early, got = 0.0, 0
    while got < count:
        assert time.time() < start + 20
        held = transport.receive(["q"], 1000, 1.0)
        now = time.time()
        times = [float(delivery.payload) for delivery in held if delivery.payload]
        early = max([early, *(at - now for at in times)])
        got += len(times)
        assert transport.ack(held) == []
    ending.append(True)
    loading.result(10.0)
    assert early <= 0.0


def test_expired_messages_hide_nothing_behind_them(url: str, opened: Opened) -> None:
    """A look returns what is there, and an earlier queue comes first, also behind messages that have expired."""
    transport = opened(RedisTransport, url)
    over = time.time() - 1.0
    transport.send([Outgoing("first", b"expired", expires_at=over) for _ in range(5)])
    transport.send([Outgoing("first", b"1"), Outgoing("first", b"2"), Outgoing("second", b"3")])
    held = transport.receive(["first", "second"], 2, 0.0)
    assert [delivery.payload for delivery in held] == [b"1", b"2"]
