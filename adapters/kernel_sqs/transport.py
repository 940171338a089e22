"""The Transport port on Amazon SQS."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from kernel.errors import PortError
from kernel.native import Signal, monotonic
from kernel.ports import Delivery, Features, Outgoing
from kernel_sqs import polls, sending
from kernel_sqs.offload import Offload
from kernel_sqs.polls import Polls
from kernel_sqs.queues import Queues
from kernel_sqs.receipts import Held, Receipt
from kernel_sqs.sending import Sending
from kernel_sqs.service import Service
from kernel_sqs.settling import Settling
from kernel_sqs.taking import Taking
from kernel_sqs.url import LONGEST_VISIBILITY, Location, parse

#: Messages in one call of the service.
MAX_BATCH = 10
#: Seconds for which SQS knows an equal deduplication id (SendMessage, API reference).
DEDUP = 300.0
#: A shorter `receive` looks every `LOOK_EVERY` seconds in place of a long poll, whose unit is the second.
SHORTEST_POLL = 1.0
LOOK_EVERY = 0.25
#: Seconds between two looks at queues for which no poll is left.
REST_EVERY = 1.0
#: Longest time in seconds that `close` takes for what it gives back, and for each poll beyond its own length.
CLOSE_FOR = 3.0


class SqsTransport:
    """Queues of one account and region; see `kernel.ports.transport` for what each method promises.

    Where the port leaves a choice: an ack after the end of the lease is lost, whether or not somebody else has the
    message. A release and `close` count as a delivery, because SQS counts what it hands out. Batches of any size are
    taken and cut into calls of ten. Existing queues are used as they are.

    A standard queue keeps the order of sending as well as it can, and may deliver a message twice.
    """

    def __init__(self, location: Location) -> None:
        self._location = location
        self._service = Service(location, polls.MOST)
        self._queues = Queues(location, self._service)
        store = Offload(self._service, location.bucket, location.folder) if location.bucket else None
        self._held = Held()
        self._settling = Settling(self._service, self._held, store, location.lease)
        self._sending = Sending(location, self._service, self._queues, store)
        self._taking = Taking(self._service, self._queues, self._settling, self._held, store, location.fifo)
        self._bell = Signal()
        self._woken = False
        self._polls = Polls(self._poll, self._give_back, self._bell)
        self._features = Features(
            lease=float(location.lease),
            lease_total=float(LONGEST_VISIBILITY),
            survives="power",
            delay=0.0 if location.fifo else float(sending.LONGEST_DELAY),
            max_batch=MAX_BATCH,
            max_payload=self._sending.largest,
            dedup=DEDUP if location.fifo else 0.0,
            ordered=location.fifo,
            release_counts=True,
            wake=True,
        )

    @classmethod
    def from_url(cls, url: str) -> SqsTransport:
        """The transport that a URL describes; `ConfigError` for what is none."""
        return cls(parse(url))

    @property
    def features(self) -> Features:
        """What this transport can do."""
        return self._features

    # -- lifecycle -------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Find credentials and see whether the service answers. Idempotent; a closed transport stays closed."""
        if self._service.open():
            self._queues.probe()

    def close(self) -> None:
        """Give back what this transport holds, as deliveries, and wait for the polls that are under way."""
        if self._service.closed:
            return
        self._service.shut()
        self._bell.set()
        self._polls.close(min(self._location.wait + 1.0, CLOSE_FOR + 1.0))
        until = monotonic() + CLOSE_FOR
        receipts = self._held.every()
        for start in range(0, len(receipts), MAX_BATCH):
            if monotonic() > until or not self._quietly(receipts[start : start + MAX_BATCH]):
                break  # their leases run out by themselves
        self._service.close()

    def declare(self, queues: Sequence[str]) -> None:
        """Make the queues exist, each with its dead-letter queue; `Rejected` where that is not permitted."""
        self._service.check()
        self._queues.declare(queues)

    # -- messages --------------------------------------------------------------------------------------------------

    def send(self, batch: Sequence[Outgoing]) -> None:
        """Store all messages."""
        self._service.check()
        self._sending.send(batch, time.time())

    def receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        """Take up to `limit` messages, ten at most, under a lease each."""
        self._service.check()
        self._queues.declare(queues)
        queues, limit = list(dict.fromkeys(queues)), min(limit, MAX_BATCH)
        if limit <= 0:
            return []
        until = monotonic() + timeout
        taken = self._look(queues, limit)
        if not taken and timeout > 0:
            wait = self._wait_polling if timeout >= SHORTEST_POLL else self._wait_looking
            taken = wait(queues, limit, until)
        self._woken = False
        return self._unless_closed(taken)

    def ack(self, batch: Sequence[Delivery]) -> list[Delivery]:
        """Settle for good; returns those whose lease was lost."""
        self._service.check()
        return self._settling.ack(batch)

    def release(self, batch: Sequence[Delivery]) -> list[Delivery]:
        """Give back at once; returns those whose lease was lost."""
        self._service.check()
        return self._settling.release(batch)

    def extend(self, batch: Sequence[Delivery], lease: float) -> list[Delivery]:
        """Hide the messages for `lease` seconds from now, rounded up to whole ones; returns those that were lost."""
        self._service.check()
        return self._settling.extend(batch, lease)

    def wake(self) -> None:
        """End a blocked `receive`, or the next one that would block. Its polls go on, for the next one."""
        self._woken = True
        self._bell.set()

    # -- inside ----------------------------------------------------------------------------------------------------

    def _look(self, queues: Sequence[str], limit: int) -> list[Delivery]:
        """What is there, in the order of the queues. One that is polled has nothing, or the poll would have it."""
        taken: list[Delivery] = []
        for queue in queues:
            if len(taken) == limit or self._service.closed:
                break
            try:
                taken += self._polls.collect([queue], limit - len(taken))
                if len(taken) < limit and not self._polls.under_way(queue):
                    taken += self._taking.take(queue, limit - len(taken), 0, self._location.lease)
            except PortError:
                if not taken:
                    raise
                break  # what earlier queues gave must not be lost for it; the next call meets it again
        return taken

    def _wait_looking(self, queues: Sequence[str], limit: int, until: float) -> list[Delivery]:
        while True:
            self._bell.clear()
            left = until - monotonic()
            if self._woken or self._service.closed or left <= 0:
                return []
            self._bell.wait(min(left, LOOK_EVERY))
            if left > LOOK_EVERY:
                taken = self._look(queues, limit)
                if taken:
                    return taken

    def _wait_polling(self, queues: Sequence[str], limit: int, until: float) -> list[Delivery]:
        rest_at = monotonic() + REST_EVERY
        while True:
            self._bell.clear()
            taken = self._polls.collect(queues, limit)
            if taken or self._woken or self._service.closed:
                return taken
            pause = math.inf if self._polls.start(queues, limit) else LOOK_EVERY
            now = monotonic()
            if pause < math.inf and now >= rest_at:
                taken, rest_at = self._look(queues, limit), now + REST_EVERY
            if taken or now >= until:
                return taken
            self._bell.wait(min(until - now, pause))

    def _poll(self, queue: str, limit: int) -> list[Delivery]:
        wait = self._location.wait
        taken = self._taking.take(queue, limit, wait, self._location.lease + wait + math.ceil(polls.GRACE))
        lease = self._location.lease
        late = [each for each in taken if each.receipt.held_until - polls.GRACE - monotonic() < lease]
        if late:
            # The answer was held up on its way: too little of the lease would be left.
            self._give_back(late)
        return [each for each in taken if each not in late]

    def _unless_closed(self, taken: list[Delivery]) -> list[Delivery]:
        if self._service.closed:
            self._give_back(taken)
            self._service.check()
        return taken

    def _give_back(self, taken: Sequence[Delivery]) -> None:
        self._quietly([each.receipt for each in taken])

    def _quietly(self, receipts: Sequence[Receipt]) -> bool:
        try:
            self._settling.give_back(receipts)
        except PortError:
            return False  # out of reach: the leases run out by themselves
        return True
