"""Servers of the process tests that are stopped and started while workers run."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from services.rabbitmq import rabbitmq_server
from services.redis import DURABLE, redis_server
from services.sqs import CREDENTIALS, sqs_server

from kernel.app import Kernel

#: Lease that workers of these tests ask for, in seconds.
LEASE = 3.0


@dataclass
class Broker:
    """Something to send to and to receive from, which can go away."""

    name: str
    url: str
    stop: Callable[[], None]
    start: Callable[[], None]
    #: What the server is given before it stops is there when it is back.
    durable: bool = True
    #: It keeps results too.
    stores: bool = True
    #: For the environment of whoever uses it.
    environment: dict[str, str] = field(default_factory=dict)


@contextmanager
def broker(name: str, directory: Path) -> Iterator[Broker]:
    """A private one, started."""
    if name == "sqlite":
        yield _sqlite(directory)
        return
    if name == "redis":
        server, url = redis_server(*DURABLE)
        made = Broker(name, f"{url}?lease={LEASE:g}", server.stop, server.start)
    elif name == "rabbitmq":
        server, url = rabbitmq_server()
        made = Broker(name, url, server.stop, server.start, stores=False)
    else:
        server, url = sqs_server()
        made = Broker(name, f"{url}&lease={LEASE:g}", server.stop, server.start, durable=False, stores=False)
        made.environment.update(CREDENTIALS)
    try:
        yield made
    finally:
        server.close()


def _sqlite(directory: Path) -> Broker:
    """A file is away while somebody else writes to it; whoever only looks does not notice, so there is work to take."""
    path = directory / "tasks.db"
    url = f"sqlite:///{path}?lease={LEASE:g}&synchronous=normal"
    holders: list[sqlite3.Connection] = []

    def stop() -> None:
        with Kernel("sender", transport=url) as app:
            app.send_task("noop", countdown=1.0)
        holders.append(sqlite3.connect(path, isolation_level=None, timeout=30.0, check_same_thread=False))
        holders[-1].execute("BEGIN EXCLUSIVE")

    def start() -> None:
        while holders:
            holders.pop().close()

    return Broker("sqlite", f"{url}&timeout=0.2", stop, start)
