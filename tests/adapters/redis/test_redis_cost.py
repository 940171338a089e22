"""What is sent, and what is kept: a command per batch, none while nothing happens, and no memory for what is over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from kernel_redis import RedisCoordination, RedisResults, RedisSchedules, RedisTransport
from kernel_redis.scripts import _TEXTS as TEXTS
from services.redis import control, info
from services.server import Server

from kernel.ports import Acquire, Claim, Outgoing, Parked, Record, Take, Tally

Private = tuple[Server, str]
Opened = Callable[..., Any]
THOUSAND = range(1000)


def batch(queue: str = "q", payload: bytes = b"x" * 100) -> list[Outgoing]:
    return [Outgoing(queue, payload) for _ in THOUSAND]


# -- commands ----------------------------------------------------------------------------------------------------


def test_a_batch_is_one_command(private: Private, opened: Opened, monitor: Any) -> None:
    _, url = private
    transport = opened(RedisTransport, f"{url}?lease=60")
    results = opened(RedisResults, url)
    held: list[Any] = []
    records = [Record(f"k{number}", b"v", True, (0, 0, 0)) for number in THOUSAND]
    keys = [record.key for record in records]
    calls: dict[str, Callable[[], Any]] = {
        "send": lambda: transport.send(batch()),
        "receive": lambda: held.extend(transport.receive(["q"], 1000, 1.0)),
        "extend": lambda: transport.extend(held, 60.0),
        "release": lambda: transport.release(held),
        "receive again": lambda: (held.clear(), held.extend(transport.receive(["q"], 1000, 1.0))),
        "commit": lambda: transport.commit([(each, [Outgoing("q", b"next")]) for each in held[:500]]),
        "ack": lambda: transport.ack(held[500:]),
        "send with times": lambda: transport.send([Outgoing("q", b"x", not_before=1.0) for _ in THOUSAND]),
        "put": lambda: results.put(records, 60.0),
        "get": lambda: results.get(keys),
        "delete": lambda: results.delete(keys),
    }
    transport.declare(["q"])
    for call in [*calls.values(), lambda: transport.purge("q")]:
        call()  # the server learns the scripts
    transport.purge("q")
    held.clear()
    seen = {name: [words[0] for words in monitor.during(call)] for name, call in calls.items()}
    script = ["EVALSHA"]
    plain = {"send": ["RPUSH", "ZADD"], "get": ["MGET"], "delete": ["UNLINK"]}
    # The last look found the queue empty, so this one waits for the token of `send`, with the claim right behind.
    plain |= {key: ["BZPOPMIN", "EVALSHA"] for key in ("receive", "receive again")}
    assert seen == dict.fromkeys(calls, script) | plain


def test_a_batch_of_facts_is_one_command(private: Private, opened: Opened, monitor: Any) -> None:
    _, url = private
    facts = opened(RedisCoordination, url)
    schedules = opened(RedisSchedules, url)
    parked = [Parked("s", f"k{number}", 1.0, b"v") for number in THOUSAND]
    calls: list[Callable[[], Any]] = [
        lambda: facts.claim([Claim(f"k{number}", "me", 60) for number in THOUSAND]),
        lambda: facts.tally([Tally(f"k{number}", "me", 60) for number in THOUSAND]),
        lambda: facts.take([Take(f"k{number}", 1, 1, 9) for number in THOUSAND]),
        lambda: facts.acquire([Acquire(f"k{number}", "me", 1, 60) for number in THOUSAND]),
        lambda: facts.drop([(f"k{number}", "me") for number in THOUSAND]),
        lambda: facts.release([(f"k{number}", "me") for number in THOUSAND]),
        lambda: schedules.add(parked),
        lambda: schedules.take("s", 9.0, 1000, 60.0),
        lambda: schedules.remove(parked),
        lambda: schedules.next_at("s"),
    ]
    for call in calls:
        call()
        assert [words[0] for words in monitor.during(call)] == ["EVALSHA"]


def test_a_receiver_that_has_nothing_to_do_asks_once_a_second(private: Private, opened: Opened, monitor: Any) -> None:
    """It does not poll: it is blocked in the server. It looks once a second, for a token that a dead receiver took."""
    _, url = private
    transport = opened(RedisTransport, url)
    transport.receive(["a", "b"], 1, 0.0)
    commands = monitor.during(lambda: transport.receive(["a", "b"], 10, 2.0))
    counts = Counter(words[0] for words in commands)
    assert counts["BZPOPMIN"] <= 3
    assert counts["EVALSHA"] <= 2 + 2 * counts["BZPOPMIN"]
    assert set(counts) == {"BZPOPMIN", "EVALSHA"}


def test_who_waits_for_results_asks_nothing(private: Private, opened: Opened, monitor: Any) -> None:
    _, url = private
    results = opened(RedisResults, url)
    keys = [f"k{number}" for number in range(100)]
    results.wait(["other"], 0.01)
    commands = monitor.during(lambda: results.wait(keys, 2.0))
    # To subscribe and look, once; and a look at the end, for a notice that was lost.
    assert [words[0] for words in commands] == ["UNSUBSCRIBE", "SUBSCRIBE", "EVALSHA", "MGET"]
    commands = monitor.during(lambda: results.wait(keys, 0.3))
    assert commands == []


# -- scripts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["flush", "restart"])
def test_every_script_is_known_again(private: Private, opened: Opened, how: str) -> None:
    server, url = private
    transport = opened(RedisTransport, f"{url}?lease=60")
    results = opened(RedisResults, url)
    facts = opened(RedisCoordination, url)
    schedules = opened(RedisSchedules, url)
    known: set[str] = set()

    def again(call: Callable[[], Any]) -> Any:
        """Make the call on a server that has just forgotten every script, or that has just been started."""
        if how == "flush":
            with control(url) as client:
                client.script_flush()
        answer = call()
        with control(url) as client:
            known.update(digest for digest in TEXTS if client.script_exists(digest)[0])
        return answer

    def received() -> list[Any]:
        transport.send([Outgoing("q", b"1"), Outgoing("q", b"2")])
        return list(transport.receive(["q"], 1, 1.0))

    if how == "restart":
        server.restart()
    again(lambda: opened(RedisTransport, url))
    again(lambda: transport.send([Outgoing("q", b"1")]))
    again(lambda: transport.send([Outgoing("q", b"2", dedup_key="k")]))
    assert again(lambda: transport.receive(["q"], 2, 0.0))
    for settle in (transport.ack, transport.release, lambda held: transport.extend(held, 60.0)):
        assert again(lambda settle=settle: settle(received())) == []  # type: ignore[misc]
    assert again(lambda: transport.commit([(each, [Outgoing("q", b"3")]) for each in received()])) == []
    again(lambda: transport.sizes(["q", "r"]))
    again(lambda: transport.peek("q", 5))
    again(lambda: transport.purge("q"))
    assert again(lambda: results.put([Record("k", b"v", True, (0, 0, 0))], 60.0)) == [None]
    assert again(lambda: results.wait(["k"], 5.0)) == [b"v"]
    assert again(lambda: facts.claim([Claim("k", "me", 60)])) == ["me"]
    assert again(lambda: facts.tally([Tally("k", "me", 60)])) == [1]
    assert again(lambda: facts.take([Take("k", 1, 1, 9)])) == [0.0]
    assert again(lambda: facts.acquire([Acquire("k", "me", 1, 60)])) == [True]
    again(lambda: facts.drop([("k", "me")]))
    again(lambda: facts.release([("k", "me")]))
    again(lambda: schedules.add([Parked("s", "k", 1.0, b"")]))
    assert again(lambda: len(schedules.take("s", 9.0, 1, 60.0))) == 1
    again(lambda: schedules.next_at("s"))
    again(lambda: schedules.remove([Parked("s", "k", 1.0, b"")]))
    assert known == set(TEXTS)


def test_scripts_that_vanish_all_the_time_lose_nothing(private: Private, opened: Opened, later: Any) -> None:
    _, url = private
    transport = opened(RedisTransport, f"{url}?lease=60")

    def flush() -> None:
        with control(url) as client:
            while not done:
                client.script_flush()

    done: list[bool] = []
    flushing = later(flush)
    got: list[bytes] = []
    for number in range(100):
        transport.send([Outgoing("q", b"%d" % number)])
        held = transport.receive(["q"], 9, 2.0)
        assert transport.ack(held) == []
        got += [delivery.payload for delivery in held]
    done.append(True)
    flushing.result(5.0)
    assert got == [b"%d" % number for number in range(100)]


# -- memory ------------------------------------------------------------------------------------------------------


def test_a_drained_server_is_as_empty_as_before(private: Private, opened: Opened) -> None:
    _, url = private
    transport = opened(RedisTransport, f"{url}?lease=60")
    results = opened(RedisResults, url)

    def through(rounds: int) -> None:
        for number in range(rounds):
            transport.send([Outgoing("q", b"x" * 100, priority=at % 10) for at in THOUSAND])
            if number % 4 == 0:
                transport.send([Outgoing("q", b"later", not_before=1.0)])
        while held := transport.receive(["q"], 1000, 0.0):
            results.put([Record(f"k{at}", b"v", True, (0, 0, 0)) for at in range(len(held))], 60.0)
            assert transport.ack(held) == []
        results.delete([f"k{at}" for at in THOUSAND])

    through(2)  # buffers of connections and the scripts are there
    before = info(url, "memory")["used_memory"]
    through(20)
    with control(url) as client:
        assert client.keys() == [b"kernel:queues"]
        client.execute_command("MEMORY", "PURGE")
    assert info(url, "memory")["used_memory"] - before < 200_000
