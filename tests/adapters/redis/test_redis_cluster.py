"""A Redis Cluster: what spans slots, what moves between nodes, and a worker on it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from engine.harness import Engine
from kernel_redis import RedisCoordination, RedisResults, RedisSchedules, RedisTransport
from kernel_redis.keys import Keys
from redis.crc import key_slot
from services.redis import Cluster, info, shared_cluster
from support import eventually

from kernel.errors import ConfigError, Reject, Retry, Unavailable, Unsupported
from kernel.ports import Claim, Outgoing, Parked, Record

Opened = Callable[..., Any]


@pytest.fixture
def cluster() -> Cluster:
    """The cluster that tests share, running whatever ran before."""
    shared = shared_cluster()
    shared.start()
    return shared


@pytest.fixture
def url(cluster: Cluster, prefix: str) -> str:
    return f"{cluster.url}?prefix={prefix}&lease=30"


@pytest.fixture
def apart(cluster: Cluster, prefix: str) -> list[str]:
    """Names of queues on the first, second and third node."""
    found: dict[int, str] = {}
    for number in range(100):
        name = f"queue {number}"
        found.setdefault(cluster.node_of(key_slot(Keys(prefix).queue(name).encode())), name)
    return [found[node] for node in range(3)]


def test_receiving_over_queues_in_different_slots(url: str, opened: Opened, apart: list[str], later: Any) -> None:
    transport, other = (opened(RedisTransport, url) for _ in range(2))
    transport.send([Outgoing(name, b"%d" % at) for name in apart for at in range(3)])
    held = transport.receive(apart, 7, 1.0)
    assert [delivery.queue for delivery in held] == [apart[0]] * 3 + [apart[1]] * 3 + [apart[2]]
    assert transport.ack(held) == []
    assert [size.ready for size in transport.sizes(apart)] == [0, 0, 2]
    assert transport.ack(transport.receive(apart, 7, 1.0)) == []
    # Blocked on three nodes at once; whichever has something ends it, and the waits at the others too.
    for name in [*apart, *reversed(apart)]:
        waiting = later(lambda: transport.receive(apart, 5, 20.0))
        eventually(lambda: blocked(shared_cluster()) == [1, 1, 1])
        started = time.monotonic()
        other.send([Outgoing(name, b"x")])
        [delivery] = waiting.result(5.0)
        assert (delivery.queue, delivery.payload) == (name, b"x")
        assert time.monotonic() - started < 0.5
        assert transport.ack([delivery]) == []
        eventually(lambda: blocked(shared_cluster()) == [0, 0, 0])
    assert other.queues() == sorted(apart)


def blocked(cluster: Cluster) -> list[int]:
    return [int(info(url, "clients")["blocked_clients"]) for url in cluster.urls]


def test_results_over_slots(url: str, opened: Opened, later: Any, cluster: Cluster, prefix: str) -> None:
    results, other = (opened(RedisResults, url) for _ in range(2))
    keys = [f"k{number}" for number in range(300)]
    assert len({cluster.node_of(key_slot(Keys(prefix).result(key).encode())) for key in keys}) == 3
    waiting = later(lambda: results.wait(keys, 20.0))
    started = [Record(key, b"started", False, (0, 0, 0)) for key in keys]
    assert other.put(started, 60.0) == [None] * 300
    assert results.get([*keys, "none"]) == [b"started"] * 300 + [None]
    with pytest.raises(TimeoutError):
        waiting.result(0.2)  # nothing has ended yet
    # Told by whichever node, to whichever node the waiter listens at.
    for at in range(20):
        other.put([Record(keys[at], b"done", True, (0, 0, 0))], 60.0)
        assert waiting.result(5.0)[0] == b"done"
        waiting = later(lambda left=keys[at + 1 :]: results.wait(left, 20.0))
    other.put([Record(key, b"done", True, (0, 0, 0)) for key in keys[20:]], 60.0)
    waiting.result(5.0)
    assert other.put([Record(key, b"late", True, (0, 0, 1)) for key in keys], 60.0) == [b"done"] * 300
    results.delete(keys)
    assert other.get(keys) == [None] * 300


def test_a_retry_to_another_queue(url: str, opened: Opened, apart: list[str]) -> None:
    """A worker whose retries, follow-ups and dead letters go to queues on other nodes, results to all of them."""
    first, second, third = apart
    engine = Engine(url, "threads", results=url, coordination=url, schedules=url, queues=apart)
    tries: Counter[int] = Counter()

    @engine.task(max_retries=2)
    def flaky(number: int) -> int:
        tries[number] += 1
        if tries[number] < 3:
            raise Retry(countdown=0.01)
        return number

    @engine.task(max_retries=0)
    def hopeless() -> None:
        raise Reject("never")

    @engine.task
    def hands_on(number: int) -> int:
        flaky.apply_async((number,), queue=third)
        return number

    try:
        with engine.run():
            here = [flaky.apply_async((number,), queue=second) for number in range(20)]
            there = [hands_on.apply_async((number,), queue=first) for number in range(100, 120)]
            dead = hopeless.apply_async(queue=second)
            assert [engine.get(result) for result in here] == list(range(20))
            assert [engine.get(result) for result in there] == list(range(100, 120))
            assert isinstance(engine.fails(dead), Exception)
            assert engine.letter(second).reason
            for queue in apart:
                engine.empty(queue)
        assert tries == Counter(dict.fromkeys([*range(20), *range(100, 120)], 3))
    finally:
        engine.close()


def test_what_does_not_hold_on_a_cluster_is_not_claimed(url: str, opened: Opened, cluster: Cluster) -> None:
    transport = opened(RedisTransport, url)
    assert not transport.features.commit
    with pytest.raises(Unsupported):
        transport.commit([])
    with pytest.raises(ConfigError, match=r"is a node of a cluster: write redis\+cluster://"):
        opened(RedisTransport, cluster.urls[0])


def test_a_slot_that_moves_is_followed_and_loses_nothing(
    url: str, opened: Opened, cluster: Cluster, prefix: str
) -> None:
    transport = opened(RedisTransport, url)
    facts, schedules = (opened(port, url) for port in (RedisCoordination, RedisSchedules))
    slot = key_slot(Keys(prefix).queue("moving").encode())
    transport.send([Outgoing("moving", b"%d" % number, priority=number % 3) for number in range(9)])
    transport.send([Outgoing("moving", b"later", not_before=4e9)])
    held = transport.receive(["moving"], 2, 1.0)
    refused: list[str] = []

    def between() -> None:
        """A part of the keys is here and a part there: nothing may be done to them, least of all on the wrong node."""
        calls: list[Callable[[], Any]] = [
            lambda: transport.send([Outgoing("moving", b"no")]),
            lambda: transport.receive(["moving"], 5, 0.0),
            lambda: transport.receive(["moving"], 5, 0.5),
            lambda: transport.ack(held),
            lambda: transport.sizes(["moving"]),
        ]
        for call in calls:
            with pytest.raises(Unavailable, match="the cluster is moving these keys") as caught:
                call()
            assert caught.value.sent == "no"
            refused.append(str(caught.value))

    cluster.move(slot, (cluster.node_of(slot) + 1) % 3, between)
    assert len(refused) == 5
    assert transport.ack(held) == []
    assert transport.sizes(["moving"])[0].delayed == 1
    found = transport.receive(["moving"], 10, 1.0)
    assert sorted(each.payload for each in [*found, *held]) == [b"%d" % number for number in range(9)]
    assert facts.claim([Claim("k", "me", 60)]) == ["me"]
    schedules.add([Parked("s", "k", 1.0, b"")])


def test_records_of_a_slot_that_moves_are_written_again_later(
    url: str, opened: Opened, cluster: Cluster, prefix: str
) -> None:
    results = opened(RedisResults, url)
    slot = key_slot(Keys(prefix).result("k0").encode())
    keys = [f"k{n}" for n in range(3000) if key_slot(Keys(prefix).result(f"k{n}").encode()) == slot][:6]
    records = [Record(key, b"v", False, (0, 0, 0)) for key in keys]
    results.put(records, 60.0)

    def between() -> None:
        with pytest.raises(Unavailable, match=r"the cluster is moving these keys \((TRYAGAIN|ASK)"):
            results.put(records, 60.0)

    cluster.move(slot, (cluster.node_of(slot) + 1) % 3, between)
    assert results.get(keys) == [b"v"] * 6
    assert results.put(records, 60.0) == [None] * 6


def test_one_node_that_is_away_keeps_nobody_from_the_others(opened: Opened) -> None:
    cluster = Cluster("--cluster-require-full-coverage", "no")
    try:
        transport = opened(RedisTransport, f"{cluster.url}?timeout=1")
        facts = opened(RedisCoordination, f"{cluster.url}?timeout=1")
        names = {cluster.node_of(key_slot(Keys("kernel").queue(f"q{n}").encode())): f"q{n}" for n in range(50)}
        transport.send([Outgoing(name, b"x") for name in names.values()])
        cluster.nodes[2].kill()
        for name in (names[0], names[1]):
            eventually(lambda name=name: works(lambda: transport.send([Outgoing(name, b"y")])))  # type: ignore[misc]
            assert len(transport.receive([name], 9, 1.0)) == 2
        with pytest.raises(Unavailable):
            transport.send([Outgoing(names[2], b"y")])
        cluster.start()
        eventually(lambda: works(lambda: transport.send([Outgoing(names[2], b"y")])))
        assert facts.claim([Claim(f"k{n}", "me", 60) for n in range(20)]) == ["me"] * 20
    finally:
        for node in cluster.nodes:
            node.close()


def works(call: Callable[[], object]) -> bool:
    try:
        call()
        return True
    except Unavailable:
        return False
