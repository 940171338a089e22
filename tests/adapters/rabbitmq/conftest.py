"""A node that the tests of one module may stop, and queues of their own on the shared one."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pika
import pytest
from kernel_rabbitmq import RabbitmqTransport
from services.rabbitmq import rabbitmq_server, shared_rabbitmq
from services.server import Server

#: Makes an open transport; options of the URL are given as one text.
Opens = Callable[..., RabbitmqTransport]


@pytest.fixture(scope="module")
def node() -> Iterator[tuple[Server, str]]:
    """A node of this module, and its URL."""
    server, url = rabbitmq_server()
    yield server, url
    server.close()


@pytest.fixture
def opens() -> Iterator[Opens]:
    """Opens transports that are closed at the end of the test."""
    with ExitStack() as stack:

        def make(url: str, options: str = "") -> RabbitmqTransport:
            transport = RabbitmqTransport.from_url(f"{url}?{options}")
            stack.callback(transport.close)
            transport.open()
            return transport

        yield make


@pytest.fixture
def names() -> Iterator[str]:
    """A prefix; queues of the shared node that begin with it, one letter each, are deleted."""
    prefix = f"t{uuid.uuid4().hex[:10]}-"
    yield prefix
    with bare(shared_rabbitmq()) as channel:
        for letter in "abq":
            for tail in ("", ".dead"):
                channel.queue_delete(f"{prefix}{letter}{tail}")


class bare:  # noqa: N801 - reads as a function: `with bare(url) as channel`
    """A channel without an adapter around it: what somebody else does to the broker."""

    def __init__(self, url: str) -> None:
        self._connection = pika.BlockingConnection(pika.URLParameters(f"{url}%2F"))

    def __enter__(self) -> pika.adapters.blocking_connection.BlockingChannel:
        return self._connection.channel()

    def __exit__(self, *_: object) -> None:
        self._connection.close()
