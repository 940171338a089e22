"""Queues and leases of one space; every method is called under the lock of the space.

A message object stands for one delivery at most. When a lease ends without an ack, the object is marked `LOST` and
a fresh copy goes back to the queue, so the object itself is the fencing token: no counter, no table of receipts,
and a settled delivery needs no memory.

A lease is one `Hold` for a whole call of `receive`. Holds of one length end in the order in which they were made, so
a plain dict per length is a queue of deadlines with removal at no cost, and nothing is pushed on a heap.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import nsmallest
from math import inf

import msgspec

from kernel.ports import Delivery, Outgoing, QueueSize
from kernel_memory.queue import Message, Queue


class Hold:
    """The lease that the messages of one call share. It does not know them: a cycle would need the collector."""

    __slots__ = ("open", "owner", "term", "until")

    def __init__(self, owner: object, term: float, until: float, open: int) -> None:
        #: Stands for the transport that received them.
        self.owner = owner
        #: Seconds from beginning to end; inf: until the transport closes.
        self.term = term
        #: Monotonic.
        self.until = until
        #: Messages not yet settled.
        self.open = open


#: What a message is under when it is under no lease any more.
SETTLED = Hold(None, 0.0, 0.0, 0)
LOST = Hold(None, 0.0, 0.0, 0)


class Rules(msgspec.Struct, frozen=True):
    """What of a message counts when it is stored by one adapter."""

    #: Highest priority; 0: no priorities.
    top: int
    #: Seconds, 0.0 for none.
    dedup: float
    ordered: bool


class Queues:
    """All queues of a space, and what is leased from them."""

    __slots__ = ("by_name", "holds")

    def __init__(self) -> None:
        self.by_name: dict[str, Queue] = {}
        self.holds: dict[float, dict[Hold, list[Message]]] = {}

    def queue(self, name: str) -> Queue:
        """The queue of this name, made on first use."""
        queue = self.by_name.get(name)
        if queue is None:
            queue = self.by_name[name] = Queue()
        return queue

    def put(self, batch: Iterable[Outgoing], now: float, monotonic: float, rules: Rules) -> None:
        """Store messages, which the rules allow, and tell who waits."""
        name = None
        touched: list[Queue] = []
        for out in batch:
            if out.queue != name:
                name = out.queue
                queue = self.queue(name)
                append = queue.levels[9].append
                touched.append(queue)
            message = Message(out.payload, name, now, out.expires_at)
            if out.priority or out.not_before or out.dedup_key or out.order_key:
                if out.dedup_key and rules.dedup and queue.seen(out.dedup_key, monotonic, monotonic + rules.dedup):
                    continue
                message.priority = min(max(out.priority, 0), rules.top)
                message.order_key = out.order_key if rules.ordered else ""
                queue.place(message, out.not_before, now)
            else:
                append(message)
        for queue in touched:
            if queue.watchers:
                queue.tell()

    def take(
        self, names: Sequence[str], limit: int, now: float, until: float, term: float, owner: object, expiry: bool
    ) -> list[Delivery]:
        """Lease up to `limit` messages from the first queues that have any."""
        taken: list[Message] = []
        for name in names:
            queue = self.by_name.get(name) or self.queue(name)
            if queue.delayed:
                queue.promote(now)
            if expiry:
                queue.take_fresh(limit - len(taken), taken, now)
            else:
                queue.take(limit - len(taken), taken)
            if len(taken) >= limit:
                break
        if not taken:
            return []
        hold = Hold(owner, term, until, len(taken))
        for message in taken:
            message.hold = hold
        self.holds.setdefault(term, {})[hold] = taken
        return [Delivery(message.payload, message.queue, message, message.redelivered) for message in taken]

    def holds_for(self, delivery: Delivery) -> bool:
        """Whether the delivery is still under its lease."""
        return delivery.receipt.hold is not SETTLED and delivery.receipt.hold is not LOST

    def settle(self, batch: Iterable[Delivery]) -> list[Delivery]:
        """Take messages off for good; returns those whose lease was lost."""
        lost: list[Delivery] = []
        for delivery in batch:
            message: Message = delivery.receipt
            hold = message.hold
            if hold is LOST:
                lost.append(delivery)
            elif hold is not SETTLED:
                message.hold = SETTLED
                hold.open -= 1
                if not hold.open:
                    self._drop(hold)
                if message.order_key:
                    self.by_name[message.queue].next_of(message.order_key)
        return lost

    def give_back(self, batch: Sequence[Delivery], count: int) -> list[Delivery]:
        """Put messages back to the front, `count` more deliveries on each; returns those whose lease was lost."""
        lost = [delivery for delivery in batch if delivery.receipt.hold is LOST]
        self._return([d.receipt for d in batch if d.receipt.hold not in (LOST, SETTLED)], count)
        return lost

    def extend(self, batch: Sequence[Delivery], until: float, term: float, owner: object) -> list[Delivery]:
        """Move messages to a new lease; returns those whose lease was lost."""
        lost: list[Delivery] = []
        kept: list[Message] = []
        hold = Hold(owner, term, until, 0)
        for delivery in batch:
            message: Message = delivery.receipt
            old = message.hold
            if old is LOST:
                lost.append(delivery)
            elif old is not SETTLED and old is not hold:
                kept.append(message)
                message.hold = hold
                old.open -= 1
                if not old.open:
                    self._drop(old)
        if kept:
            hold.open = len(kept)
            self.holds.setdefault(term, {})[hold] = kept
        return lost

    def reap(self, monotonic: float) -> None:
        """Give back what is under a lease that has ended, as a delivery more."""
        for holds in list(self.holds.values()):
            while holds:
                hold = next(iter(holds))
                if hold.until > monotonic:
                    break
                self._return([message for message in holds[hold] if message.hold is hold], 1)

    def abandon(self, owner: object) -> None:
        """Give back everything that `owner` holds, as a delivery more: nobody said that it did not run."""
        for holds in list(self.holds.values()):
            for hold in [hold for hold in holds if hold.owner is owner]:
                self._return([message for message in holds[hold] if message.hold is hold], 1)

    def next_due(self, names: Sequence[str], now: float, monotonic: float) -> float:
        """Seconds until a delay or a lease ends by itself; inf when nothing is on its way."""
        due = inf
        for name in names:
            delayed = self.queue(name).delayed
            if delayed:
                due = min(due, delayed[0][0] - now)
        for holds in self.holds.values():
            if holds:
                due = min(due, next(iter(holds)).until - monotonic)
        return due

    def size(self, name: str, now: float, expiry: bool) -> QueueSize:
        """How full one queue is, after everything that is due has moved."""
        queue = self.by_name.get(name)
        if queue is None:
            return QueueSize(name, 0, 0, 0)
        queue.promote(now)
        ready = queue.ready(now, expiry)
        held = sum(
            message.hold is hold and message.queue == name
            for holds in self.holds.values()
            for hold, messages in holds.items()
            for message in messages
        )
        oldest = min((message.ready_at for message in ready), default=None)
        return QueueSize(name, len(ready), len(queue.delayed), held, oldest)

    def peek(self, name: str, limit: int, now: float, expiry: bool) -> list[bytes]:
        """Payloads of what is ready, then of what is delayed, in the order of delivery."""
        queue = self.by_name.get(name)
        if queue is None:
            return []
        queue.promote(now)
        messages = queue.ready(now, expiry)[:limit]
        messages += [message for _, _, message in nsmallest(limit - len(messages), queue.delayed)]
        return [message.payload for message in messages]

    def purge(self, name: str) -> int:
        """Drop all of one queue that is not leased; returns how many."""
        queue = self.by_name.get(name)
        return 0 if queue is None else queue.purge()

    def _return(self, messages: list[Message], count: int) -> None:
        touched: dict[str, Queue] = {}
        for message in reversed(messages):
            if message.hold is LOST:  # given twice in one call
                continue
            hold = message.hold
            message.hold = LOST
            hold.open -= 1
            if not hold.open:
                self._drop(hold)
            fresh = msgspec.structs.replace(message, hold=None, redelivered=message.redelivered + count)
            queue = touched[message.queue] = self.by_name[message.queue]
            queue.levels[9 - message.priority].appendleft(fresh)
        for queue in touched.values():
            queue.tell()

    def _drop(self, hold: Hold) -> None:
        holds = self.holds[hold.term]
        del holds[hold]
        if not holds:
            del self.holds[hold.term]
