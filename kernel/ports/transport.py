"""The Transport port: queues of opaque bytes, delivered at least once under a lease.

Threads: `receive` is called by one thread at a time; every other method by any thread, also while `receive`
blocks. Lists passed in stay the caller's and are not kept; lists returned belong to the caller.

Errors: an adapter never retries, never sleeps to reconnect and never logs an error. What its client library
raises becomes `Unavailable` (the same call may work later) or `Rejected` (it never will), and `sent` on it says
whether the effect may have happened. The one retry loop, with backoff, is the kernel's.

No method takes or returns anything that knows of tasks. What matters to a task is inside of the payload.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import msgspec

from kernel.ports.features import Features


class Outgoing(msgspec.Struct, gc=False, omit_defaults=True):
    """A message on its way to a queue. Everything but `queue` and `payload` is for brokers that honour it natively."""

    queue: str
    payload: bytes
    #: 0 to 9, 9 the most urgent; ignored by the adapter where `Features.priorities` is 0.
    priority: int = 0
    #: Wall-clock time before which it must not be delivered; 0.0: at once. `Rejected` when beyond `Features.delay`.
    not_before: float = 0.0
    #: Wall-clock time from which it need not be delivered; 0.0: never expires.
    expires_at: float = 0.0
    #: Equal keys within `Features.dedup` seconds are one message; "" for none.
    dedup_key: str = ""
    #: Messages of one key keep their order where `Features.ordered`; "" for none.
    order_key: str = ""
    #: Where `Features.exchanges`: it goes to the queues that are bound there, and not to `queue`. "": to `queue`.
    exchange: str = ""
    #: What the exchange chooses the queues by.
    routing_key: str = ""


class Delivery(msgspec.Struct, gc=False):
    """A received message under lease."""

    payload: bytes
    queue: str
    #: Whatever the adapter needs to settle exactly this delivery of this message: a fencing token is part of it.
    receipt: Any
    #: Earlier deliveries that ended without ack or release. A hint unless `Features.counts`; -1: cannot tell. For one
    #: message it never falls: it is a part of the rank of what its executions record.
    redelivered: int = 0


class QueueSize(msgspec.Struct, frozen=True):
    """How full one queue is. A value that the service cannot tell is None, never 0."""

    queue: str
    ready: int | None = None
    delayed: int | None = None
    in_flight: int | None = None
    #: Wall-clock time at which the oldest ready message became ready; None when there is none.
    oldest_at: float | None = None


class Transport(Protocol):
    """Seven methods, `open` and `close` among them, carry everything; the optional ones are the protocols below."""

    @property
    def features(self) -> Features:
        """What this transport can do; final once `open` has returned."""

    def open(self) -> None:
        """Connect and prepare. Idempotent. `Unavailable` when it is away, `ConfigError` when it never can be."""

    def close(self) -> None:
        """Let go of everything, within a few seconds. Idempotent.

        Unsettled deliveries of this transport are given back where that is possible, else their leases run out; either
        way they count as deliveries, because nobody said that they did not run. A closed transport stays closed.
        After it every other method raises `Unavailable`, and so does a `receive` that was blocked.
        """

    def declare(self, queues: Sequence[str]) -> None:
        """Make the queues exist. Idempotent, also under races. Sending to and receiving from an undeclared queue
        declares it where the service allows that, else it is `Rejected`."""

    def send(self, batch: Sequence[Outgoing]) -> None:
        """Store all messages; durable, as `Features.survives` says, when it returns.

        `PartialSend` when some were stored and some not; any other error means that none is known to be stored:
        `sent == "no"` that none is, `"unknown"` that some may be. A message sent by one caller to one queue with
        equal priority and no delay is received in the order of sending, unless it is redelivered. One for an exchange
        that is not there, or that leads to no queue with this key, is `Rejected`, and so is one that is delayed.
        """

    def receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        """Take up to `limit` messages under a lease each, from moment one atomically: never in neither place.

        Queues are in order of preference: what an earlier one has comes first. (Fair and weighted order is the
        kernel's: it changes the order between calls.) Within one queue a higher priority goes first. Returns as
        soon as one message is there, with what is there, and with an empty list when `timeout` seconds have
        passed or `wake` was called. `timeout` 0.0 only looks. It may block at most 100 ms longer than `timeout`.
        """

    def ack(self, batch: Sequence[Delivery]) -> list[Delivery]:
        """Settle for good. Idempotent: a second ack of the same delivery is no error, and whether it is returned as
        lost is left open.

        Returns those whose lease was lost, as the very objects that were passed in: the message was, or is about to
        be, delivered to somebody else, and this ack did nothing to it. A lease that has run out while nobody else
        took the message may count as lost or not.
        """

    def release(self, batch: Sequence[Delivery]) -> list[Delivery]:
        """Give back at once, to the front of its priority, not counted as a delivery unless `Features.release_counts`.

        Returns those whose lease was lost, as `ack` does.
        """


@runtime_checkable
class Extends(Protocol):
    """Present exactly when `Features.lease` is a number."""

    def extend(self, batch: Sequence[Delivery], lease: float) -> list[Delivery]:
        """Hide the messages for `lease` seconds from now. Returns those whose lease was lost."""


@runtime_checkable
class Commits(Protocol):
    """Present exactly when `Features.commit`."""

    def commit(self, batch: Sequence[tuple[Delivery, Sequence[Outgoing]]]) -> list[Delivery]:
        """Publish the sends of each delivery and ack it, as one step for the whole batch.

        Returns the deliveries whose lease was lost; of those, no send was published. On an error nothing happened
        where `sent == "no"`, and all or nothing where it is `"unknown"`.
        """


class Inbox(Protocol):
    """A listener's own end of a broadcast channel."""

    def get(self, timeout: float) -> list[bytes]:
        """Payloads that came since, waiting up to `timeout` seconds for the first."""

    def close(self) -> None:
        """Stop listening. Idempotent."""


@runtime_checkable
class Broadcasts(Protocol):
    """Present exactly when `Features.broadcast`. Each inbox open at the time of publishing gets at most one copy."""

    def publish(self, channel: str, payload: bytes) -> None:
        """Hand a copy to every inbox of the channel."""

    def listen(self, channel: str) -> Inbox:
        """Open an inbox; what is published after it returned arrives there."""


@runtime_checkable
class Inspects(Protocol):
    """Present exactly when `Features.inspect`. For tools; may be slow; sees a moment."""

    def sizes(self, queues: Sequence[str]) -> list[QueueSize]:
        """How full each queue is, in the order asked; an unknown queue is empty."""

    def purge(self, queue: str) -> int:
        """Drop all ready and delayed messages, not the leased ones; returns how many. Delayed ones of which `sizes`
        cannot tell stay."""


@runtime_checkable
class Peeks(Protocol):
    """Present exactly when `Features.peek`. For tools; may be slow."""

    def peek(self, queue: str, limit: int) -> list[bytes]:
        """Payloads of ready and delayed messages, the next to be delivered first; nothing is taken."""


@runtime_checkable
class Lists(Protocol):
    """Present exactly when `Features.lists`. For tools; may be slow."""

    def queues(self) -> list[str]:
        """Names of the queues that exist, sorted."""


@runtime_checkable
class Wakes(Protocol):
    """Present exactly when `Features.wake`."""

    def wake(self) -> None:
        """End a blocked `receive`, or the next one if none is blocked. Safe in a signal handler."""
