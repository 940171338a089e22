"""The Transport port on an SQLite file, with every optional protocol but ordering and deduplication."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Sequence
from itertools import count
from math import inf

from kernel.errors import PartialSend, PortError, Rejected, Unavailable
from kernel.ports import Delivery, Features, Inbox, Outgoing, QueueSize
from kernel_sqlite import inspection, messages
from kernel_sqlite.broadcast import Channels
from kernel_sqlite.database import Database
from kernel_sqlite.keys import LAST_QUEUE, TOP, queue_of
from kernel_sqlite.messages import Held, Receipt
from kernel_sqlite.url import Location, parse
from kernel_sqlite.wakeup import Bell, WaitingRoom, queue_topic

#: Most messages in one call: a transaction of this size holds other writers up for some tens of milliseconds.
MAX_BATCH = 5000
#: Largest payload in bytes. SQLite takes a gigabyte, but every claim copies the message once.
MAX_PAYLOAD = 64 * 1024 * 1024
#: Seconds after which a blocked `receive` looks without having been called. A time that is further away than this
#: needs no call when it is set, because every waiter learns of it in time.
LOOK_FOR = 1.0
#: Bits of a token that count the claims of one transport; those above are drawn when it opens.
CLAIM_BITS = 33


class SqliteTransport:
    """Queues in one file for all processes of a host; see `kernel.ports.transport` for what each method promises.

    Where the port leaves a choice: an ack after the end of the lease succeeds as long as nobody else was given the
    message; `close` and an expired lease count as a delivery, a release does not, and all three put the message back
    to its old place. Acking again what this transport has acked is no error; committing it again publishes nothing
    and returns it as lost. More than `max_batch` messages in one call are `Rejected`.

    Leases and delays run by the wall clock of the host. Set forward, it ends leases early, and what was held is run
    again; set back, it makes delays longer by as much, and the leases of what died before.
    """

    def __init__(self, location: Location) -> None:
        self._location = location
        self._database = Database(location)
        self._room = WaitingRoom(self._database.path)
        self._channels = Channels(self._database, self._room)
        self._queues: dict[str, int] = {}
        self._bell = Bell()
        self._woken = False
        self._busy = False
        self._closing = False
        self._owner = random.SystemRandom().getrandbits(63 - CLAIM_BITS) << CLAIM_BITS
        self._claims = count(0)
        self._look_for = min(LOOK_FOR, location.lease / 2)
        self._features = Features(
            lease=location.lease,
            survives="power" if location.synchronous == "full" else "service",
            delay=inf,
            priorities=TOP + 1,
            max_batch=MAX_BATCH,
            max_payload=MAX_PAYLOAD,
            broadcast=True,
            commit=True,
            counts=True,
            answers_within=location.timeout,
            inspect=True,
            peek=True,
            lists=True,
            wake=True,
        )

    @classmethod
    def from_url(cls, url: str) -> SqliteTransport:
        """The transport that a URL describes; `ConfigError` for what is none."""
        return cls(parse(url))

    @property
    def features(self) -> Features:
        """What this transport can do."""
        return self._features

    # -- lifecycle -------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Open the file, creating it when it is missing. Idempotent; a closed transport stays closed."""
        self._database.open()

    def close(self) -> None:
        """Give back what this transport holds, as deliveries that ended without ack, and close the file."""
        self._closing = True
        try:
            with self._database.write() as connection:
                last = self._owner + (1 << CLAIM_BITS) - 1
                freed = messages.abandon(connection, self._owner, last, time.time())
            self._call(freed)
        except PortError:
            pass  # never opened, closed before, or out of reach: the leases run out by themselves
        self._database.close()
        self._channels.close()
        self._bell.close()

    def declare(self, queues: Sequence[str]) -> None:
        """Make the queues exist; `Rejected` beyond 65,535 of them."""
        with self._database.write() as connection:
            connection.executemany("INSERT OR IGNORE INTO queue (name) VALUES (?)", [(name,) for name in queues])
            found = dict(connection.execute("SELECT name, id FROM queue").fetchall())
            if max(found.values(), default=0) > LAST_QUEUE:
                raise Rejected(f"a database holds at most {LAST_QUEUE} queues")
        self._queues = found

    # -- messages --------------------------------------------------------------------------------------------------

    def send(self, batch: Sequence[Outgoing]) -> None:
        """Store all messages."""
        errors = self._refusals(batch)
        good = [out for index, out in enumerate(batch) if index not in errors] if errors else batch
        if errors and not good:
            raise next(iter(errors.values()))
        queues = self._numbers({out.queue for out in good})
        now = time.time()
        with self._database.write() as connection:
            messages.insert(connection, good, queues, now)
        self._announce(good, queues, now)
        if errors:
            raise PartialSend(errors)

    def receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        """Take up to `limit` messages under a lease each."""
        numbers = self._numbers(dict.fromkeys(queues))
        limit = min(limit, MAX_BATCH)
        if limit <= 0:
            return []
        taken = self._take(numbers, limit)
        if not taken and timeout > 0:
            taken = self._wait(numbers, limit, timeout)
        if self._woken:
            self._woken = False
            self._bell.hush()
        if len(taken) == limit and self._room.waiting():
            self._pass_on(numbers)
        return taken

    def ack(self, batch: Sequence[Delivery]) -> list[Delivery]:
        """Settle for good; returns those whose lease was lost."""
        _check_size(batch)
        with self._database.write() as connection:
            held = messages.settle(connection, [delivery.receipt for delivery in batch])
        return _settled(batch, held, acked=True)

    def release(self, batch: Sequence[Delivery]) -> list[Delivery]:
        """Give back at once; returns those whose lease was lost."""
        _check_size(batch)
        with self._database.write() as connection:
            held = messages.give_back(connection, [delivery.receipt for delivery in batch], time.time())
        lost = _settled(batch, held, acked=False)
        self._call(queue_of(delivery.receipt.key) for delivery in batch)
        return lost

    # -- optional protocols ----------------------------------------------------------------------------------------

    def extend(self, batch: Sequence[Delivery], lease: float) -> list[Delivery]:
        """Hide the messages for `lease` seconds from now; returns those whose lease was lost."""
        _check_size(batch)
        with self._database.write() as connection:
            held = messages.extend(connection, [delivery.receipt for delivery in batch], time.time() + lease)
        if lease <= self._look_for:
            self._call({queue_of(delivery.receipt.key) for delivery in batch}, inf)
        return _settled(batch, held, acked=False)

    def commit(self, batch: Sequence[tuple[Delivery, Sequence[Outgoing]]]) -> list[Delivery]:
        """Publish the sends of each delivery and ack it, as one step; of a lost delivery nothing is published."""
        _check_size(batch)
        every = [out for _, sends in batch for out in sends]
        for error in self._refusals(every, unlimited=True).values():
            raise error
        queues = self._numbers({out.queue for out in every})
        now = time.time()
        deliveries = [delivery for delivery, _ in batch]
        with self._database.write() as connection:
            held = messages.settle(connection, [delivery.receipt for delivery in deliveries])
            left = dict(held)
            published: list[Outgoing] = []
            lost: list[Delivery] = []
            for delivery, sends in batch:
                if left.get(delivery.receipt.key) == delivery.receipt.token:
                    del left[delivery.receipt.key]
                    published.extend(sends)
                else:
                    lost.append(delivery)
            if published:
                messages.insert(connection, published, queues, now)
        _settled(deliveries, held, acked=True)
        self._announce(published, queues, now)
        return lost

    def wake(self) -> None:
        """End a blocked `receive`, or the next one that would block."""
        # Before the bell, for who looks and has no bell yet; after it, because a bell that rings when its note was
        # taken already would never be hushed, and every later wait would spin.
        self._woken = True
        self._bell.ring()
        self._woken = True

    def publish(self, channel: str, payload: bytes) -> None:
        """Hand a copy to every inbox of the channel."""
        self._channels.publish(channel, payload)

    def listen(self, channel: str) -> Inbox:
        """Open an inbox."""
        return self._channels.listen(channel)

    def queues(self) -> list[str]:
        """Names of the queues that exist, sorted."""
        with self._database.read() as connection:
            return inspection.names(connection)

    def sizes(self, queues: Sequence[str]) -> list[QueueSize]:
        """How full each queue is."""
        with self._database.read() as connection:
            return [inspection.size(connection, name, time.time()) for name in queues]

    def peek(self, queue: str, limit: int) -> list[bytes]:
        """Payloads of ready and delayed messages, the next to be delivered first."""
        with self._database.read() as connection:
            return inspection.peek(connection, queue, limit, time.time())

    def purge(self, queue: str) -> int:
        """Drop all ready and delayed messages; returns how many."""
        with self._database.write() as connection:
            return inspection.purge(connection, queue, time.time())

    # -- inside ----------------------------------------------------------------------------------------------------

    def _numbers(self, names: Iterable[str]) -> dict[str, int]:
        known = self._queues
        try:
            return {name: known[name] for name in names}
        except KeyError:
            names = list(names)
            self.declare(names)
            return {name: self._queues[name] for name in names}

    def _take(self, queues: dict[str, int], limit: int) -> list[Delivery]:
        # Looking costs a read and no writer's lock; it is left out while there was something the last time.
        if not self._busy:
            with self._database.read() as connection:
                at = messages.next_at(connection, queues.values())
            if at is None or at > time.time():
                return []
        taken: list[Delivery] = []
        # Whose lease ended while we waited for our turn may be waiting for his, to renew it: that lease is spared. Our
        # own begins when we have the turn, or a long wait would hand out leases that are over already.
        asked_at = time.time()
        with self._database.write() as connection:
            if self._closing:
                raise Unavailable(f"{self._database.path}: closed")  # nobody would give it back any more
            until = time.time() + self._location.lease
            for queue in queues.items():
                token = self._owner + next(self._claims)
                taken += messages.claim(connection, queue, limit - len(taken), token, asked_at, until)
                if len(taken) == limit:
                    break
        self._busy = bool(taken)
        return taken

    def _wait(self, queues: dict[str, int], limit: int, timeout: float) -> list[Delivery]:
        taken: list[Delivery] = []

        def look() -> float | None:
            taken.extend(self._take(queues, limit))
            if taken or self._woken:
                return None
            with self._database.read() as connection:
                at = messages.next_at(connection, queues.values())
            return self._look_for if at is None else min(at - time.time(), self._look_for)

        self._room.watch([queue_topic(number) for number in queues.values()], timeout, self._bell, look)
        return taken

    def _pass_on(self, queues: dict[str, int]) -> None:
        # The call for a message that is still there may have come to us.
        with self._database.read() as connection:
            at = messages.next_at(connection, queues.values())
        if at is not None and at <= time.time():
            self._call(queues.values())

    def _announce(self, batch: Sequence[Outgoing], queues: dict[str, int], now: float) -> None:
        if not self._room.waiting():
            return
        wanted: dict[str, float] = {}
        for out in batch:
            topic = queue_topic(queues[out.queue])
            if out.not_before <= now:
                wanted[topic] = wanted.get(topic, 0) + 1
            elif out.not_before <= now + self._look_for:
                wanted[topic] = inf  # every waiter must learn of it: the one that was told may be busy by then
        self._room.call(wanted)

    def _call(self, queues: Iterable[int], each: float = 1) -> None:
        if self._room.waiting():
            wanted: dict[str, float] = {}
            for queue in queues:
                topic = queue_topic(queue)
                wanted[topic] = wanted.get(topic, 0) + each
            self._room.call(wanted)

    def _refusals(self, batch: Sequence[Outgoing], *, unlimited: bool = False) -> dict[int, PortError]:
        if not unlimited:
            _check_size(batch)
        return {
            index: Rejected(f"priority {out.priority} is not 0 to 9, or {len(out.payload)} bytes exceed {MAX_PAYLOAD}")
            for index, out in enumerate(batch)
            if len(out.payload) > MAX_PAYLOAD or not 0 <= out.priority <= TOP
        }


def _check_size(batch: Sequence[object]) -> None:
    if len(batch) > MAX_BATCH:
        raise Rejected(f"{len(batch)} in one call; at most {MAX_BATCH}")


def _settled(batch: Sequence[Delivery], held: Held, *, acked: bool) -> list[Delivery]:
    """Those of `batch` that were lost; with `acked` the others are marked as done."""
    lost = []
    for delivery in batch:
        receipt: Receipt = delivery.receipt
        if held.get(receipt.key) == receipt.token:
            receipt.acked = receipt.acked or acked
        elif not receipt.acked:
            lost.append(delivery)
    return lost
