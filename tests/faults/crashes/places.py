"""Where the crash points are tried: a transport and the other three ports, what they can do, and the server behind."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
from services.rabbitmq import rabbitmq_server
from services.redis import redis_server
from services.sqs import CREDENTIALS, sqs_server


class Urls(msgspec.Struct, frozen=True):
    """The ports of one case."""

    transport: str
    results: str
    coordination: str
    schedules: str = ""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of system, as data: it crosses to the process that forks the cases."""

    name: str
    #: As `faults.crashes.points.expected` takes them.
    traits: frozenset[str]
    #: Seconds for which a message is hidden after its holder died; of a connection, how long its loss is noticed late.
    lease: float
    #: URLs with {folder} and {tag} in them, for what is a case's own.
    urls: Urls
    #: The transport can count all that it has.
    sized: bool = False
    #: Features that its transport does not claim here, so that the emulation of them is tried.
    changes: dict[str, Any] = {}
    #: Whether it counts deliveries exactly, and so fences results.
    counts: bool = True
    #: Whether giving back counts as a delivery.
    release_counts: bool = False
    #: A case takes over the queues of an earlier one that ended well: making new ones is what takes the time.
    reuses: bool = False
    #: Cases at a time.
    lanes: int = 14

    def of(self, folder: Path, tag: str) -> Urls:
        """The URLs of one case."""
        return Urls(*[text.format(folder=folder, tag=tag) for text in msgspec.structs.astuple(self.urls)])


def _file(name: str, options: str = "") -> str:
    return "sqlite:///{folder}/" + name + options


@contextmanager
def sqlite() -> Iterator[Place]:
    """One file for all ports."""
    url = _file("tasks.db", "?lease=1")
    traits = frozenset({"commit", "lease", "native"})
    yield Place(name="sqlite", traits=traits, lease=1.0, urls=Urls(url, url, url), sized=True)


@contextmanager
def bare() -> Iterator[Place]:
    """A transport that claims little more than the seven methods, so that the kernel does the rest in steps.

    It is the SQLite one with fewer claims: no commit, no priorities, no delay, and messages are held for 3 s at most.
    """
    url = _file("tasks.db", "?lease=1")
    changes = {"commit": False, "priorities": 0, "delay": 0.0, "lease_total": 3.0}
    traits = frozenset({"steps", "lease", "parked", "handed"})
    yield Place(
        name="bare", traits=traits, lease=1.0, urls=Urls(url, url, url, url), sized=True, changes=changes
    )  # fmt: skip


@contextmanager
def redis() -> Iterator[Place]:
    """One server for all ports; a prefix for each case. It is not killed here, so it need not write to a disk."""
    server, address = redis_server()
    url = address + "?lease=1&prefix={tag}"
    traits = frozenset({"commit", "lease", "native"})
    try:
        yield Place(name="redis", traits=traits, lease=1.0, urls=Urls(url, url, url), sized=True)
    finally:
        server.close()


@contextmanager
def rabbitmq() -> Iterator[Place]:
    """Quorum queues, with results and coordination in a file of each case. A lost connection gives everything back."""
    server, address = rabbitmq_server()
    url = address + "?heartbeat=1&consumer_timeout=3&prefix={tag}."
    file = _file("results.db")
    try:
        yield Place(
            name="rabbitmq",
            traits=frozenset({"steps", "native", "handed", "amqp"}),
            lease=3.0,
            urls=Urls(url, file, file),
            release_counts=True,
            reuses=True,
            lanes=6,
        )
    finally:
        server.close()


@contextmanager
def sqs() -> Iterator[Place]:
    """Standard queues of a local server, with results and coordination in a file of each case."""
    before = {name: os.environ.get(name) for name in CREDENTIALS}
    os.environ.update(CREDENTIALS)
    server, address = sqs_server()
    url = address + "&lease=2&wait=1&prefix={tag}-"
    traits = frozenset({"steps", "lease", "native"})
    file = _file("results.db")
    try:
        yield Place(
            name="sqs", traits=traits, lease=2.0, urls=Urls(url, file, file), counts=False, release_counts=True, lanes=8
        )  # fmt: skip
    finally:
        server.close()
        for name, text in before.items():
            os.environ.pop(name) if text is None else os.environ.update({name: text})


PLACES: Final[Mapping[str, Callable[[], AbstractContextManager[Place]]]] = {
    "sqlite": sqlite,
    "bare": bare,
    "redis": redis,
    "rabbitmq": rabbitmq,
    "sqs": sqs,
}
