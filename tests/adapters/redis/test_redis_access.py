"""How a server is reached: TLS, a user with few rights, a Unix socket, Sentinel."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kernel_redis import RedisCoordination, RedisResults, RedisSchedules, RedisTransport
from kernel_redis.scripts import _TEXTS as TEXTS
from services.redis import Pair, control, socket_server, tls_server
from services.server import Server
from support import eventually

from kernel.errors import ConfigError, Rejected, Unavailable
from kernel.ports import Acquire, Claim, Outgoing, Parked, Record, Take, Tally

Private = tuple[Server, str]
Opened = Callable[..., Any]
PAGE = Path(__file__).parents[3] / "docs/redis.md"


def everything(opened: Opened, url: str) -> None:
    """Every call of every port, once."""
    transport = opened(RedisTransport, url)
    facts, schedules, results = (opened(port, url) for port in (RedisCoordination, RedisSchedules, RedisResults))
    transport.send([Outgoing("q", b"1"), Outgoing("q", b"2"), Outgoing("q", b"3")])
    transport.send([Outgoing("q", b"later", not_before=4e9, dedup_key="k")])
    assert transport.receive(["other"], 1, 0.1) == []
    held = transport.receive(["q"], 3, 1.0)
    assert transport.extend(held, 60.0) == transport.release(held[2:]) == transport.ack(held[:1]) == []
    if transport.features.commit:
        assert transport.commit([(held[1], [Outgoing("q", b"next")])]) == []
    assert transport.queues() == ["other", "q"]
    assert transport.sizes(["q"])[0].delayed == 1
    assert transport.peek("q", 1) == [b"3"]
    assert transport.purge("q") > 0
    inbox = transport.listen("news")
    transport.publish("news", b"x")
    assert inbox.get(5.0) == [b"x"]
    results.put([Record("k", b"v", True, (0, 0, 0))], 60.0)
    assert results.wait(["k"], 5.0) == results.get(["k"]) == [b"v"]
    results.delete(["k"])
    facts.claim([Claim("k", "me", 60)])
    facts.tally([Tally("k", "me", 60)])
    facts.take([Take("k", 1, 1, 9)])
    facts.acquire([Acquire("k", "me", 1, 60)])
    facts.drop([("k", "me")])
    facts.release([("k", "me")])
    schedules.add([Parked("s", "k", 1.0, b"")])
    schedules.remove(schedules.take("s", 9.0, 1, 60.0))
    assert schedules.next_at("s") is None


def test_a_unix_socket(opened: Opened) -> None:
    server, url = socket_server()
    everything(opened, f"{url}?database=3")
    server.stop()
    with pytest.raises(Unavailable, match=r"redis\.sock"):
        opened(RedisTransport, url)
    server.close()


# -- TLS ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tls() -> Iterator[Private]:
    """A server with a certificate of an authority that nobody knows but the test."""
    try:
        server, url = tls_server()
    except AssertionError as error:
        if "tls" in str(error).lower():
            pytest.skip("this server is built without TLS")
        raise
    yield server, url
    server.close()


def test_tls_with_the_right_authority(tls: Private, opened: Opened) -> None:
    server, url = tls
    everything(opened, f"{url}?cafile={server.directory}/ca.pem")
    everything(opened, f"{url}?verify=no&prefix=unverified")
    big = RedisTransport.from_url(f"{url}?cafile={server.directory}/ca.pem")
    big.send([Outgoing("big", bytes(1_000_000)) for _ in range(5)])
    assert len(big.receive(["big"], 5, 1.0)) == 5
    big.close()


@pytest.mark.parametrize("file", ["", "other.pem"])
def test_tls_with_a_wrong_authority_is_a_mistake_of_configuration(tls: Private, opened: Opened, file: str) -> None:
    server, url = tls
    with pytest.raises(ConfigError, match=r"certificate .* is not trusted: .*cafile="):
        opened(RedisTransport, f"{url}?cafile={server.directory}/{file}" if file else url)


def test_tls_with_a_file_that_is_not_there(tls: Private, opened: Opened) -> None:
    _, url = tls
    for name in ("cafile", "certfile", "keyfile"):
        with pytest.raises(ConfigError, match=rf"{name}=.*/no/such.pem cannot be read"):
            opened(RedisTransport, f"{url}?{name}=/no/such.pem")


def test_tls_for_another_name_is_a_mistake_of_configuration(tls: Private, opened: Opened) -> None:
    server, url = tls
    with pytest.raises(ConfigError, match=r"certificate .* is not trusted"):
        opened(RedisTransport, f"{url.replace('127.0.0.1', 'localhost')}?cafile={server.directory}/ca.pem")


def test_tls_where_none_is_spoken_and_the_other_way_round(tls: Private, private: Private, opened: Opened) -> None:
    with pytest.raises(Unavailable):
        opened(RedisTransport, private[1].replace("redis://", "rediss://") + "?timeout=1")
    with pytest.raises(Unavailable):
        opened(RedisTransport, tls[1].replace("rediss://", "redis://") + "?timeout=1")


# -- a user of its own -------------------------------------------------------------------------------------------


def documented() -> list[str]:
    """The rights that the page of the docs lists."""
    found = re.search(r"ACL SETUSER kernel on '>secret' ([^`]*?)\n```", PAGE.read_text("utf-8"))
    assert found
    return re.sub(r"\\\n", " ", found[1]).split()


def as_dict(answer: Any) -> dict[bytes, Any]:
    return answer if isinstance(answer, dict) else dict(zip(answer[::2], answer[1::2], strict=True))


def with_user(url: str) -> str:
    return url.replace("redis://", "redis://kernel:secret@")


def test_a_user_needs_the_rights_that_the_page_lists_and_no_others(private: Private, opened: Opened) -> None:
    _, url = private
    rights = documented()
    with control(url) as client:
        client.execute_command("ACL", "SETUSER", "kernel", "reset", "on", ">secret", *rights)
        everything(opened, with_user(url))
        opened(RedisTransport, with_user(url)).receive(["q"], 1, 0.1)
        denied = [entry[b"object"] for entry in map(as_dict, client.execute_command("ACL", "LOG"))]
        assert set(denied) <= {b"client"}  # redis-py tells its name, where it may


def used() -> list[str]:
    """The commands that the scripts use."""
    return sorted({name for text in TEXTS.values() for name in re.findall(r"\bcall\('([A-Z]+)'", text)})


@pytest.mark.parametrize("name", [*used(), "EVALSHA", "INFO"])
def test_a_right_that_is_missing_is_named_before_a_script_stops_half_way(
    private: Private, opened: Opened, name: str
) -> None:
    _, url = private
    with control(url) as client:
        rights = [*documented(), f"-{name.lower()}"]
        client.execute_command("ACL", "SETUSER", "kernel", "reset", "on", ">secret", *rights)
        for port in (RedisTransport, RedisResults, RedisCoordination, RedisSchedules):
            with pytest.raises(ConfigError, match=r"its user may not do this .*see ACL SETUSER") as caught:
                opened(port, with_user(url))
            assert name in str(caught.value).upper()
            assert "secret" not in str(caught.value)


def test_a_right_that_is_taken_away_later_is_named(private: Private, opened: Opened) -> None:
    _, url = private
    with control(url) as client:
        client.execute_command("ACL", "SETUSER", "kernel", "reset", "on", ">secret", *documented())
        transport = opened(RedisTransport, with_user(url))
        for given in ("-rpush", "-evalsha"):
            client.execute_command("ACL", "SETUSER", "kernel", given)
            with pytest.raises(Rejected, match=r"its user may not do this .*see ACL SETUSER"):
                transport.send([Outgoing("q", b"x")])
        client.execute_command("ACL", "SETUSER", "kernel", "+rpush", "+evalsha")
        transport.send([Outgoing("q", b"x")])


def test_a_user_that_may_not_touch_these_keys(private: Private, opened: Opened) -> None:
    _, url = private
    with control(url) as client:
        client.execute_command(
            "ACL", "SETUSER", "kernel", "reset", "on", ">secret", "+@all", "~other:*", "resetchannels", "&other:*"
        )
    with pytest.raises(ConfigError, match="its user may not do this"):
        opened(RedisTransport, with_user(url))
    everything(opened, f"{with_user(url)}?prefix=other")


# -- Sentinel ----------------------------------------------------------------------------------------------------


@pytest.mark.timeout(90)
def test_a_failover_needs_no_new_adapter(opened: Opened, later: Any) -> None:
    pair = Pair()
    try:
        everything(opened, pair.url)
        transport = opened(RedisTransport, f"{pair.url}?lease=30")
        results = opened(RedisResults, pair.url)
        inbox = transport.listen("news")
        assert results.wait(["k"], 0.0) == [None]
        transport.send([Outgoing("q", b"%d" % number) for number in range(5)])
        held = transport.receive(["q"], 2, 1.0)
        waiting = later(lambda: transport.receive(["empty"], 1, 30.0))
        with control(pair.master_url) as client:
            client.wait(1, 5000)  # copied: what is not yet is lost with the master
        pair.master.kill()
        with pytest.raises(Unavailable):
            waiting.result(5.0)
        with pytest.raises(Unavailable):
            transport.send([Outgoing("q", b"x")])
        pair.await_promotion()
        eventually(lambda: works(lambda: transport.send([Outgoing("q", b"after")])))
        assert transport.ack(held) == []
        assert [delivery.payload for delivery in transport.receive(["q"], 9, 1.0)] == [b"2", b"3", b"4", b"after"]
        eventually(lambda: works(lambda: results.put([Record("k", b"v", True, (0, 0, 0))], 60.0)))
        eventually(lambda: works(lambda: results.wait(["k"], 0.5)))
        assert results.wait(["k"], 5.0) == [b"v"]
        eventually(lambda: works(lambda: inbox.get(0.0)))
        transport.publish("news", b"x")
        assert inbox.get(5.0) == [b"x"]
    finally:
        pair.close()


def works(call: Callable[[], object]) -> bool:
    try:
        call()
        return True
    except Unavailable:
        return False


def test_a_service_that_no_sentinel_knows(private: Private, opened: Opened) -> None:
    _, url = private
    address = url.removeprefix("redis://").partition("/")[0]
    with pytest.raises((Unavailable, ConfigError), match=f"no Sentinel names a master of 'main': {address}"):
        opened(RedisTransport, f"redis+sentinel://{address}/main")
