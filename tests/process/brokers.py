"""Servers of the process tests that are stopped and started while workers run.

There is one of each kind in a process of the suite, because a start takes a node of RabbitMQ as much processor time as
a test does. A test has names of its own on it, and leaves it running.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from kernel_rabbitmq.names import dead_of
from services.rabbitmq import rabbitmq_server, remove
from services.redis import DURABLE, redis_server
from services.server import Server
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


#: Queues of the applications under test.
QUEUES = ("default", "default.dead")
_tests = count()


@cache
def started(name: str) -> tuple[Server, str]:
    """The server of this kind, and its URL. Whoever stops it starts it again; it ends with the session."""
    if name == "redis":
        return redis_server(*DURABLE)
    return rabbitmq_server() if name == "rabbitmq" else sqs_server()


@contextmanager
def broker(name: str, directory: Path) -> Iterator[Broker]:
    """One that is running, with nothing on it that another test has left."""
    if name == "sqlite":
        yield _sqlite(directory)
        return
    server, url = started(name)
    server.start()
    prefix = f"t{os.getpid()}x{next(_tests)}"
    if name == "redis":
        made = Broker(name, f"{url}?lease={LEASE:g}&prefix={prefix}", server.stop, server.start)
    elif name == "rabbitmq":
        made = Broker(name, f"{url}?prefix={prefix}.", server.stop, server.start, stores=False)
    else:
        place = f"{url}&lease={LEASE:g}&prefix={prefix}-"
        made = Broker(name, place, server.stop, server.start, durable=False, stores=False)
        made.environment.update(CREDENTIALS)
    try:
        yield made
    finally:
        server.start()
        if name == "rabbitmq":
            names = {dead for queue in QUEUES for dead in (queue, dead_of(queue)) if dead}
            remove(url, [f"{prefix}.{queue}" for queue in names])


def spread(firsts: Iterable[str], seconds: Iterable[Any], usual: Iterable[tuple[str, Any]]) -> list[Any]:
    """Every pair, as parameters. Those that are not `usual` are `wide`: they show on one more transport or pool what
    the usual ones show."""
    few, others = set(usual), list(seconds)
    return [
        pytest.param(first, second, marks=() if (first, second) in few else pytest.mark.wide)
        for first in firsts
        for second in others
    ]


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
