"""The keys that are left on a server: where they are, how long they stay, and that names of any kind do not mix."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kernel_redis import RedisCoordination, RedisResults, RedisSchedules, RedisTransport
from redis import Redis
from redis.crc import key_slot
from support import eventually

from kernel.ports import Acquire, Claim, Outgoing, Parked, Record, Take, Tally

Opened = Callable[..., Any]
NAMES = (
    "plain", "a{b}c", "{", "}", "{}", "%7B", "a%b", "with space", "ünï¢ode ☃", "new\nline", "a:b", "a:b:0", "0", "*",
)  # fmt: skip
PAGE = Path(__file__).parents[3] / "docs/redis.md"


def test_queues_of_any_name_are_apart_and_in_one_slot_each(url: str, prefix: str, opened: Opened, raw: Redis) -> None:
    transport = opened(RedisTransport, url)
    for name in NAMES:
        transport.send([Outgoing(name, name.encode()), Outgoing(name, b"later", not_before=4e9, dedup_key="k{}")])
    slots: dict[bytes, set[int]] = {}
    for key in raw.scan_iter(f"{prefix}:q:*"):
        slots.setdefault(key[: key.index(b"}")], set()).add(key_slot(key))
    assert len(slots) == len(NAMES)
    assert all(len(each) == 1 for each in slots.values())
    for name in NAMES:
        assert transport.peek(name, 5) == [name.encode(), b"later"]
        [delivery] = transport.receive([name], 5, 1.0)
        assert (delivery.queue, delivery.payload) == (name, name.encode())
        assert transport.ack([delivery]) == []
    assert transport.queues() == sorted(NAMES)


def test_facts_and_spaces_and_results_of_any_name_are_apart(url: str, opened: Opened) -> None:
    facts, schedules, results = (opened(port, url) for port in (RedisCoordination, RedisSchedules, RedisResults))
    assert facts.claim([Claim(name, name, 60) for name in NAMES]) == list(NAMES)
    assert facts.tally([Tally(name, "m", 60) for name in NAMES]) == [1] * len(NAMES)
    schedules.add([Parked(name, name, 1.0, name.encode()) for name in NAMES])
    results.put([Record(name, name.encode(), True, (0, 0, 0)) for name in NAMES], 60.0)
    assert results.get(NAMES) == [name.encode() for name in NAMES]
    assert results.wait(NAMES, 5.0) == [name.encode() for name in NAMES]
    for name in NAMES:
        assert schedules.take(name, 9.0, 9, 60.0) == [Parked(name, name, 1.0, name.encode())]


def test_two_equal_messages_of_one_moment_stay_two(url: str, opened: Opened) -> None:
    first, second = (opened(RedisTransport, url) for _ in range(2))
    for transport in (first, first, second):
        transport.send([Outgoing("q", b"same", not_before=1.5e9 + 4e9), Outgoing("q", b"same", not_before=1.0)])
    assert first.sizes(["q"])[0].delayed == 3
    assert first.sizes(["q"])[0].ready == 3
    assert first.purge("q") == 6


def test_no_key_is_left_without_an_owner_or_an_end(url: str, prefix: str, opened: Opened, raw: Redis) -> None:
    """What no queue, no space and no list of queues owns ends by itself; and the page of the docs names every key."""
    transport = opened(RedisTransport, url)
    facts, schedules, results = (opened(port, url) for port in (RedisCoordination, RedisSchedules, RedisResults))
    transport.send([Outgoing("q", b"x", priority=at) for at in range(10)])
    transport.send([Outgoing("q", b"x", dedup_key="k"), Outgoing("q", b"x", not_before=4e9)])
    assert transport.receive(["q"], 1, 1.0)
    results.put([Record("k", b"v", True, (0, 0, 0)), Record("l", b"v", False, (0, 0, 0))], 60.0)
    results.put([Record("for ever", b"v", True, (0, 0, 0))], 0.0)
    facts.claim([Claim("k", "me", 60)])
    facts.tally([Tally("k", "me", 60)])
    facts.take([Take("k", 1, 1, 9)])
    facts.acquire([Acquire("k", "me", 1, 60)])
    schedules.add([Parked("s", "k", 1.0, b""), Parked("s", "l", 1.0, b"")])
    schedules.take("s", 9.0, 1, 60.0)
    owned = re.compile(rf"{prefix}:(queues|q:{{q}}:(\d|delayed|leases|held|wake)|s:{{s}}:(due|taken|parked))")
    keys = [key.decode() for key in raw.scan_iter(f"{prefix}*")]
    endless = {key for key in keys if raw.pttl(key) == -1}
    assert {key for key in endless if not owned.fullmatch(key)} == set()
    assert all(0 < raw.pttl(key) <= 300_000 for key in keys if key not in endless and not key.endswith("for ever"))
    kinds = {re.sub(r"{[^}]*}", "{}", key.removeprefix(f"{prefix}:")) for key in keys}
    kinds = {re.sub(r"^(q:{}):\d$", r"\1:0", re.sub(r"^(r:{}|q:{}:dedup):.*", r"\1:", kind)) for kind in kinds}
    assert kinds == {
        "queues", "q:{}:0", "q:{}:delayed", "q:{}:leases", "q:{}:held", "q:{}:wake", "q:{}:dedup:", "r:{}:",
        "claim:{}", "tally:{}", "bucket:{}", "slots:{}", "s:{}:due", "s:{}:taken", "s:{}:parked",
    }  # fmt: skip
    page = PAGE.read_text("utf-8")
    for kind in kinds:
        assert re.search(re.escape(f"kernel:{kind}").replace(r"\{\}", r"{\w+}"), page), kind


@pytest.mark.parametrize("ended", ["drop", "expiry"])
def test_what_is_over_leaves_no_key(url: str, prefix: str, opened: Opened, raw: Redis, ended: str) -> None:
    facts, schedules, results = (opened(port, url) for port in (RedisCoordination, RedisSchedules, RedisResults))
    ttl = 60.0 if ended == "drop" else 0.001
    results.put([Record("k", b"v", True, (0, 0, 0))], ttl)
    facts.claim([Claim("k", "me", ttl)])
    facts.acquire([Acquire("k", "me", 1, ttl)])
    entry = Parked("s", "k", 1.0, b"")
    schedules.add([entry])
    if ended == "drop":
        results.delete(["k"])
        facts.drop([("k", "me")])
        facts.release([("k", "me")])
    else:
        facts.tally([Tally("k", "me", ttl)])
        facts.take([Take("k", 1, 1e6, 9)])
        assert [key for key in raw.scan_iter(f"{prefix}*") if raw.pttl(key) > 5] == []
    schedules.remove([entry])
    eventually(lambda: list(raw.scan_iter(f"{prefix}*")) == [])
