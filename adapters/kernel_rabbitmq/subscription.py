"""One consumer of one queue, with what it was given and nobody has asked for yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

from pika.channel import Channel

from kernel.native import monotonic
from kernel.ports import Delivery
from kernel_rabbitmq.steps import Wait


class Receipt:
    """Settles one delivery of one message: its tag, which means something on its own channel only."""

    __slots__ = ("home", "is_settled", "tag")

    def __init__(self, home: Session, tag: int) -> None:
        self.home = home
        self.tag = tag
        self.is_settled = False


class Session:
    """One channel of consumers. A new one knows nothing of what the old one was given: the broker took that back."""

    __slots__ = ("channel", "counts", "getting", "prefetch", "subscriptions", "unsettled")

    def __init__(self, channel: Channel, counts: bool) -> None:
        self.channel = channel
        #: The broker counts deliveries.
        self.counts = counts
        #: The last prefetch that was asked for: the broker applies it to consumers that come after it.
        self.prefetch = 0
        #: The question for a single message that is on its way.
        self.getting = Wait()
        #: By queue.
        self.subscriptions: dict[str, Subscription] = {}
        #: What this channel holds by tag, in the order of delivery; the consumer is None for what was fetched singly.
        self.unsettled: dict[int, Subscription | None] = {}

    def delivery(self, method: Any, properties: Any, body: bytes, queue: str) -> Delivery:
        """What the broker gave us, as the kernel sees it."""
        # Only quorum queues count; the flag is all that others know.
        if self.counts:
            headers = properties.headers
            earlier = int(headers.get("x-delivery-count", 0)) if headers else 0
        else:
            earlier = 1 if method.redelivered else 0
        return Delivery(body, queue, Receipt(self, method.delivery_tag), earlier)


class Subscription:
    """A consumer, from the moment at which it is asked for."""

    __slots__ = (
        "_arrived",
        "_session",
        "began_at",
        "buffer",
        "credit",
        "held",
        "is_live",
        "made",
        "queue",
        "stray",
        "tag",
    )

    def __init__(self, session: Session, queue: str, made: int, credit: int, arrived: Any) -> None:
        self._session = session
        self._arrived = arrived
        self.queue = queue
        #: How often the queue had been declared.
        self.made = made
        #: Monotonic.
        self.began_at = monotonic()
        self.tag = ""
        #: Prefetch: most messages that are out by this consumer.
        self.credit = credit
        #: Messages that are out by this consumer, those in the buffer too.
        self.held = 0
        self.buffer: deque[Delivery] = deque()
        #: The broker pushes to it.
        self.is_live = False
        #: Called with what still comes after the end, which nobody will ask for.
        self.stray: Any = None

    def deliver(self, channel: Channel, method: Any, properties: Any, body: bytes) -> None:
        """A message has come. Hot: called once per message."""
        session = self._session
        session.unsettled[method.delivery_tag] = self
        self.held += 1
        delivery = session.delivery(method, properties, body, self.queue)
        if self.stray is not None:
            self.stray(delivery)
            return
        self.buffer.append(delivery)
        self._arrived()

    @property
    def is_drained(self) -> bool:
        """Whether its queue is known to be empty: it could be given more, and there was nothing."""
        return self.is_live and not self.buffer and self.held < self.credit


def pop(subscription: Subscription, limit: int, found: list[Delivery]) -> None:
    """Move what a consumer was given to `found`, up to `limit` in all."""
    buffer = subscription.buffer
    if len(buffer) <= limit - len(found):
        found += buffer
        buffer.clear()
    else:
        found += [buffer.popleft() for _ in range(limit - len(found))]


def take(session: Session, queues: Iterable[str], limit: int) -> list[Delivery]:
    """What the consumers of these queues were given, in the order of the queues."""
    found: list[Delivery] = []
    for queue in queues:
        subscription = session.subscriptions.get(queue)
        if subscription is not None:
            pop(subscription, limit, found)
    return found
