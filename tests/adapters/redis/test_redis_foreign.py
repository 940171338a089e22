"""Bytes that somebody else wrote into the keys of a queue: handed out like any payload, and nothing stops on them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from uuid import uuid4

import pytest
import redis
from kernel_redis import RedisTransport
from services.redis import shared_redis

from kernel.ports import Outgoing


@pytest.fixture
def prefix() -> str:
    return f"t{uuid4().hex[:12]}"


@pytest.fixture
def transport(prefix: str) -> Iterator[RedisTransport]:
    transport = RedisTransport.from_url(f"{shared_redis()}?prefix={prefix}&lease=0.1")
    transport.open()
    yield transport
    transport.close()


def test_foreign_bytes_are_handed_out_and_hold_up_nothing(transport: RedisTransport, prefix: str) -> None:
    base = f"{prefix}:q:{{work}}"
    transport.send([Outgoing("work", b"ours")])
    with redis.Redis.from_url(shared_redis()) as client:
        client.rpush(f"{base}:0", b"", b"x", b"\xff" * 30)
        client.rpush(f"{base}:9", b"zz")
        client.zadd(f"{base}:leases", {"a lease of nothing": 5})
        client.zadd(f"{base}:delayed", {b"short": 5})
    expected = sorted([b"ours", b"", b"", b"x", b"zz", b"\xff" * 11])
    assert transport.sizes(["work"])[0].ready == len(expected)
    for _ in range(2):
        found = transport.receive(["work"], 10, 1.0)
        assert sorted(delivery.payload for delivery in found) == expected
        time.sleep(0.12)  # a lease ends by nothing but time
    assert transport.ack(transport.receive(["work"], 10, 1.0)) == []
    assert transport.sizes(["work"])[0].ready == 0
