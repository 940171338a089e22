"""The Transport port in memory, with every optional protocol."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import inf
from time import monotonic
from typing import Final

from kernel.clock import SYSTEM, Clock
from kernel.errors import PartialSend, PortError, Rejected, Unavailable, Unsupported
from kernel.native import Signal
from kernel.ports import Delivery, Features, Inbox, Outgoing, QueueSize
from kernel_memory.options import TRANSPORT_MASKS, Limits, check_mask, parse
from kernel_memory.queues import Rules
from kernel_memory.space import Space

#: Seconds between two looks of a blocked `receive` that waits for a delay or a lease to end. By the machine's clock
#: it sleeps exactly, and this is for a wall clock that was set; another clock moves without telling.
LOOK_EVERY: Final = 1.0
LOOK_EVERY_FAKE: Final = 0.01


class MemoryTransport:
    """Queues in the memory of this process; see `kernel.ports.transport` for what each method promises.

    `Features.survives` says "process", the weakest value there is: a message outlives the transport object that
    sent it and the thread that held it, and ends with the process.

    Where the port leaves a choice: an expired lease and `close` count as a delivery, a release does not; all three
    put back to the front. Dedup keys and order keys are per queue. A message with an order key takes its place when
    its delay ends, and an order key goes before priority.
    """

    def __init__(
        self,
        space: Space | None = None,
        clock: Clock = SYSTEM,
        mask: Collection[str] = (),
        limits: Limits | None = None,
    ) -> None:
        check_mask(mask, TRANSPORT_MASKS)
        limits = limits or Limits()
        self._space = space or Space()
        self._clock = clock
        self._features = _features(frozenset(mask), limits)
        self._rules = Rules(max(self._features.priorities - 1, 0), self._features.dedup, self._features.ordered)
        self._term = min(inf if self._features.lease is None else self._features.lease, self._features.lease_total)
        self._picky = self._features.delay != inf or self._features.max_payload > 0
        self._look_every = LOOK_EVERY if clock is SYSTEM else LOOK_EVERY_FAKE
        #: What leases name as their owner: not the transport, or a forgotten space could never be collected.
        self._owner = object()
        self._signal = Signal()
        self._woken = False
        self._state = "new"

    @classmethod
    def from_url(cls, url: str) -> MemoryTransport:
        """The transport that a URL describes; `ConfigError` for an option that is none."""
        options = parse(url)
        return cls(Space.named(options.name), mask=options.mask & TRANSPORT_MASKS, limits=options.limits)

    @property
    def features(self) -> Features:
        """What this transport can do."""
        return self._features

    # -- lifecycle -------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Make ready. Idempotent; a closed transport stays closed."""
        if self._state == "closed":
            raise Unavailable("the memory transport is closed")
        self._state = "open"

    def close(self) -> None:
        """Give back what this transport holds, as deliveries that ended without ack, and end its inboxes."""
        if self._state != "open":
            self._state = "closed"
            return
        self._state = "closed"
        with self._space.lock:
            self._space.queues.abandon(self._owner)
        self._space.channels.abandon(self)
        self._signal.set()

    def declare(self, queues: Sequence[str]) -> None:
        """Make the queues exist."""
        self._check(0)
        with self._space.lock:
            for name in queues:
                self._space.queues.queue(name)

    # -- messages --------------------------------------------------------------------------------------------------

    def send(self, batch: Sequence[Outgoing]) -> None:
        """Store all messages."""
        self._check(len(batch))
        now = self._clock.now()
        errors = self._refusals(batch, now) if self._picky else None
        good = [out for index, out in enumerate(batch) if index not in errors] if errors else batch
        if errors and not good:
            raise next(iter(errors.values()))
        with self._space.lock:
            self._space.queues.put(good, now, self._clock.monotonic(), self._rules)
        if errors:
            raise PartialSend(errors)

    def receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        """Take up to `limit` messages under a lease each. `timeout` is real time, whatever the clock."""
        self._check(0)
        with self._space.lock:
            deliveries = self._take(queues, limit)
        if not deliveries and timeout > 0 and limit > 0:
            deliveries = self._wait(queues, limit, timeout)
        self._woken = False
        return deliveries

    def ack(self, batch: Sequence[Delivery]) -> list[Delivery]:
        """Settle for good; returns those whose lease was lost."""
        self._check(len(batch))
        with self._space.lock:
            self._space.queues.reap(self._clock.monotonic())
            return self._space.queues.settle(batch)

    def release(self, batch: Sequence[Delivery]) -> list[Delivery]:
        """Give back at once; returns those whose lease was lost."""
        self._check(len(batch))
        with self._space.lock:
            self._space.queues.reap(self._clock.monotonic())
            return self._space.queues.give_back(batch, int(self._features.release_counts))

    # -- optional protocols ----------------------------------------------------------------------------------------

    def extend(self, batch: Sequence[Delivery], lease: float) -> list[Delivery]:
        """Hide the messages for `lease` seconds from now; returns those whose lease was lost."""
        self._check(len(batch))
        if self._features.lease is None:
            raise Unsupported("this memory transport holds messages until it closes: there is no lease to extend")
        now = self._clock.monotonic()
        with self._space.lock:
            self._space.queues.reap(now)
            if self._features.lease_total == inf:
                return self._space.queues.extend(batch, now + lease, lease, self._owner)
            lost: list[Delivery] = []
            for delivery in batch:  # one by one, because each has an end of its own
                until = min(now + lease, delivery.receipt.most_until)
                lost += self._space.queues.extend([delivery], until, until - now, self._owner)
            return lost

    def commit(self, batch: Sequence[tuple[Delivery, Sequence[Outgoing]]]) -> list[Delivery]:
        """Publish the sends of each delivery and ack it, as one step; a delivery already settled publishes nothing."""
        self._check(len(batch), self._features.commit, "commit")
        now, monotonic = self._clock.now(), self._clock.monotonic()
        if self._picky:
            for error in self._refusals([out for _, sends in batch for out in sends], now).values():
                raise error
        queues = self._space.queues
        with self._space.lock:
            queues.reap(monotonic)
            sends = [out for delivery, outs in batch if queues.holds_for(delivery) for out in outs]
            lost = queues.settle([delivery for delivery, _ in batch])
            queues.put(sends, now, monotonic, self._rules)
        return lost

    def publish(self, channel: str, payload: bytes) -> None:
        """Hand a copy to every inbox of the channel."""
        self._check(0, self._features.broadcast, "broadcast")
        self._space.channels.publish(channel, payload)

    def listen(self, channel: str) -> Inbox:
        """Open an inbox."""
        self._check(0, self._features.broadcast, "broadcast")
        return self._space.channels.listen(channel, self)

    def queues(self) -> list[str]:
        """Names of the queues that exist, sorted."""
        self._check(0, self._features.lists, "lists")
        with self._space.lock:
            return sorted(self._space.queues.by_name)

    def sizes(self, queues: Sequence[str]) -> list[QueueSize]:
        """How full each queue is. Walks through the queue under the lock, for exact numbers."""
        self._check(0, self._features.inspect, "inspect")
        now = self._clock.now()
        with self._space.lock:
            self._space.queues.reap(self._clock.monotonic())
            return [self._space.queues.size(name, now, self._features.expiry) for name in queues]

    def peek(self, queue: str, limit: int) -> list[bytes]:
        """Payloads of ready and delayed messages, the next to be delivered first."""
        self._check(0, self._features.peek, "peek")
        with self._space.lock:
            self._space.queues.reap(self._clock.monotonic())
            return self._space.queues.peek(queue, limit, self._clock.now(), self._features.expiry)

    def purge(self, queue: str) -> int:
        """Drop all ready and delayed messages; returns how many."""
        self._check(0, self._features.inspect, "inspect")
        with self._space.lock:
            self._space.queues.reap(self._clock.monotonic())
            return self._space.queues.purge(queue)

    def wake(self) -> None:
        """End a blocked `receive`, or the next one if none is blocked. Takes no lock of the space."""
        self._check(0, self._features.wake, "wake")
        self._woken = True
        self._signal.set()

    # -- inside ----------------------------------------------------------------------------------------------------

    def _check(self, size: int, has: bool = True, feature: str = "") -> None:
        if self._state != "open":
            raise Unavailable(f"the memory transport is {'not open' if self._state == 'new' else 'closed'}")
        if not has:
            raise Unsupported(f"this memory transport has no {feature!r}: it is masked")
        if size > self._features.max_batch:
            raise Rejected(f"{size} messages in one call, at most {self._features.max_batch} are taken")

    def _refusals(self, batch: Sequence[Outgoing], now: float) -> dict[int, PortError]:
        latest, largest = now + self._features.delay, self._features.max_payload or inf
        errors: dict[int, PortError] = {}
        for index, out in enumerate(batch):
            if out.not_before > latest:
                errors[index] = Rejected(f"not_before is more than {self._features.delay:g} s ahead")
            elif len(out.payload) > largest:
                errors[index] = Rejected(f"payload of {len(out.payload)} bytes, at most {largest:g} are taken")
        return errors

    def _take(self, queues: Sequence[str], limit: int) -> list[Delivery]:
        """Under the lock; `Unavailable` once it is closed, because nobody would give back what is taken then."""
        self._check(0)
        clock, features, state = self._clock, self._features, self._space.queues
        at = clock.monotonic()
        if state.holds:
            state.reap(at)
        limit = min(limit, features.max_batch)
        deliveries = state.take(queues, limit, clock.now(), at + self._term, self._term, self._owner, features.expiry)
        if features.lease_total < inf:
            for delivery in deliveries:
                delivery.receipt.most_until = at + features.lease_total
        if not features.counts:
            for delivery in deliveries:
                delivery.redelivered = min(delivery.redelivered, 1)
        return deliveries

    def _wait(self, names: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        ends = monotonic() + timeout
        space, signal = self._space, self._signal
        with space.lock:
            watched = [space.queues.queue(name) for name in names]
            for queue in watched:
                queue.watchers.add(signal)
        try:
            while True:
                # Cleared before looking: what happens after the look raises it again.
                signal.clear()
                with space.lock:
                    deliveries = self._take(names, limit)
                    due = space.queues.next_due(names, self._clock.now(), self._clock.monotonic())
                remaining = ends - monotonic()
                if deliveries or self._woken or remaining <= 0:
                    return deliveries
                signal.wait(min(remaining, max(due, 0.0005), self._look_every) if due < inf else remaining)
        finally:
            with space.lock:
                for queue in watched:
                    queue.watchers.discard(signal)


def _features(mask: frozenset[str], limits: Limits) -> Features:
    return Features(
        lease=None if "lease" in mask else limits.lease,
        lease_total=limits.lease_total,
        survives="process",
        delay=0.0 if "delay" in mask else limits.delay,
        priorities=0 if "priorities" in mask else limits.priorities,
        max_batch=limits.max_batch,
        max_payload=limits.max_payload,
        expiry=limits.expiry,
        dedup=0.0 if "dedup" in mask else limits.dedup,
        ordered="ordered" not in mask,
        broadcast="broadcast" not in mask,
        commit="commit" not in mask,
        counts="counts" not in mask,
        release_counts=limits.release_counts,
        answers_within=0.0,
        inspect="inspect" not in mask,
        peek="peek" not in mask,
        lists="lists" not in mask,
        wake="wake" not in mask,
    )
