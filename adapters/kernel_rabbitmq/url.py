"""What a RabbitMQ URL says: `amqp://user:password@host:5672,other:5672/vhost`, and a few options."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote, urlsplit

from kernel.errors import ConfigError
from kernel.ports.query import Query

QueueType = Literal["quorum", "classic"]

#: Ports of the protocol without and with TLS.
PORT, TLS_PORT = 5672, 5671


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """A broker and how to use it."""

    #: Tried in this order until one answers.
    hosts: tuple[tuple[str, int], ...]
    user: str = "guest"
    password: str = field(default="guest", repr=False)
    vhost: str = "/"
    tls: bool = False
    #: "quorum": replicated, flushed before a send is confirmed. "classic": one node.
    queue_type: QueueType = "quorum"
    #: Seconds that a call waits for the broker before it is `Unavailable`.
    timeout: float = 5.0
    #: Seconds between two heartbeats; a peer that misses two is gone. 0: none.
    heartbeat: int = 30
    #: What the broker is configured with, in seconds: it closes the channel of who holds a message longer.
    consumer_timeout: float = 1800.0
    #: Deliveries after which the broker itself moves a message of a quorum queue to the dead letters.
    delivery_limit: int = 1_000_000
    #: Put before every name on the broker.
    prefix: str = ""
    #: Whether queues are made here. Without, they must be there.
    declare: bool = True
    #: Exchange that messages are published to; "" is the one that leads to a queue by its name.
    exchange: str = ""
    #: Routing key of a message; "{queue}" in it stands for the queue.
    routing_key: str = "{queue}"
    #: Most messages that wait in this process for one queue.
    prefetch_max: int = 1000
    #: Native priorities of classic queues, 0 to 10: so many levels.
    priorities: int = 0
    #: TLS: files in PEM format, and whether the certificate of the broker is verified.
    cafile: str = ""
    certfile: str = ""
    keyfile: str = ""
    verify: bool = True
    #: More arguments of the queues that are made here, `arg.x-max-length=1000` in the URL.
    arguments: tuple[tuple[str, str | int], ...] = ()

    @property
    def at(self) -> str:
        """The broker for messages: without the password."""
        names = ",".join(f"{host}:{port}" for host, port in self.hosts)
        return f"{'amqps' if self.tls else 'amqp'}://{self.user}@{names}/{'' if self.vhost == '/' else self.vhost}"


_QUEUE_TYPES: dict[str, QueueType] = {"quorum": "quorum", "classic": "classic"}


def parse(url: str) -> Location:
    """Read a RabbitMQ URL; `ConfigError` names what is wrong with it, and never the password."""
    try:
        parts = urlsplit(url)
        tls = parts.scheme == "amqps"
        userinfo, _, places = parts.netloc.rpartition("@")
        hosts = tuple(_host(place, TLS_PORT if tls else PORT) for place in (places or "localhost").split(","))
    except ValueError:  # whose message shows what was taken for a port, which may be the end of a password
        raise ConfigError(
            "RabbitMQ URL: no port, or brackets that do not match; write amqp://user:password@host:5672/vhost, with "
            "@ as %40 and / ? # in a user or password as %2F %3F %23"
        ) from None
    shown = f"{parts.scheme}://{places}{parts.path}"
    if parts.scheme not in ("amqp", "amqps") or parts.fragment or "/" in parts.path[1:]:
        raise ConfigError(f"{shown}: write amqp://user:password@host:5672/vhost (a / in the vhost is %2F)")
    user, _, password = userinfo.partition(":")
    options = Query(shown, parts.query)
    if "lease" in options:
        raise options.wrong(
            "RabbitMQ has no lease: a message is held as long as its connection lives. Leave out lease, and the "
            "setting worker.lease; consumer_timeout says how long the broker lets a message be held"
        )
    location = Location(
        hosts=hosts,
        tls=tls,
        user=unquote(user) if user else "guest",
        password=unquote(password) if userinfo else "guest",
        vhost=unquote(parts.path[1:]) or "/",
        queue_type=options.choice("queue_type", "quorum", _QUEUE_TYPES),
        timeout=options.seconds("timeout", 5.0, 0.1, 3600.0),
        heartbeat=options.number("heartbeat", 30, 0, 65535),
        consumer_timeout=options.seconds("consumer_timeout", 1800.0, 1.0),
        delivery_limit=options.number("delivery_limit", 1_000_000, 1, 1_000_000_000),
        prefix=options.text("prefix"),
        declare=options.flag("declare", default=True),
        exchange=options.text("exchange"),
        routing_key=options.text("routing_key", "{queue}"),
        prefetch_max=options.number("prefetch_max", 1000, 1, 65535),
        priorities=options.number("priorities", 0, 0, 10),
        cafile=options.text("cafile"),
        certfile=options.text("certfile"),
        keyfile=options.text("keyfile"),
        verify=options.flag("verify", default=True),
        arguments=tuple(
            (name, int(text) if text.lstrip("-").isdigit() else text)
            for name, text in options.group("arg", "arg.<name of a queue argument>=value").items()
        ),
    )
    options.finish()
    return _checked(shown, location)


def _checked(shown: str, location: Location) -> Location:
    if location.priorities and location.queue_type == "quorum":
        raise ConfigError(f"{shown}: priorities need queue_type=classic; with quorum queues kernel has one per level")
    if location.exchange and location.declare:
        raise ConfigError(f"{shown}: exchange needs declare=no: nobody here could bind the queues to it")
    if location.routing_key != "{queue}" and not location.exchange:
        raise ConfigError(f"{shown}: routing_key needs exchange")
    if location.keyfile and not location.certfile:
        raise ConfigError(f"{shown}: keyfile needs certfile")
    if not location.tls and (location.cafile or location.certfile or not location.verify):
        raise ConfigError(f"{shown}: cafile, certfile, keyfile and verify need amqps://")
    return location


def _host(text: str, port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    return parts.hostname or "localhost", parts.port or port
