"""The bench of the transport tests: sending, draining, and losing a lease in as few words as possible."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

import pytest

from kernel.errors import PartialSend, Rejected, Unsupported
from kernel.ports import (
    Broadcasts,
    Commits,
    Delivery,
    Extends,
    Features,
    Inspects,
    Lists,
    Outgoing,
    Peeks,
    QueueSize,
    Transport,
    Wakes,
)
from kernel_conformance.bench import Bench, not_proven

#: The queue of most tests.
QUEUE = "work"
OTHER = "other"


class FullTransport(Transport, Extends, Commits, Broadcasts, Inspects, Peeks, Lists, Wakes, Protocol):
    """A transport with every optional method, so that tests can name them; the abilities say which are there."""


class TransportBench(Bench[FullTransport]):
    """Transports of one namespace."""

    @property
    def f(self) -> Features:
        """The claims of the adapter."""
        return cast(Features, self.features)

    def send(self, *payloads: bytes, queue: str = QUEUE, **attributes: Any) -> None:
        """Send payloads with equal attributes by the first adapter."""
        self.first.send([Outgoing(queue, payload, **attributes) for payload in payloads])

    def drain(
        self, count: int, *, queue: str = QUEUE, by: FullTransport | None = None, limit: int = 100
    ) -> list[Delivery]:
        """Receive until `count` messages are there; fails the test when patience ends before."""
        transport = by or self.first
        found: list[Delivery] = []
        until = time.monotonic() + self.tuning.patience
        while len(found) < count:
            left = until - time.monotonic()
            if left <= 0:
                pytest.fail(f"{len(found)} of {count} messages came within {self.tuning.patience} s")
            found += transport.receive([queue], min(limit, count - len(found)), min(left, 1.0))
        return found

    def one(self, *, queue: str = QUEUE, by: FullTransport | None = None) -> Delivery:
        """Receive one message."""
        return self.drain(1, queue=queue, by=by)[0]

    def settle(self, count: int, *, queue: str = QUEUE, by: FullTransport | None = None) -> list[bytes]:
        """Receive and acknowledge `count` messages; returns the payloads in the order of receiving."""
        transport = by or self.first
        payloads: list[bytes] = []
        for _ in range(count):
            delivery = self.one(queue=queue, by=transport)
            assert transport.ack([delivery]) == []
            payloads.append(delivery.payload)
        return payloads

    def quiet(self, *, queue: str = QUEUE, by: FullTransport | None = None) -> None:
        """Assert that nothing can be received."""
        found = (by or self.first).receive([queue], 10, self.tuning.quiet_for)
        assert found == [], f"nothing was expected in {queue!r}"

    @property
    def lease(self) -> float:
        """The lease of a delivery; the clause is not proven when it is too long to be waited for."""
        lease = self.f.lease
        assert lease is not None
        if self.tuning.clock is None and lease > 10 * self.tuning.lease_for:
            not_proven(f"the lease of {lease} s is too long; build the adapter with lease_for in make")
        return lease

    def lose(self, deliveries: Sequence[Delivery], by: FullTransport | None = None) -> None:
        """Let the leases of deliveries run out."""
        self.pass_time(self.shorten(deliveries, by) + 0.05)

    def shorten(self, deliveries: Sequence[Delivery], by: FullTransport | None = None) -> float:
        """Make leases that are too long to be waited for shorter by `extend`; returns how long they last now."""
        lease = self.f.lease or 0.0
        if self.tuning.clock is None and lease > 2 * self.tuning.lease_for:
            lease = self.tuning.lease_for
            assert (by or self.first).extend(deliveries, lease) == []
        return lease

    def stolen(self) -> tuple[Delivery, FullTransport, Delivery]:
        """A delivery whose lease was lost, and the second adapter with the delivery that it now holds."""
        thief = self.open()
        self.send(b"contested")
        lost = self.one()
        self.lose([lost])
        return lost, thief, self.one(by=thief)

    def delay_limit(self) -> float:
        """The longest delay worth testing: the claimed one, or ten years where there is no limit."""
        return min(self.f.delay, 10 * 365 * 86400.0)

    def short_delay(self) -> float:
        """A delay for tests that wait for its end."""
        return min(self.f.delay, 60.0 if self.tuning.clock else 0.6)

    def refused(self, batch: Sequence[Outgoing], send: Callable[[Sequence[Outgoing]], object] | None = None) -> None:
        """Assert that a batch of messages that can never be stored is refused for good, each of them."""
        with pytest.raises((Rejected, PartialSend)) as caught:
            (send or self.first.send)(batch)
        if isinstance(caught.value, PartialSend):
            assert sorted(caught.value.errors) == list(range(len(batch))), "the refused messages are not all named"
            assert all(isinstance(error, Rejected) for error in caught.value.errors.values())
        assert caught.value.sent == "no", "a refusal must say that nothing was sent"


def absent(transport: FullTransport, name: str, call: Callable[[], object]) -> None:
    """Assert that an optional method is not there or raises `Unsupported`."""
    if getattr(transport, name, None) is not None:
        with pytest.raises(Unsupported):
            call()


def payloads(deliveries: Sequence[Delivery]) -> list[bytes]:
    """The payloads in order."""
    return [delivery.payload for delivery in deliveries]


def total(size: QueueSize) -> int:
    """All messages of a queue as far as the service can tell."""
    return (size.ready or 0) + (size.delayed or 0) + (size.in_flight or 0)
