"""Broadcast channels: a fanout exchange per channel, and a queue of its own for every inbox."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from pika import BasicProperties
from pika.channel import Channel

from kernel.errors import PortError, Unavailable
from kernel.native import Signal
from kernel_rabbitmq.engine import Engine
from kernel_rabbitmq.link import Link
from kernel_rabbitmq.names import checked
from kernel_rabbitmq.publisher import Publisher
from kernel_rabbitmq.steps import Steps
from kernel_rabbitmq.topology import Topology
from kernel_rabbitmq.url import Location

#: Most notices that wait for an inbox, on the broker and in the process; of more, the oldest are dropped.
KEPT: Final = 10_000


class Channels:
    """The channels of one transport, and the inboxes that it has open."""

    def __init__(
        self, engine: Engine, link: Link, topology: Topology, publisher: Publisher, location: Location, wait_for: float
    ) -> None:
        self._engine = engine
        self._link = link
        self._topology = topology
        self._publisher = publisher
        self._prefix = location.prefix
        self._wait_for = wait_for
        self._inboxes: set[RabbitmqInbox] = set()
        link.when_lost(self._lost)

    def publish(self, channel: str, payload: bytes) -> Steps[None]:
        """Hand a copy to every inbox; returns when the broker has it. Runs in the I/O thread."""
        exchange = yield from self._exchange(channel)
        message = (exchange, "", BasicProperties(), payload)
        errors = yield from self._publisher.publish([message], mandatory=False)
        if errors:
            raise errors[0]

    def listen(self, channel: str) -> RabbitmqInbox:
        """Open an inbox."""
        inbox = RabbitmqInbox(self, channel)
        inbox.connect()
        self._inboxes.add(inbox)
        return inbox

    def run(self, steps: Any, what: str) -> None:
        """Run steps of an inbox in the I/O thread."""
        self._engine.call(steps, self._wait_for, what)

    def subscribe(self, inbox: RabbitmqInbox) -> Steps[None]:
        """A queue for an inbox, bound to its channel. It ends with the connection."""
        exchange = yield from self._exchange(inbox.name)
        channel = yield from self._link.channel(lambda _: inbox.lost())
        rpc = self._link.rpc
        arguments = {"x-max-length": KEPT}
        answer = yield from rpc(channel, "queue_declare", "", exclusive=True, auto_delete=True, arguments=arguments)
        queue = answer.method.queue
        yield from rpc(channel, "queue_bind", queue, exchange)
        yield from rpc(channel, "basic_consume", queue, inbox.deliver, auto_ack=True)
        inbox.channel = channel

    def unsubscribe(self, inbox: RabbitmqInbox) -> Steps[None]:
        """End it."""
        self._inboxes.discard(inbox)
        channel, inbox.channel = inbox.channel, None
        if channel is not None and channel.is_open:
            channel.close()
        yield from ()  # a function of the I/O thread, although it does not wait

    def close(self) -> None:
        """End every wait."""
        for inbox in list(self._inboxes):
            inbox.end()

    def _exchange(self, channel: str) -> Steps[str]:
        name = checked(f"{self._prefix}kernel.broadcast.{channel}")

        def make() -> Steps[None]:
            yield from self._topology.rpc("exchange_declare", name, "fanout", durable=True)

        yield from self._topology.remember(f"exchange {name}", make)
        return name

    def _lost(self, reason: BaseException) -> None:
        for inbox in self._inboxes:
            inbox.lost()


class RabbitmqInbox:
    """A listener's own end of a channel; see `kernel.ports.Inbox`.

    After a lost connection the next `get` opens it again; what was published in between is missed. After `close` it is
    empty for ever.
    """

    def __init__(self, channels: Channels, name: str) -> None:
        self.name = name
        #: Of the broker; None while there is no connection.
        self.channel: Channel | None = None
        self._channels = channels
        self._payloads: deque[bytes] = deque(maxlen=KEPT)
        self._signal = Signal()
        self._open = True

    def connect(self) -> None:
        """Subscribe."""
        self._channels.run(lambda: self._channels.subscribe(self), f"listening to {self.name!r}")

    def get(self, timeout: float) -> list[bytes]:
        """Payloads that came since, waiting up to `timeout` seconds for the first."""
        if not self._open:
            return []
        if not self._payloads:
            if self.channel is None:
                self.connect()
            self._signal.wait(timeout)
        self._signal.clear()
        found: list[bytes] = []
        while self._payloads:
            found.append(self._payloads.popleft())
        if not found and self._open and self.channel is None:
            raise Unavailable("RabbitMQ: the connection of an inbox was lost")
        return found

    def close(self) -> None:
        """Stop listening. Idempotent."""
        if self._open:
            self.end()
            try:
                self._channels.run(lambda: self._channels.unsubscribe(self), "closing an inbox")
            except PortError:
                pass  # it ended with its connection

    def end(self) -> None:
        """Nothing is heard any more."""
        self._open = False
        self._payloads.clear()
        self._signal.set()

    def lost(self) -> None:
        """The connection has ended."""
        self.channel = None
        self._signal.set()

    def deliver(self, channel: Channel, method: Any, properties: Any, body: bytes) -> None:
        """A notice has come."""
        self._payloads.append(body)
        self._signal.set()
