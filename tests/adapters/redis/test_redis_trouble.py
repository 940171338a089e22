"""A server that refuses: each says what it is and what helps, is `Unavailable`, and is over without a new `open`."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kernel_redis import RedisCoordination, RedisResults, RedisSchedules, RedisTransport
from services.redis import control, info, redis_server
from services.server import Server
from support import eventually

from kernel.errors import ConfigError, Unavailable
from kernel.ports import Claim, Outgoing, Parked, Record

Private = tuple[Server, str]
Opened = Callable[..., Any]
#: A server that takes 1 ms for each key that it loads. It answers after every 2 MiB.
SLOW = ("--key-load-delay", "1000")
PORTS = (RedisTransport, RedisResults, RedisCoordination, RedisSchedules)


def writes(opened: Opened, url: str) -> list[Callable[[], Any]]:
    """A call of each port that writes, opened now."""
    transport, results, coordination, schedules = (opened(port, url) for port in PORTS)
    return [
        lambda: transport.send([Outgoing("q", b"x")]),
        lambda: results.put([Record("k", b"v", False, (0, 0, 0))], 60.0),
        lambda: coordination.claim([Claim("k", "me", 60.0)]),
        lambda: schedules.add([Parked("s", "k", 1.0, b"v")]),
    ]


def test_a_full_memory_refuses_what_is_new_and_lets_workers_drain(private: Private, opened: Opened) -> None:
    _, url = private
    transport = opened(RedisTransport, f"{url}?lease=30")
    calls = writes(opened, url)
    transport.declare(["next"])
    transport.send([Outgoing("q", b"%d" % number) for number in range(10)])
    held = transport.receive(["q"], 4, 1.0)
    with control(url) as client:
        client.config_set("maxmemory", 1)
        for call in calls:
            with pytest.raises(Unavailable, match="memory is full: raise maxmemory") as caught:
                call()
            assert caught.value.sent == "no"
        # All that makes room, or keeps what is held from being run twice, goes on.
        assert transport.extend(held, 30.0) == []
        assert transport.release(held[2:]) == []
        assert transport.ack(held[:2]) == []
        again = transport.receive(["q"], 20, 1.0)
        assert [delivery.payload for delivery in again] == [b"%d" % number for number in range(2, 10)]
        assert transport.commit([(again[0], [Outgoing("next", b"of 2")])]) == []
        assert transport.ack(again[1:]) == []
        client.config_set("maxmemory", 0)
    for call in calls:
        call()
    assert [delivery.payload for delivery in transport.receive(["next", "q"], 5, 1.0)] == [b"of 2", b"x"]


def test_a_server_that_became_a_replica_is_read_only_until_it_is_a_master(private: Private, opened: Opened) -> None:
    _, url = private
    transport = opened(RedisTransport, f"{url}?lease=30")
    calls = writes(opened, url)
    transport.send([Outgoing("q", b"kept")])
    with control(url) as client:
        client.config_set("replica-serve-stale-data", "yes")
        client.replicaof("127.0.0.1", "1")
        for call in [*calls, lambda: transport.receive(["q"], 1, 0.0), lambda: transport.receive(["q"], 1, 5.0)]:
            with pytest.raises(Unavailable, match="read-only replica: a failover is under way"):
                call()
        client.replicaof("NO", "ONE")
    assert [delivery.payload for delivery in transport.receive(["q"], 1, 1.0)] == [b"kept"]
    for call in calls:
        call()


def test_a_change_of_roles_ends_a_wait(private: Private, opened: Opened, later: Any) -> None:
    _, url = private
    transport = opened(RedisTransport, url)
    waiting = later(lambda: transport.receive(["q"], 1, 20.0))
    with control(url) as client:
        eventually(lambda: info(url, "clients")["blocked_clients"] == 1)
        client.replicaof("127.0.0.1", "1")
        with pytest.raises(Unavailable, match=r"change of roles|read-only"):
            waiting.result(3.0)
        client.replicaof("NO", "ONE")
    transport.send([Outgoing("q", b"x")])
    assert transport.receive(["q"], 1, 1.0)


def test_a_server_that_loads_is_waited_for(opened: Opened) -> None:
    server, url = redis_server("--rdbcompression", "no")
    try:
        transport = opened(RedisTransport, url)
        transport.send([Outgoing("q", b"kept")])
        with control(url) as client:
            client.mset({f"filler:{number}": "x" * 15_000 for number in range(1500)})
            client.save()
        server.stop()
        again, _ = redis_server("--dir", str(server.directory), *SLOW, port=port_of(url), loaded=False)
        try:
            seen = _errors_until(lambda: transport.receive(["q"], 1, 1.0)[0].payload == b"kept")
            assert any("it is still loading its data" in line for line in seen), seen
            assert all("loading" in line for line in seen), seen
        finally:
            again.close()
    finally:
        server.close()


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2].partition("/")[0])


def _errors_until(call: Callable[[], object]) -> list[str]:
    seen: list[str] = []
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            assert call()
            return seen
        except Unavailable as error:
            seen.append(str(error))
    raise AssertionError(f"no recovery: {seen[-1:]}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB. Only root may have one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount") or "mount"
    made = subprocess.run([mount, "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("a small disk can be mounted by root only")
    yield disk
    subprocess.run([shutil.which("umount") or "umount", "-l", str(disk)], check=True)


@pytest.fixture
def cramped(small_disk: Path) -> Iterator[str]:
    """The URL of a server on that disk."""
    server, url = redis_server("--dir", str(small_disk), "--rdbcompression", "no")
    yield url
    server.close()


def test_a_full_disk_refuses_and_recovers(cramped: str, opened: Opened, small_disk: Path) -> None:
    url = cramped
    calls = writes(opened, url)
    transport = opened(RedisTransport, f"{url}?lease=30")
    transport.send([Outgoing("q", b"kept")])
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(250 * 1024))
    with control(url) as client:
        client.set("big", "x" * 40_000)
        client.config_set("save", "3600 1")  # without a rule nobody cares for a failed save
        client.bgsave()
        eventually(lambda: info(url, "persistence")["rdb_last_bgsave_status"] == "err")
        for call in [*calls, lambda: transport.receive(["q"], 1, 0.0)]:
            with pytest.raises(Unavailable, match="cannot write to its disk: free space there") as caught:
                call()
            assert caught.value.sent == "no"
        ballast.unlink()
        client.bgsave()
        eventually(lambda: info(url, "persistence")["rdb_last_bgsave_status"] == "ok")
    assert [delivery.payload for delivery in transport.receive(["q"], 1, 1.0)] == [b"kept"]
    for call in calls:
        call()


def test_a_frozen_server_is_unavailable_in_time_and_goes_on(private: Private, opened: Opened) -> None:
    server, url = private
    calls = writes(opened, f"{url}?timeout=0.3")
    transport = opened(RedisTransport, f"{url}?timeout=0.3&lease=30")
    fresh = RedisTransport.from_url(f"{url}?timeout=0.3")
    transport.send([Outgoing("q", b"before")])
    server.pause()
    try:
        for call in [
            *calls,
            lambda: transport.receive(["q"], 1, 0.0),
            lambda: transport.receive([], 1, 0.0) or fresh.open(),
        ]:
            started = time.monotonic()
            with pytest.raises(Unavailable):
                call()
            assert time.monotonic() - started < 1.0
        with pytest.raises(Unavailable) as caught:
            transport.send([Outgoing("q", b"?")])
        # A new connection could not even be made ready; on one that was open, nobody knows.
        assert caught.value.sent in ("no", "unknown")
    finally:
        server.resume()
    eventually(lambda: _works(lambda: transport.send([Outgoing("q", b"after")])))
    got = [delivery.payload for delivery in transport.receive(["q"], 10, 1.0)]
    assert {b"before", b"after"} <= set(got)
    for call in calls:
        call()


def test_a_frozen_server_does_not_hold_up_a_wait(private: Private, opened: Opened, later: Any) -> None:
    server, url = private
    transport = opened(RedisTransport, f"{url}?timeout=0.3")
    waiting = later(lambda: transport.receive(["q"], 1, 20.0))
    eventually(lambda: info(url, "clients")["blocked_clients"] == 1)
    server.pause()
    try:
        with pytest.raises(Unavailable):
            waiting.result(5.0)
    finally:
        server.resume()
    transport.send([Outgoing("q", b"x")])
    assert transport.receive(["q"], 1, 1.0)


def _works(call: Callable[[], object]) -> bool:
    try:
        call()
        return True
    except Unavailable:
        return False


# -- passwords ---------------------------------------------------------------------------------------------------


def with_password(url: str, password: str) -> str:
    return url.replace("redis://", f"redis://:{password}@")


@pytest.mark.parametrize("port", PORTS)
def test_a_wrong_password_is_a_mistake_of_configuration(private: Private, port: Any) -> None:
    _, url = private
    with control(url) as client:
        client.config_set("requirepass", "right-one")
    for given in (url, with_password(url, "wrong-one"), url.replace("redis://", "redis://nobody:wrong-one@")):
        adapter = port.from_url(given)
        with pytest.raises(ConfigError, match="refuses the user or password: check those in the URL") as caught:
            adapter.open()
        assert "wrong-one" not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"
        adapter.close()


def test_a_password_that_is_changed_meanwhile_is_waited_for(private: Private, opened: Opened) -> None:
    _, url = private
    with control(url) as client:
        client.config_set("requirepass", "first")
    transport = opened(RedisTransport, with_password(url, "first"))
    with control(with_password(url, "first")) as client:
        client.config_set("requirepass", "second")
    with control(with_password(url, "second")) as client:
        client.client_kill_filter(_type="normal", skipme=True)
        with pytest.raises(Unavailable, match="refuses the user or password"):
            transport.send([Outgoing("q", b"x")])
        client.config_set("requirepass", "first")
    transport.send([Outgoing("q", b"x")])
    assert transport.receive(["q"], 1, 1.0)


# -- settings that lose tasks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("port", PORTS)
def test_a_server_that_throws_tasks_away_is_refused(private: Private, port: Any) -> None:
    _, url = private
    with control(url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        adapter = port.from_url(url)
        with pytest.raises(ConfigError, match=r"throw away tasks .*allkeys-lru.* set it to noeviction"):
            adapter.open()
        client.config_set("maxmemory-policy", "volatile-lru")
    adapter.open()
    adapter.close()
