"""Priorities for transports that have none, or fewer than ten."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from msgspec.structs import replace as replaced

from kernel.emulate.passthrough import Passthrough
from kernel.errors import Unsupported
from kernel.ports import Delivery, Outgoing, QueueSize, Transport

#: Queues per queue. Ten would be exact, and every `receive` would ask for ten times as many queues, which a
#: service that is polled queue by queue cannot bear. Part of the wire: senders and workers must agree on it.
LEVELS: Final = 4
_LEVEL_NAME: Final = re.compile(r"(.+)\.p([1-9])", re.DOTALL)


class ScaledPriority(Passthrough):
    """Kernel priorities 0 to 9 spread evenly over the fewer levels of the inner transport."""

    def __init__(self, inner: Transport) -> None:
        super().__init__(inner, inner.features)
        self._levels = inner.features.priorities

    def send(self, batch: Sequence[Outgoing]) -> None:
        """Store all messages."""
        self._inner.send(self._scaled(batch))

    def commit(self, batch: Sequence[tuple[Delivery, Sequence[Outgoing]]]) -> list[Delivery]:
        """As the inner transport."""
        return super().commit([(delivery, self._scaled(sends)) for delivery, sends in batch])

    def _scaled(self, batch: Sequence[Outgoing]) -> Sequence[Outgoing]:
        if not [out for out in batch if out.priority]:
            return batch
        levels = self._levels
        return [replaced(o, priority=min(o.priority, 9) * levels // 10) if o.priority else o for o in batch]


class QueuePriority(Passthrough):
    """One queue per level: `q` for the lowest, `q.p1` and up for the others, drained from the highest down.

    Every receiver listens to every level, because another process may send to it. The order is strict within a
    queue. Where the inner transport keeps the order of keys, a message with an order key stays at the lowest level:
    order goes before priority. A delivery from a higher level is handed out under the name of its home queue, with
    the adapter's own delivery as its receipt.
    """

    def __init__(self, inner: Transport, levels: int = LEVELS) -> None:
        super().__init__(inner, replace(inner.features, priorities=levels))
        self._count = levels
        self._ordered = inner.features.ordered
        #: Queue: its levels, the lowest first.
        self._levels: dict[str, tuple[str, ...]] = {}
        #: Name of a higher level: its home queue.
        self._homes: dict[str, str] = {}

    def declare(self, queues: Sequence[str]) -> None:
        """Make all levels of the queues exist."""
        self._inner.declare([name for queue in queues for name in self._levels_of(queue)])

    def send(self, batch: Sequence[Outgoing]) -> None:
        """Store all messages, each at its level."""
        self._inner.send(self._levelled(batch))

    def receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        """Take up to `limit` messages, the most urgent of each queue first."""
        names = [name for queue in queues for name in reversed(self._levels_of(queue))]
        homes = self._homes
        return [
            Delivery(delivery.payload, homes[delivery.queue], delivery, delivery.redelivered)
            if delivery.queue in homes
            else delivery
            for delivery in self._inner.receive(names, limit, timeout)
        ]

    def ack(self, batch: Sequence[Delivery]) -> list[Delivery]:
        """Settle for good; returns those whose lease was lost."""
        return _as_given(batch, self._inner.ack(_originals(batch)))

    def release(self, batch: Sequence[Delivery]) -> list[Delivery]:
        """Give back at once; returns those whose lease was lost."""
        return _as_given(batch, self._inner.release(_originals(batch)))

    def extend(self, batch: Sequence[Delivery], lease: float) -> list[Delivery]:
        """Hide the messages for `lease` seconds from now; returns those whose lease was lost."""
        return _as_given(batch, super().extend(_originals(batch), lease))

    def commit(self, batch: Sequence[tuple[Delivery, Sequence[Outgoing]]]) -> list[Delivery]:
        """As the inner transport."""
        given = [delivery for delivery, _ in batch]
        sends = [self._levelled(sends) for _, sends in batch]
        return _as_given(given, super().commit(list(zip(_originals(given), sends, strict=True))))

    def queues(self) -> list[str]:
        """Names of the home queues that exist, sorted."""
        return sorted({self._home(name) for name in super().queues()})

    def sizes(self, queues: Sequence[str]) -> list[QueueSize]:
        """How full each queue is, all levels together."""
        names = [self._levels_of(queue) for queue in queues]
        sizes = super().sizes([name for levels in names for name in levels])
        count = self._count
        return [_sum(queue, sizes[at * count : (at + 1) * count]) for at, queue in enumerate(queues)]

    def peek(self, queue: str, limit: int) -> list[bytes]:
        """Payloads of ready and delayed messages of one level after the other."""
        payloads: list[bytes] = []
        for name in reversed(self._levels_of(queue)):
            if len(payloads) < limit:
                payloads += super().peek(name, limit - len(payloads))
        return payloads

    def purge(self, queue: str) -> int:
        """Drop all ready and delayed messages of all levels; returns how many."""
        return sum([super(QueuePriority, self).purge(name) for name in self._levels_of(queue)])

    def _levels_of(self, queue: str) -> tuple[str, ...]:
        levels = self._levels.get(queue)
        if levels is None:
            if self._home(queue) != queue:
                raise Unsupported(f"queue {queue!r}: .p1 to .p{self._count - 1} at the end are kept for priorities")
            levels = (queue, *(f"{queue}.p{level}" for level in range(1, self._count)))
            self._homes.update(dict.fromkeys(levels[1:], queue))
            self._levels[queue] = levels
        return levels

    def _home(self, name: str) -> str:
        found = _LEVEL_NAME.fullmatch(name)
        return found[1] if found and int(found[2]) < self._count else name

    def _levelled(self, batch: Sequence[Outgoing]) -> Sequence[Outgoing]:
        for queue in {out.queue for out in batch}:
            self._levels_of(queue)  # refuses a name that is kept, and costs one look otherwise
        if not [out for out in batch if out.priority]:
            return batch
        return [self._at_level(out) if out.priority else out for out in batch]

    def _at_level(self, out: Outgoing) -> Outgoing:
        level = 0 if self._ordered and out.order_key else min(out.priority, 9) * self._count // 10
        return replaced(out, queue=self._levels[out.queue][level], priority=0)


def _originals(batch: Sequence[Delivery]) -> list[Delivery]:
    return [delivery.receipt if type(delivery.receipt) is Delivery else delivery for delivery in batch]


def _as_given(batch: Sequence[Delivery], lost: list[Delivery]) -> list[Delivery]:
    """The deliveries of `batch` whose originals are in `lost`."""
    if not lost:
        return lost
    originals = {id(delivery) for delivery in lost}
    return [given for given, original in zip(batch, _originals(batch), strict=True) if id(original) in originals]


def _sum(queue: str, sizes: Sequence[QueueSize]) -> QueueSize:
    """One queue out of its levels; what one level cannot tell is unknown of the whole."""
    ready, delayed, in_flight = (
        None if None in values else sum(value for value in values if value is not None)
        for values in (
            [size.ready for size in sizes],
            [size.delayed for size in sizes],
            [size.in_flight for size in sizes],
        )
    )
    oldest_at = min((size.oldest_at for size in sizes if size.oldest_at is not None), default=None)
    return QueueSize(queue, ready, delayed, in_flight, oldest_at)
