"""Acknowledging, giving back and holding on to what was received, ten in a call."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from kernel.errors import PortError
from kernel.native import monotonic
from kernel.ports import Delivery
from kernel_sqs.faults import STALE, failure
from kernel_sqs.offload import Offload
from kernel_sqs.receipts import Held, Receipt
from kernel_sqs.service import Service

#: Receipts in one call (DeleteMessageBatch and ChangeMessageVisibilityBatch, API reference).
MOST = 10


class Settling:
    """What becomes of receipts. A receipt whose time is over is never sent: see `Receipt`."""

    def __init__(self, service: Service, held: Held, store: Offload | None, lease: float) -> None:
        self._service = service
        self._held = held
        self._store = store
        #: Seconds before the end of a lease from which it counts as over: the call needs some time to arrive.
        self._margin = min(1.0, lease / 20)

    def ack(self, batch: Sequence[Delivery]) -> list[Delivery]:
        """Delete the messages; returns those whose lease was lost. What S3 holds of them is deleted after them."""
        live = self._live(batch)

        def done(receipt: Receipt) -> None:
            receipt.state = "acked"
            self._held.drop(receipt)

        try:
            self._each("delete_message_batch", live, lambda receipt: {}, done)
        finally:
            self._clear([receipt for receipt in live if receipt.state == "acked"])
        return _lost(batch)

    def release(self, batch: Sequence[Delivery]) -> list[Delivery]:
        """Make the messages visible; returns those whose lease was lost."""
        live = self._live(batch)
        lost = {delivery.receipt for delivery in _lost(batch)} | self.give_back(live)
        return [delivery for delivery in batch if delivery.receipt in lost]

    def give_back(self, receipts: Sequence[Receipt]) -> set[Receipt]:
        """Make the messages of receipts visible; returns those that the service does not know any more."""
        freed: set[Receipt] = set()

        def done(receipt: Receipt) -> None:
            freed.add(receipt)
            receipt.state = "gone"
            self._held.drop(receipt)

        self._each("change_message_visibility_batch", receipts, lambda receipt: {"VisibilityTimeout": 0}, done)
        return set(receipts) - freed

    def extend(self, batch: Sequence[Delivery], lease: float) -> list[Delivery]:
        """Hide the messages for `lease` seconds from now, rounded up; returns those whose lease was lost."""
        now = monotonic()
        live = self._live(batch)
        left = {receipt: min(math.ceil(lease), math.floor(receipt.total_until - now)) for receipt in live}
        for receipt in [each for each in live if left[each] < min(1, math.ceil(lease))]:
            self._lose(receipt)  # nothing holds it any longer, and 0 would be a release
            live.remove(receipt)

        def done(receipt: Receipt) -> None:
            if monotonic() < receipt.held_until:
                receipt.held_until = now + left[receipt]
            else:  # held up on its way: SQS honours that too, and somebody else may have had the message in between
                self._lose(receipt)

        operation = "change_message_visibility_batch"
        self._each(operation, live, lambda receipt: {"VisibilityTimeout": left[receipt]}, done)
        return _lost(batch)

    def _live(self, batch: Sequence[Delivery]) -> list[Receipt]:
        """The receipts that still hold their message, each once; those whose time is over are marked."""
        latest = monotonic() + self._margin
        live: list[Receipt] = []
        for receipt in dict.fromkeys(delivery.receipt for delivery in batch):
            if receipt.state == "held" and receipt.held_until <= latest:
                self._lose(receipt)
            if receipt.state == "held":
                live.append(receipt)
        return live

    def _lose(self, receipt: Receipt) -> None:
        receipt.state = "gone"
        self._held.drop(receipt)

    def _each(
        self,
        operation: str,
        receipts: Iterable[Receipt],
        entry: Callable[[Receipt], dict[str, Any]],
        done: Callable[[Receipt], None],
    ) -> None:
        """One call per ten receipts of a queue. Every answer is taken in before an error of some is raised, so that
        the same batch can be given again and only they are asked for again."""
        errors: list[PortError] = []
        for chunk in _chunks(receipts):
            asked = [
                {"Id": str(at), "ReceiptHandle": receipt.handle, **entry(receipt)} for at, receipt in enumerate(chunk)
            ]
            what = chunk[0].url.rpartition("/")[2]
            answer = self._service.sqs(operation, what, QueueUrl=chunk[0].url, Entries=asked)
            failed = {int(each["Id"]): each for each in answer.get("Failed", [])}
            for at, receipt in enumerate(chunk):
                if at not in failed:
                    done(receipt)
                elif str(failed[at].get("Code", "")).rpartition(".")[2] in STALE:
                    self._lose(receipt)
                else:
                    errors.append(failure(failed[at], f"{operation} of {what!r}"))
        if errors:
            raise errors[0]

    def _clear(self, receipts: Iterable[Receipt]) -> None:
        for receipt in receipts:
            if receipt.stored and self._store is not None:
                key, receipt.stored = receipt.stored, ""
                try:
                    self._store.delete(key)
                except PortError:
                    pass  # the message is settled, which is what was asked; the bucket's lifecycle rule has the rest


def _chunks(receipts: Iterable[Receipt]) -> list[list[Receipt]]:
    by_url: dict[str, list[Receipt]] = {}
    for receipt in receipts:
        by_url.setdefault(receipt.url, []).append(receipt)
    return [each[at : at + MOST] for each in by_url.values() for at in range(0, len(each), MOST)]


def _lost(batch: Sequence[Delivery]) -> list[Delivery]:
    return [delivery for delivery in batch if delivery.receipt.state == "gone"]
