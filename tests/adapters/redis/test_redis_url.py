"""What a URL may say, what it may not, and that no message shows a password."""

from __future__ import annotations

from typing import Any

import pytest
from kernel_redis import RedisCoordination, RedisResults, RedisSchedules, RedisTransport
from kernel_redis.faults import Refused, translate
from kernel_redis.server import examined
from kernel_redis.url import Location, parse

from kernel.errors import ConfigError, Rejected, Unavailable


@pytest.mark.parametrize(
    ("url", "facts"),
    [
        ("redis://", {"kind": "server", "addresses": (("localhost", 6379),), "database": 0, "tls": False}),
        ("redis://h:1/3", {"addresses": (("h", 1),), "database": 3}),
        ("redis://h?database=3", {"database": 3}),
        ("redis://h/?", {"database": 0}),
        ("redis://[::1]:7", {"addresses": (("::1", 7),)}),
        ("valkey://h", {"kind": "server", "tls": False}),
        ("rediss://h", {"tls": True, "verify": True}),
        ("valkeys://h?verify=no", {"tls": True, "verify": False}),
        ("redis://me:p%40ss%2Fword@h", {"username": "me", "password": "p@ss/word"}),
        ("redis://:secret@h", {"username": None, "password": "secret"}),
        ("redis+unix:///run/a@b.sock?database=2", {"kind": "unix", "path": "/run/a@b.sock", "database": 2}),
        ("redis+unix://me:secret@/run/r.sock", {"username": "me", "password": "secret", "path": "/run/r.sock"}),
        (
            "redis+sentinel://a,b:1/main/4?sentinel_user=s&sentinel_password=t",
            {
                "kind": "sentinel",
                "addresses": (("a", 26379), ("b", 1)),
                "service": "main",
                "database": 4,
                "sentinel_user": "s",
                "sentinel_password": "t",
            },
        ),
        ("rediss+sentinel://a/main", {"kind": "sentinel", "tls": True}),
        ("redis+cluster://a,b:7", {"kind": "cluster", "addresses": (("a", 6379), ("b", 7))}),
        ("rediss+cluster://a/0", {"kind": "cluster", "tls": True, "database": 0}),
        (
            "redis://h?lease=2.5&timeout=1&aging=9&prefix=p&cafile=/a&certfile=/b&keyfile=/c",
            {"lease": 2.5, "timeout": 1, "aging": 9, "prefix": "p", "cafile": "/a", "certfile": "/b", "keyfile": "/c"},
        ),
    ],
)
def test_what_a_url_says(url: str, facts: dict[str, Any]) -> None:
    location = parse(url)
    assert {name: getattr(location, name) for name in facts} == facts


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://h", "write redis://host:port/database"),
        ("redis://h#there", "write redis://host:port/database"),
        ("redis://h/one", "the database is one number"),
        ("redis://h/²", "the database is one number"),
        ("redis://h/1/2", "the database is one number"),
        ("redis://h/1?database=1", "the database is one number"),
        ("redis+cluster://h/1", "a cluster has only 0"),
        ("redis+unix://h/run.sock", "write redis+unix:///path/of/the.sock"),
        ("redis+unix://", "write redis+unix:///path/of/the.sock"),
        ("redis+sentinel://h", "name the service"),
        ("redis://h:port", "'h:port' is no host:port"),
        ("redis://h:99999", "is no host:port"),
        ("redis://[::1", "no host is named like this"),
        ("redis://h?leese=1", "unknown option 'leese', did you mean 'lease'"),
        ("redis://h?password=secret", "unknown option 'password'"),
        ("redis://h?prefix=", "prefix= is empty"),
        ("redis://h?verify=maybe", "verify is yes or no, not 'maybe'"),
        ("redis://h?prefix={a}", "no braces in the prefix"),
        *(
            (f"redis://h?{name}={text}", f"{name} is a number of seconds of at least 0.001")
            for name, text in (
                ("lease", "0"),
                ("lease", "-1"),
                ("timeout", "soon"),
                ("aging", "nan"),
                ("lease", "inf"),
            )
        ),
    ],
)
def test_what_a_url_may_not_say(url: str, told: str) -> None:
    for port in (RedisTransport, RedisResults, RedisCoordination, RedisSchedules):
        with pytest.raises(ConfigError) as caught:
            port.from_url(url)
        assert told in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://me:secret@h",
        "redis://me:secret@h/one",
        "redis://me:secret@h:port",
        "redis://me:secret@[::1",
        "redis://me:secret@h#x",
        "redis://me:secret@h?lease=0",
        "redis://h?sentinel_password=secret&lease=0",
        "redis://h?sentinel_password=a#secret",
        # Characters that end the part of a URL in which a password stands.
        "redis://me:/secret@h",
        "redis://me:secret/@h",
        "redis://:secret?@h",
        "redis://:?secret@h",
        "redis://:secret#@h",
        "redis://me:sec@ret/secret@h",
        "redis+sentinel://me:sec/secret@h",
    ],
)
def test_no_refusal_shows_a_password(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(url)
    assert "secret" not in f"{caught.value!r} {caught.value.__cause__!r}"
    assert caught.value.__suppress_context__ or "secret" not in repr(caught.value.__context__)


def test_no_repr_shows_a_password() -> None:
    url = "redis+sentinel://me:secret@h/main?sentinel_password=secret"
    location = parse(url)
    adapter = RedisTransport.from_url(url)
    assert "secret" not in f"{location!r} {location.shown} {adapter!r} {adapter._client!r} {adapter.__dict__!r}"
    adapter.close()


# -- what a server says --------------------------------------------------------------------------------------------


class Said:
    """In the place of a link: a server that says this of itself."""

    def __init__(self, **info: object) -> None:
        self._info = "".join(f"{name}:{value}\r\n" for name, value in info.items()).encode()

    def call(self, *parts: str) -> Any:
        if parts == ("INFO",):
            return self._info
        raise Refused("NOPERM this user has no permissions to run the 'config|get' command")


@pytest.mark.parametrize("version", ["6.0.16", "5.0.7", "2.8", "0"])
def test_an_old_server_is_refused(version: str) -> None:
    said: Any = Said(redis_version=version)
    with pytest.raises(ConfigError, match=f"is version {version}: 6.2 or newer is needed"):
        examined(said, Location())


@pytest.mark.parametrize("version", ["6.2.0", "7.0-rc1", "7.2.4", "10.0", "255.255.255"])
def test_others_are_taken_and_claim_the_least_where_one_may_not_look(version: str) -> None:
    said: Any = Said(redis_version=version, aof_enabled=1)
    server = examined(said, Location())
    assert (server.version, server.survives) == (version, "process")


def test_a_url_of_another_kind_is_refused() -> None:
    node: Any = Said(redis_version="7.0.0", cluster_enabled=1)
    with pytest.raises(ConfigError, match="is a node of a cluster: write redis\\+cluster://"):
        examined(node, Location())
    alone: Any = Said(redis_version="7.0.0", cluster_enabled=0)
    with pytest.raises(ConfigError, match="is no node of a cluster: write redis://"):
        examined(alone, Location(kind="cluster"))


@pytest.mark.parametrize("code", ["OOM", "READONLY", "MISCONF", "NOREPLICAS"])
def test_an_error_within_a_script_of_6_2_is_read(code: str) -> None:
    """That version puts a text around the error; later ones pass it on."""
    text = (
        f"ERR Error running script (call to f_a8d1dfcf): @user_script:24: @user_script: 24: -{code} Whatever it says."
    )
    assert isinstance(translate(Refused(text), "h:1", "no"), Unavailable)
    assert isinstance(translate(Refused(f"{code} Whatever it says."), "h:1", "no"), Unavailable)
    assert isinstance(
        translate(Refused("ERR Error running script: user_script:1: no -such thing"), "h:1", "no"), Rejected
    )
