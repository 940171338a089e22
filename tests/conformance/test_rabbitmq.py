"""The RabbitMQ adapter on real nodes: quorum queues, and classic ones. A namespace is a prefix of names."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import pytest
from kernel_conformance import TransportConformance
from kernel_rabbitmq import RabbitmqTransport
from kernel_rabbitmq.names import dead_of
from kernel_rabbitmq.url import parse
from services.rabbitmq import rabbitmq_server, remove, shared_rabbitmq
from services.server import Server
from support import PAUSE

from kernel.ports import Delivery, Inbox, Outgoing

#: Seconds after which a new queue survives a kill of its node.
SETTLED = 1.5
#: Names that the adapters of a namespace have used: a broker lists its queues by the management plugin only.
USED: dict[str, set[str]] = {}


class Recorded(RabbitmqTransport):
    """The adapter; it takes down the names that it is given, for the one who cleans up."""

    def __init__(self, url: str, namespace: str, options: str = "") -> None:
        super().__init__(parse(f"{url}?prefix={namespace}-{options}"))
        self._used = USED.setdefault(namespace, set())

    def declare(self, queues: Sequence[str]) -> None:
        self._used.update(queues)
        super().declare(queues)

    def send(self, batch: Sequence[Outgoing]) -> None:
        self._used.update(out.queue for out in batch)
        super().send(batch)

    def receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        self._used.update(queues)
        return super().receive(queues, limit, timeout)

    def publish(self, channel: str, payload: bytes) -> None:
        self._used.add(f"kernel.broadcast.{channel}")
        super().publish(channel, payload)

    def listen(self, channel: str) -> Inbox:
        self._used.add(f"kernel.broadcast.{channel}")
        return super().listen(channel)


Recorded.__module__, Recorded.__qualname__ = RabbitmqTransport.__module__, RabbitmqTransport.__qualname__


def clean(url: str, namespace: str) -> None:
    """Delete what a namespace has used."""
    used = USED.pop(namespace, set())
    channels = {name for name in used if name.startswith("kernel.broadcast.")}
    queues = {name for queue in used - channels for name in (queue, dead_of(queue)) if name}
    remove(url, [f"{namespace}-{name}" for name in queues], [f"{namespace}-{name}" for name in channels])


@cache
def own_node() -> tuple[Server, str]:
    """A node that is stopped and killed: the shared one has queues of other tests, which would be new to it."""
    return rabbitmq_server()


class Control:
    """Control of that node."""

    def start(self) -> None:
        own_node()[0].start()

    def stop(self) -> None:
        own_node()[0].stop()

    def kill(self) -> None:
        # A node writes down which log belongs to a new queue when it has not been told of another one for half a
        # second. One that is killed before comes back with the queue and without its messages: docs/rabbitmq.md.
        PAUSE.wait(SETTLED)
        own_node()[0].kill()

    def restart(self) -> None:
        own_node()[0].restart()

    def pause(self) -> None:
        own_node()[0].pause()

    def resume(self) -> None:
        own_node()[0].resume()


class TestQuorum(TransportConformance):
    label = "rabbitmq"
    service = Control()
    #: Seconds. A node needs some of them to have a leader for every queue after a restart.
    patience = 15.0
    url = ""

    @pytest.fixture(autouse=True)
    def _choose(self, request: pytest.FixtureRequest) -> None:
        """Nodes that are ended have few queues: with the logs of hundreds that were deleted, 3.10 does not recover."""
        ended = request.function.__module__.endswith(".serving")
        self.url = own_node()[1] if ended else shared_rabbitmq()

    def make(self, namespace: str) -> RabbitmqTransport:
        return Recorded(self.url or shared_rabbitmq(), namespace)

    def cleanup(self, namespace: str) -> None:
        clean(self.url or shared_rabbitmq(), namespace)


class TestClassic(TransportConformance):
    label = "rabbitmq classic"

    def make(self, namespace: str) -> RabbitmqTransport:
        return Recorded(shared_rabbitmq(), namespace, "&queue_type=classic&priorities=10")

    def cleanup(self, namespace: str) -> None:
        clean(shared_rabbitmq(), namespace)
