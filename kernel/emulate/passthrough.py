"""The decorator that changes nothing: base of those that change one thing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from kernel.errors import Unsupported
from kernel.ports import (
    Broadcasts,
    Commits,
    Delivery,
    Extends,
    Features,
    Inbox,
    Inspects,
    Lists,
    Outgoing,
    Peeks,
    QueueSize,
    Transport,
    Wakes,
)

P = TypeVar("P")


class Passthrough:
    """Every method of the port and of its optional protocols, handed to the inner transport as it is.

    Spelled out rather than forwarded by `__getattr__`, so that a type checker and a reader see what there is. The
    inner transport is open: its features are final. A method that it does not have raises `Unsupported`.
    """

    def __init__(self, inner: Transport, features: Features) -> None:
        self._inner = inner
        self._features = features
        # Asked once: an isinstance check of a protocol costs more than a whole batch.
        self._extends = inner if isinstance(inner, Extends) else None
        self._commits = inner if isinstance(inner, Commits) else None
        self._broadcasts = inner if isinstance(inner, Broadcasts) else None
        self._inspects = inner if isinstance(inner, Inspects) else None
        self._peeks = inner if isinstance(inner, Peeks) else None
        self._lists = inner if isinstance(inner, Lists) else None
        self._wakes = inner if isinstance(inner, Wakes) else None

    @property
    def features(self) -> Features:
        """What the transport can do, with this decorator around it."""
        return self._features

    def open(self) -> None:
        """Open the inner transport. Idempotent."""
        self._inner.open()

    def close(self) -> None:
        """Close the inner transport. Idempotent."""
        self._inner.close()

    def declare(self, queues: Sequence[str]) -> None:
        """Make the queues exist."""
        self._inner.declare(queues)

    def send(self, batch: Sequence[Outgoing]) -> None:
        """Store all messages."""
        self._inner.send(batch)

    def receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        """Take up to `limit` messages."""
        return self._inner.receive(queues, limit, timeout)

    def ack(self, batch: Sequence[Delivery]) -> list[Delivery]:
        """Settle for good; returns those whose lease was lost."""
        return self._inner.ack(batch)

    def release(self, batch: Sequence[Delivery]) -> list[Delivery]:
        """Give back at once; returns those whose lease was lost."""
        return self._inner.release(batch)

    def extend(self, batch: Sequence[Delivery], lease: float) -> list[Delivery]:
        """Hide the messages for `lease` seconds from now; returns those whose lease was lost."""
        return _need(self._extends, "lease").extend(batch, lease)

    def commit(self, batch: Sequence[tuple[Delivery, Sequence[Outgoing]]]) -> list[Delivery]:
        """Publish the sends of each delivery and ack it, as one step; returns those whose lease was lost."""
        return _need(self._commits, "commit").commit(batch)

    def publish(self, channel: str, payload: bytes) -> None:
        """Hand a copy to every inbox of the channel."""
        _need(self._broadcasts, "broadcast").publish(channel, payload)

    def listen(self, channel: str) -> Inbox:
        """Open an inbox."""
        return _need(self._broadcasts, "broadcast").listen(channel)

    def queues(self) -> list[str]:
        """Names of the queues that exist, sorted."""
        return _need(self._lists, "lists").queues()

    def sizes(self, queues: Sequence[str]) -> list[QueueSize]:
        """How full each queue is."""
        return _need(self._inspects, "inspect").sizes(queues)

    def peek(self, queue: str, limit: int) -> list[bytes]:
        """Payloads of ready and delayed messages."""
        return _need(self._peeks, "peek").peek(queue, limit)

    def purge(self, queue: str) -> int:
        """Drop all ready and delayed messages; returns how many."""
        return _need(self._inspects, "inspect").purge(queue)

    def wake(self) -> None:
        """End a blocked `receive`, or the next one."""
        _need(self._wakes, "wake").wake()


def _need(part: P | None, feature: str) -> P:
    if part is None:
        raise Unsupported(f"this transport has no {feature!r}")
    return part
