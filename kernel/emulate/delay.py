"""Delays longer than a transport can hold: by hops, or by a schedule store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf
from typing import Final

import msgspec

from kernel.clock import Clock
from kernel.emulate.passthrough import Passthrough
from kernel.emulate.pump import SPACE, DelayPump
from kernel.errors import PartialSend, PortError, Unsupported
from kernel.ids import new_id
from kernel.ports import Delivery, Outgoing, Parked, QueueSize, ScheduleStore, Survives, Transport

#: Seconds that a hop stays below the limit of the transport, at most a tenth of it: two clocks never agree.
MARGIN: Final = 1.0
_STRENGTH: Final[tuple[Survives, ...]] = ("process", "service", "power")


class Hops(Passthrough):
    """Delays a message by the longest native delay where it asks for more.

    That message arrives early, and the worker, which reads the time in its envelope, sends it on with the rest. So
    the promise of `Features.delay` is kept by this decorator and the worker together.
    """

    def __init__(self, inner: Transport, clock: Clock) -> None:
        super().__init__(inner, replace(inner.features, delay=inf))
        native = inner.features.delay
        self._now = clock.now
        #: Seconds.
        self.hop = native - min(MARGIN, native / 10)

    def send(self, batch: Sequence[Outgoing]) -> None:
        """Store all messages."""
        self._inner.send(self._clamped(batch))

    def commit(self, batch: Sequence[tuple[Delivery, Sequence[Outgoing]]]) -> list[Delivery]:
        """As the inner transport."""
        return super().commit([(delivery, self._clamped(sends)) for delivery, sends in batch])

    def _clamped(self, batch: Sequence[Outgoing]) -> Sequence[Outgoing]:
        if not [out for out in batch if out.not_before]:
            return batch
        latest = self._now() + self.hop
        return [msgspec.structs.replace(o, not_before=latest) if o.not_before > latest else o for o in batch]


class Parking(Passthrough):
    """Keeps delayed messages in a schedule store until a pump sends them.

    `commit` is not offered, because a store of its own cannot take part in it: the kernel sends first and then acks.
    A delayed message is in no queue: `sizes` says that it cannot tell how many there are, `peek` and `purge` do not
    reach them. Messages with an equal dedup key replace each other while they wait, so that sending twice is
    idempotent here too.
    """

    def __init__(self, inner: Transport, schedule: ScheduleStore, clock: Clock) -> None:
        own, store = inner.features, schedule.features
        most = min(own.max_batch, store.max_batch)
        survives = min(own.survives, store.survives, key=_STRENGTH.index)
        lent = own.borrowed | {"delay"}
        super().__init__(inner, replace(own, delay=inf, commit=False, max_batch=most, survives=survives, borrowed=lent))
        self._schedule = schedule
        self._now = clock.now
        #: Sends what is due; started and stopped by whoever completed the transport.
        self.pump = DelayPump(inner, schedule, clock)

    def send(self, batch: Sequence[Outgoing]) -> None:
        """Store all messages, the delayed ones in the schedule store."""
        if not [out for out in batch if out.not_before]:
            return self._inner.send(batch)
        now = self._now()
        later = [_parked(out) for out in batch if out.not_before > now]
        if later:
            # Before the others: when this fails, nothing of the batch is anywhere.
            self._schedule.add(later)
            self.pump.look()
        self._send_now([index for index, out in enumerate(batch) if out.not_before <= now], batch)
        return None

    def commit(self, batch: Sequence[tuple[Delivery, Sequence[Outgoing]]]) -> list[Delivery]:
        """Refused."""
        raise Unsupported("sends and acks cannot be one step where delays are kept in a schedule store")

    def sizes(self, queues: Sequence[str]) -> list[QueueSize]:
        """How full each queue is; nobody knows how many messages wait for it."""
        return [msgspec.structs.replace(size, delayed=None) for size in super().sizes(queues)]

    def _send_now(self, indexes: list[int], batch: Sequence[Outgoing]) -> None:
        """Send what is not delayed; errors are told by the indexes of the whole batch."""
        if not indexes:
            return
        # The time is over by this clock; the clock of the service must not find that it is not.
        ready = [msgspec.structs.replace(batch[index], not_before=0.0) for index in indexes]
        try:
            self._inner.send(ready)
        except PartialSend as partial:
            raise PartialSend({indexes[at]: error for at, error in partial.errors.items()}) from partial
        except PortError as error:
            if len(indexes) == len(batch):
                raise
            raise PartialSend(dict.fromkeys(indexes, error)) from error


def _parked(out: Outgoing) -> Parked:
    key = f"{out.queue}:{out.dedup_key}" if out.dedup_key else new_id()
    return Parked(SPACE, key, out.not_before, msgspec.msgpack.encode(out))
