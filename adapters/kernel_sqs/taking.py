"""One ReceiveMessage, and what it gave as deliveries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kernel.errors import PortError
from kernel.native import monotonic
from kernel.ports import Delivery
from kernel_sqs import body
from kernel_sqs.faults import GONE, code_of
from kernel_sqs.offload import Offload
from kernel_sqs.queues import Queues
from kernel_sqs.receipts import Held, Receipt
from kernel_sqs.service import Service
from kernel_sqs.settling import Settling
from kernel_sqs.url import LONGEST_VISIBILITY

#: Messages in one call (ReceiveMessage, API reference).
MOST = 10
#: System attributes that are asked for.
_ATTRIBUTES = ["ApproximateReceiveCount", "MessageGroupId"]


class Taking:
    """Receives from one queue at a time, by any thread."""

    def __init__(
        self, service: Service, queues: Queues, settling: Settling, held: Held, store: Offload | None, fifo: bool
    ) -> None:
        self._service = service
        self._queues = queues
        self._settling = settling
        self._held = held
        self._store = store
        self._fifo = fifo
        #: Of a FIFO queue: how many to ask for.
        self._sizes: dict[str, int] = {}

    def take(self, queue: str, limit: int, wait: int, lease: int) -> list[Delivery]:
        """Take up to `limit` messages, waiting up to `wait` seconds for the first, and hide them for `lease` seconds.

        Both in whole seconds. The lease begins at some moment of the call, so it is counted from before it.
        """
        url = self._queues.url(queue)
        started_at = monotonic()
        try:
            answer = self._service.sqs(
                "receive_message",
                queue,
                QueueUrl=url,
                MaxNumberOfMessages=self._size(queue, limit),
                WaitTimeSeconds=wait,
                VisibilityTimeout=lease,
                AttributeNames=_ATTRIBUTES,
            )
        except PortError as error:
            if error.__cause__ is not None and code_of(error.__cause__) in GONE:
                self._queues.forget(queue)
            raise
        messages: list[Mapping[str, Any]] = answer.get("Messages", [])
        total_until = started_at + LONGEST_VISIBILITY - 1
        receipts = [Receipt(url, each["ReceiptHandle"], started_at + lease, total_until) for each in messages]
        self._held.add(receipts)
        if self._fifo:
            messages, receipts = self._one_of_each_group(queue, messages, receipts)
        return self._deliveries(queue, messages, receipts)

    def _deliveries(self, queue: str, messages: list[Mapping[str, Any]], receipts: list[Receipt]) -> list[Delivery]:
        found: list[Delivery] = []
        failed: PortError | None = None
        for message, receipt in zip(messages, receipts, strict=True):
            try:
                payload = self._payload(message["Body"], receipt)
            except PortError as error:
                # S3 is away: the message keeps its lease. Given back at once, it would come again at once.
                failed = error
                continue
            # A flag: the service calls the count approximate, and counts what was given back.
            again = int(message.get("Attributes", {}).get("ApproximateReceiveCount", 1)) > 1
            found.append(Delivery(payload, queue, receipt, int(again)))
        if failed is not None and not found:
            raise failed
        return found

    def _payload(self, text: str, receipt: Receipt) -> bytes:
        key = self._store.key(text) if self._store is not None else ""
        if not key or self._store is None:
            return body.decode(text)
        payload = self._store.get(key)
        if payload is None:
            return text.encode()  # its object is lost: the kernel puts what is left into the dead letters
        receipt.stored = key
        return payload

    # -- FIFO queues -----------------------------------------------------------------------------------------------

    def _size(self, queue: str, limit: int) -> int:
        return min(limit, MOST, self._sizes.get(queue, 1)) if self._fifo else min(limit, MOST)

    def _one_of_each_group(
        self, queue: str, messages: list[Mapping[str, Any]], receipts: list[Receipt]
    ) -> tuple[list[Mapping[str, Any]], list[Receipt]]:
        """The first message of each group; the others go back at once.

        SQS locks a group while a message of it is out, but one answer may hold several of one group, and prefers to.
        Each that goes back has a delivery counted for nothing, so the next answers are asked for one message, and
        grow again while groups differ.
        """
        groups: set[str] = set()
        first: list[int] = []
        others: list[Receipt] = []
        for at, message in enumerate(messages):
            group = message.get("Attributes", {}).get("MessageGroupId", "")
            if group in groups:
                others.append(receipts[at])
            else:
                groups.add(group)
                first.append(at)
        if others:
            self._sizes[queue] = 1
            self._settling.give_back(others)
        elif messages:
            self._sizes[queue] = min(MOST, 2 * self._sizes.get(queue, 1))
        return [messages[at] for at in first], [receipts[at] for at in first]
