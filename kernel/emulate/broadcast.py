"""Queues of which every worker process has its own copy of each call."""

from __future__ import annotations

import heapq
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import count
from math import inf

from kernel.clock import Clock
from kernel.emulate.passthrough import Passthrough
from kernel.envelope import Envelope, decode
from kernel.errors import DecodeError, PartialSend, PortError, Unsupported
from kernel.native import Signal, Thread
from kernel.ports import Delivery, Inbox, Outgoing, Transport
from kernel.steady import Outage

log = logging.getLogger("kernel.emulate")

#: Copies that one process keeps: beyond that it reads no more, and the transport drops what nobody reads.
MOST = 10_000
#: Seconds after which a blocked `receive` looks for copies where the transport cannot be woken.
LOOK_EVERY = 0.25
#: Seconds that the listening threads have to end in.
END_WITHIN = 2.0


class _Copy:
    """The receipt of a copy."""

    __slots__ = ("task_id",)

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id


class Broadcasting(Passthrough):
    """Publishes what is sent to one of `names`, and lets who receives from one of them have what others published.

    A copy lives in the process that it came to and ends with it, as a broadcast is to those who are there. What a
    worker sends on of a copy that it has in hand (a retry, one that is too early) comes back to this worker alone.
    A queue for each worker was rejected: whoever is killed would leave one behind that nobody ever empties.
    """

    def __init__(self, inner: Transport, names: Iterable[str], clock: Clock) -> None:
        super().__init__(inner, inner.features)
        self._names = frozenset(names)
        self._clock = clock
        self._ears: dict[str, Ear] = {}
        #: What can be received: queue and payload.
        self._ready: deque[tuple[str, bytes]] = deque()
        #: What is not due yet: wall clock, a number that keeps the order, queue and payload.
        self._later: list[tuple[float, int, str, bytes]] = []
        self._number = count()
        #: Ids of the tasks whose copies are in hand.
        self._held: set[str] = set()
        self._signal = Signal()

    # -- to everybody --------------------------------------------------------------------------------------

    @property
    def inner(self) -> Transport:
        """The transport without broadcasts."""
        return self._inner

    def declare(self, queues: Sequence[str]) -> None:
        """Make the queues exist; to a broadcast queue this process listens from now on."""
        names = self._names.intersection(queues)
        self._need_broadcast(names)
        for name in names - self._ears.keys():
            self._ears[name] = Ear(name, partial(self.listen, name), partial(self._hear, name), self._full, self._clock)
        self._inner.declare([queue for queue in queues if queue not in names])

    def close(self) -> None:
        """Stop listening, and close the inner transport."""
        for ear in self._ears.values():
            ear.stop()
        self._inner.close()

    def send(self, batch: Sequence[Outgoing]) -> None:
        """Store all messages, and hand those for broadcast queues to whoever listens, after the others."""
        spread = [out for out in batch if out.queue in self._names]
        if not spread:
            self._inner.send(batch)
            return
        self._need_broadcast({out.queue for out in spread})
        places = [index for index, out in enumerate(batch) if out.queue not in self._names]
        if places:
            try:
                self._inner.send([batch[index] for index in places])
            except PartialSend as partial:
                raise PartialSend({places[index]: error for index, error in partial.errors.items()}) from partial
        self._spread(spread)

    def commit(self, batch: Sequence[tuple[Delivery, Sequence[Outgoing]]]) -> list[Delivery]:
        """As the inner transport; what is for broadcast queues follows, except for deliveries that were lost."""
        plain = [
            (delivery, [out for out in sends if out.queue not in self._names])
            for delivery, sends in batch
            if not isinstance(delivery.receipt, _Copy)
        ]
        lost = super().commit(plain) if plain else []
        gone = {id(delivery) for delivery in lost}
        for delivery, sends in batch:
            if isinstance(delivery.receipt, _Copy):
                self.send(sends)
                self._drop(delivery.receipt)
            elif id(delivery) not in gone:
                self._spread([out for out in sends if out.queue in self._names])
        return lost

    def _spread(self, batch: Sequence[Outgoing]) -> None:
        for out in batch:
            envelope = _read(out.payload)
            if envelope is not None and envelope.id in self._held:
                heapq.heappush(self._later, (out.not_before, next(self._number), out.queue, out.payload))
                self._signal.set()
            else:
                self.publish(out.queue, out.payload)

    def _need_broadcast(self, names: Iterable[str]) -> None:
        for name in names:
            if not self._features.broadcast:
                raise Unsupported(f"this transport cannot broadcast, and queue {name!r} is declared as a Broadcast")

    # -- to this process -----------------------------------------------------------------------------------

    def _hear(self, name: str, payloads: Sequence[bytes]) -> None:
        self._ready.extend((name, payload) for payload in payloads)
        self._signal.set()
        if self._features.wake:
            super().wake()

    def _full(self) -> bool:
        return len(self._ready) + len(self._later) >= MOST

    def receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        """Take up to `limit` messages, copies first. It may return early with nothing."""
        others = [queue for queue in queues if queue not in self._names]
        if len(others) == len(queues):
            return self._inner.receive(queues, limit, timeout)
        # Cleared before looking: what arrives after the look raises it again.
        self._signal.clear()
        found = self._due(limit)
        wait = 0.0 if found else min(timeout, self._until_next(blind=bool(others) and not self._features.wake))
        if others and len(found) < limit:
            found += self._inner.receive(others, limit - len(found), wait)
        elif not found:
            self._signal.wait(wait)
        return found or self._due(limit)

    def _due(self, limit: int) -> list[Delivery]:
        found: list[Delivery] = []
        now = self._clock.now()
        while self._later and self._later[0][0] <= now:
            _, _, name, payload = heapq.heappop(self._later)
            self._ready.append((name, payload))
        while self._ready and len(found) < limit:
            name, payload = self._ready.popleft()
            envelope = _read(payload)
            copy = _Copy(envelope.id if envelope is not None else "")
            self._held.add(copy.task_id)
            found.append(Delivery(payload, name, copy))
        return found

    def _until_next(self, blind: bool) -> float:
        """Seconds until there may be a copy without a signal."""
        due_in = max(0.001, self._later[0][0] - self._clock.now()) if self._later else inf
        return min(due_in, LOOK_EVERY) if blind else due_in

    def wake(self) -> None:
        """End a blocked `receive`, or the next one."""
        self._signal.set()
        super().wake()

    # -- settling ------------------------------------------------------------------------------------------

    def ack(self, batch: Sequence[Delivery]) -> list[Delivery]:
        """Settle for good; a copy is never lost to somebody else."""
        others = self._settled(batch, self._drop)
        return self._inner.ack(others) if others else []

    def release(self, batch: Sequence[Delivery]) -> list[Delivery]:
        """Give back at once; a copy comes to this process again."""
        for delivery in batch:
            if isinstance(delivery.receipt, _Copy):
                self._ready.appendleft((delivery.queue, delivery.payload))
        others = self._settled(batch, self._drop)
        return self._inner.release(others) if others else []

    def extend(self, batch: Sequence[Delivery], lease: float) -> list[Delivery]:
        """Hide the messages for `lease` seconds from now; copies are hidden anyway."""
        others = self._settled(batch, lambda copy: None)
        return super().extend(others, lease) if others else []

    def _settled(self, batch: Sequence[Delivery], settle: Callable[[_Copy], None]) -> list[Delivery]:
        others = []
        for delivery in batch:
            if isinstance(delivery.receipt, _Copy):
                settle(delivery.receipt)
            else:
                others.append(delivery)
        return others

    def _drop(self, copy: _Copy) -> None:
        self._held.discard(copy.task_id)


