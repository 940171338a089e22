"""What a RabbitMQ URL may say, without a server."""

from __future__ import annotations

import pytest
from kernel_rabbitmq.delays import LEVELS, UNIT, routing_key, units
from kernel_rabbitmq.names import checked, dead_of, word
from kernel_rabbitmq.url import parse

from kernel.errors import ConfigError, Rejected


def test_everything_of_a_url() -> None:
    location = parse(
        "amqp://ann:s%40cret@one:5673,two/my%2Fhost?queue_type=classic&timeout=2.5&heartbeat=10&consumer_timeout=60"
        "&delivery_limit=500&prefix=app-&prefetch_max=50&priorities=3&arg.x-max-length=7&arg.x-queue-mode=lazy"
    )
    assert location.hosts == (("one", 5673), ("two", 5672))
    assert (location.user, location.password, location.vhost) == ("ann", "s@cret", "my/host")
    assert (location.queue_type, location.timeout, location.heartbeat) == ("classic", 2.5, 10)
    assert (location.consumer_timeout, location.delivery_limit, location.prefix) == (60.0, 500, "app-")
    assert (location.prefetch_max, location.priorities) == (50, 3)
    assert location.arguments == (("x-max-length", 7), ("x-queue-mode", "lazy"))
    assert "cret" not in location.at + repr(location)


def test_what_is_left_out() -> None:
    location = parse("amqps://")
    assert location.hosts == (("localhost", 5671),)
    assert (location.user, location.vhost, location.queue_type, location.tls) == ("guest", "/", "quorum", True)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("amqp://h/?lease=60", "no lease"),
        ("amqp://h/?colour=red", "unknown option 'colour'; known are"),
        ("amqp://h/?queue_type=stream", "quorum or classic"),
        ("amqp://h/?timeout=soon", "timeout is a number"),
        ("amqp://h/?prefetch_max=0", "prefetch_max is a whole number"),
        ("amqp://h/?priorities=5", "queue_type=classic"),
        ("amqp://h/?exchange=mine", "declare=no"),
        ("amqp://h/?routing_key=x&declare=no", "needs exchange"),
        ("amqp://h/?verify=no", "amqps"),
        ("amqps://h/?keyfile=k", "needs certfile"),
        ("amqp://h:port/", "write amqp://"),
        ("amqp://h/a/b", "%2F"),
        ("amqps://h/?cafile=/nowhere.pem", ""),
    ],
)
def test_what_cannot_be(url: str, said: str) -> None:
    if said:
        with pytest.raises(ConfigError, match=said):
            parse(url.replace("amqp://h", "amqp://user:topsecret@h"))
        with pytest.raises(ConfigError) as caught:
            parse(url.replace("://h", "://user:topsecret@h"))
        assert "topsecret" not in str(caught.value)
    else:
        assert parse(url).cafile


def test_names() -> None:
    assert dead_of("mail") == dead_of("mail.p3") == "mail.dead"
    assert dead_of("mail.dead") == dead_of("mail.dead.p1") == ""
    assert len({word(name) for name in ("a.b", "a%2Eb", "a-b", "a_b", "aé", "a" * 300, "a" * 301)}) == 7
    assert not any("." in word(name) or "#" in word(name) or "*" in word(name) for name in ("a.b.c", "#", "*"))
    for name in ("", "x" * 256, "amq.mine", "\udc80"):
        with pytest.raises(Rejected):
            checked(name)


def test_a_delay_is_rounded_up_and_fits_into_a_routing_key() -> None:
    for seconds in (0.0001, 0.125, 0.1251, 1.0, 86400.5, 8_000_000.0):
        assert units(seconds) * UNIT / 1000 >= seconds
        assert units(seconds) * UNIT / 1000 <= seconds + 0.1251
    longest = (1 << LEVELS) - 1
    key = routing_key(longest, "ü" * 120)
    assert len(key.encode()) <= 255
    bits = key.split(".")[:LEVELS]
    assert sum(UNIT << (LEVELS - 1 - at) for at, bit in enumerate(bits) if bit == "1") == longest * UNIT
