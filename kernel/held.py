"""Messages that a tool takes out of a queue: held under their leases until each is settled or given back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import inf

from kernel.errors import PartialSend, PortError
from kernel.ports import Commits, Delivery, Extends, Inspects, Outgoing, Transport

#: Messages taken from the transport in one call.
BATCH = 100
#: Empty answers in a row after which a queue is left that is said to have something.
EMPTY_MOST = 20
#: Of a lease, the part after which what is held is renewed.
RENEW_AT = 1 / 3


class Held:
    """Deliveries of one transport, in the order in which they came."""

    def __init__(self, transport: Transport, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._transport = transport
        self._monotonic = monotonic
        # By identity: a delivery is a value, and two of them may be equal.
        self._deliveries: dict[int, Delivery] = {}
        self._renewed_at = monotonic()

    def __len__(self) -> int:
        return len(self._deliveries)

    def __iter__(self) -> Iterator[Delivery]:
        return iter(list(self._deliveries.values()))

    @property
    def size(self) -> int:
        """Bytes of all payloads."""
        return sum(len(delivery.payload) for delivery in self._deliveries.values())

    def received(self, queue: str, most: int = BATCH, timeout: float = 0.2) -> Iterator[list[Delivery]]:
        """Batches of a queue until it is empty, held from the moment they come; leases are renewed in between.

        Where the queue can be counted and something is in it, an empty answer is not believed at once: a busy service
        is late, and whoever looks for dead letters would be told that there are none. It is counted first, because
        what a broker has begun to deliver is not ready any more.
        """
        size = min(most, self._transport.features.max_batch)
        empty, left = 0, ready(self._transport, queue)
        while empty < EMPTY_MOST:
            batch = self._transport.receive([queue], size, timeout)
            if not batch:
                if left <= 0:
                    left = ready(self._transport, queue)
                empty = empty + 1 if 0 < left < inf else EMPTY_MOST
                continue
            empty, left = 0, left - len(batch)
            self._deliveries.update((id(delivery), delivery) for delivery in batch)
            yield batch
            self.renew()

    def renew(self) -> None:
        """Extend the leases when a good part of them is over; does nothing where leases last with the connection."""
        transport, lease = self._transport, self._transport.features.lease
        now = self._monotonic()
        if lease is None or not isinstance(transport, Extends) or now - self._renewed_at < lease * RENEW_AT:
            return
        self._renewed_at = now
        for part in self._parts():
            transport.extend(part, lease)

    def settle(self, pairs: Sequence[tuple[Delivery, Sequence[Outgoing]]]) -> int:
        """Send what each delivery causes and acknowledge it, in one step where the transport can, else in this order.

        Returns how many were settled; one whose lease was lost is not counted. Where a send is refused its delivery
        stays held, the others are settled, and the error is raised.
        """
        transport = self._transport
        if not pairs:
            return 0
        if transport.features.commit and isinstance(transport, Commits):
            lost = len(transport.commit(pairs))
            self._forget(delivery for delivery, _ in pairs)
            return len(pairs) - lost
        sends = [(delivery, send) for delivery, caused in pairs for send in caused]
        refused: set[int] = set()
        error: PortError | None = None
        try:
            if sends:
                transport.send([send for _, send in sends])
        except PartialSend as partial:
            refused, error = {id(sends[index][0]) for index in partial.errors}, partial
        except PortError as failure:
            refused, error = {id(delivery) for delivery, _ in sends}, failure
        good = [delivery for delivery, _ in pairs if id(delivery) not in refused]
        lost = len(transport.ack(good)) if good else 0
        self._forget(good)
        if error is not None:
            raise error
        return len(good) - lost

    def release(self) -> None:
        """Give all of them back, the last batch first, because a release goes to the front. Idempotent."""
        for part in reversed(list(self._parts())):
            self._transport.release(part)
        self._deliveries.clear()

    def _forget(self, deliveries: Iterable[Delivery]) -> None:
        for delivery in deliveries:
            self._deliveries.pop(id(delivery), None)

    def _parts(self) -> Iterator[list[Delivery]]:
        size = self._transport.features.max_batch
        deliveries = list(self)
        for start in range(0, len(deliveries), size):
            yield deliveries[start : start + size]


def ready(transport: Transport, queue: str) -> float:
    """How many messages are ready; infinite where the transport cannot tell."""
    if not transport.features.inspect or not isinstance(transport, Inspects):
        return inf
    count = transport.sizes([queue])[0].ready
    return inf if count is None else count