class Ear:
    """A thread that listens to one channel, and listens again when the connection was lost."""

    def __init__(
        self,
        name: str,
        listen: Callable[[], Inbox],
        hear: Callable[[Sequence[bytes]], None],
        full: Callable[[], bool],
        clock: Clock,
    ) -> None:
        """It listens when this returns. Nothing is read while it is `full`."""
        self._full = full
        self._listen = listen
        self._hear = hear
        self._name = name
        self._outage = Outage(f"listening to {name}", clock)
        self._stopping = Signal()
        self._inbox: Inbox | None = listen()
        self._thread = Thread(self._run, f"kernel-hears-{name}")
        self._thread.start()

    def stop(self) -> None:
        """End. Idempotent."""
        self._stopping.set()
        if self._inbox is not None:
            self._inbox.close()
        self._thread.join(END_WITHIN)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                if self._inbox is None:
                    self._inbox = self._listen()
                payloads = self._inbox.get(1.0)
                self._outage.worked()
            except PortError as error:
                if not self._stopping.is_set():
                    self._forget_inbox()
                    self._stopping.wait(self._outage.failed(error))
                continue
            except Exception:
                # A defect, not an outage; but nobody else listens.
                log.exception("listening to %s failed; trying again", self._name)
                self._stopping.wait(1.0)
                continue
            if payloads:
                self._hear(payloads)
            while self._full() and not self._stopping.is_set():
                self._stopping.wait(0.1)

    def _forget_inbox(self) -> None:
        inbox, self._inbox = self._inbox, None
        if inbox is not None:
            inbox.close()


def _read(payload: bytes) -> Envelope | None:
    try:
        frame = decode(payload)
    except DecodeError:
        return None
    return frame if isinstance(frame, Envelope) else None
