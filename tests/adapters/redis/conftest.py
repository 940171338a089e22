"""Servers and adapters of the Redis tests. What a test breaks, it breaks on a server of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis
from services.redis import control, redis_server, shared_redis
from services.server import Server

Private = tuple[Server, str]
Opened = Callable[..., Any]


@pytest.fixture
def prefix() -> str:
    """A part of the keys that no other test has."""
    return f"t{uuid4().hex[:12]}"


@pytest.fixture
def url(prefix: str) -> str:
    """A namespace of the server that tests share."""
    return f"{shared_redis()}?prefix={prefix}&lease=0.3&timeout=5"


@pytest.fixture
def raw() -> Iterator[Redis]:
    """The test's own client of the server that tests share."""
    with control(shared_redis()) as client:
        yield client


@pytest.fixture
def private() -> Iterator[Private]:
    """A server that belongs to the test, and its URL. It writes nothing to the disk."""
    server, url = redis_server()
    yield server, url
    server.close()


@pytest.fixture
def opened() -> Iterator[Opened]:
    """`opened(RedisTransport, url)`: made, opened, and closed at the end, also when the test fails."""
    adapters: list[Any] = []

    def opener(kind: Any, url: str) -> Any:
        adapter = kind.from_url(url)
        adapters.append(adapter)
        adapter.open()
        return adapter

    yield opener
    for adapter in adapters:
        adapter.close()


@pytest.fixture
def later() -> Iterator[Callable[[Callable[[], Any]], Future[Any]]]:
    """Calls a function on a thread of its own, now; its outcome is a future."""
    threads: list[threading.Thread] = []

    def call(function: Callable[[], Any]) -> Future[Any]:
        future: Future[Any] = Future()

        def run() -> None:
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(error)

        threads.append(threading.Thread(target=run, daemon=True))
        threads[-1].start()
        return future

    yield call
    for thread in threads:
        thread.join(10.0)


class Monitor:
    """The commands of clients, as a server saw them: what it was sent over the network, not what scripts ran."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client = control(url)

    def during(self, what: Callable[[], object]) -> list[list[str]]:
        """The commands, in upper case and split into words, that came while `what` ran."""
        with self._client.monitor() as monitor:
            what()
            mark = f"mark {uuid4().hex}"
            with control(self._url) as client:
                client.echo(mark)
            found: list[list[str]] = []
            for told in monitor.listen():
                if mark in told["command"]:
                    break
                if told["client_type"] != "lua":
                    found.append(told["command"].split(" "))
        ours = ("HELLO", "CLIENT", "PING", "SELECT", "INFO", "ECHO")  # also shaking hands is no work
        return [[words[0].upper(), *words[1:]] for words in found if words[0].upper() not in ours]

    def close(self) -> None:
        self._client.close()


@pytest.fixture
def monitor(private: Private) -> Iterator[Monitor]:
    """What is sent to the private server."""
    watching = Monitor(private[1])
    yield watching
    watching.close()
