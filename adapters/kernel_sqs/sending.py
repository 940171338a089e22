"""Messages on their way out: bodies, entries, and batches of at most ten messages and one MiB."""

from __future__ import annotations

import hashlib
import math
import re
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from kernel.errors import PartialSend, PortError, Rejected, Unavailable
from kernel.ports import Outgoing
from kernel_sqs import body, offload
from kernel_sqs.faults import GONE, code_of, failure
from kernel_sqs.offload import Offload
from kernel_sqs.queues import Queues
from kernel_sqs.service import Service
from kernel_sqs.url import LARGEST_MESSAGE, Location

#: Messages in one call, and bytes of all their bodies together (SendMessageBatch, API reference).
MOST = 10
MOST_BYTES = LARGEST_MESSAGE
#: Longest delay in seconds (the same).
LONGEST_DELAY = 900
#: What can be a group or a deduplication id as it is (the same); `~` begins those that are made here.
_TOKEN = re.compile(r"[A-Za-z0-9!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}][A-Za-z0-9!-/:-@\[-`{-~]{0,127}")

#: What goes into one call: indexes of the batch, and entries.
Chunk = list[tuple[int, dict[str, Any]]]


class Sending:
    """Sends batches; errors are told by message."""

    def __init__(self, location: Location, service: Service, queues: Queues, store: Offload | None) -> None:
        self._fifo = location.fifo
        self._service = service
        self._queues = queues
        self._store = store
        self._inside = body.largest(location.message_size)
        self._limit = f"{location.message_size} bytes of a message, which is {self._inside} of a payload"
        #: Largest payload in bytes.
        self.largest = offload.LARGEST if store else self._inside

    def send(self, batch: Sequence[Outgoing], now: float) -> None:
        """Store all messages; `PartialSend` names those that are not stored."""
        entries, errors = self._entries(batch, now)
        # Whole seconds: delays that become equal are sent in the order in which they end. Stable for all others.
        order = sorted(entries, key=lambda index: batch[index].not_before)
        away: PortError | None = None
        for queue, chunk in _requests(batch, entries, order):
            if away is not None:  # one timeout is enough; these were not even tried
                errors.update(dict.fromkeys([index for index, _ in chunk], away))
                continue
            try:
                errors.update(self._request(queue, chunk))
            except PortError as error:
                errors.update(dict.fromkeys([index for index, _ in chunk], error))
                if isinstance(error, Unavailable):
                    away = error if error.sent == "no" else Unavailable(str(error))
        if errors:
            first = next(iter(errors.values()))
            if len(errors) == len(batch) and all(error is first for error in errors.values()):
                raise first
            raise PartialSend(dict(sorted(errors.items())))

    def _entries(self, batch: Sequence[Outgoing], now: float) -> tuple[dict[int, dict[str, Any]], dict[int, PortError]]:
        """What can be sent, and why the rest cannot. A service that is away is asked once and not per message."""
        entries: dict[int, dict[str, Any]] = {}
        errors: dict[int, PortError] = {}
        away: dict[str, PortError] = {}
        for index, out in enumerate(batch):
            try:
                if out.queue in away:
                    raise away[out.queue]
                self._queues.url(out.queue)
                entries[index] = self._entry(index, out, now)
            except Unavailable as error:
                away[out.queue] = errors[index] = error
            except PortError as error:
                errors[index] = error
        return entries, errors

    def _request(self, queue: str, chunk: Chunk) -> dict[int, PortError]:
        try:
            url = self._queues.url(queue)
            self._service.be_heard(queue, url)
            entries = [entry for _, entry in chunk]
            answer = self._service.sqs("send_message_batch", queue, QueueUrl=url, Entries=entries)
        except PortError as error:
            if error.__cause__ is not None and code_of(error.__cause__) in GONE:
                self._queues.forget(queue)
            raise
        failed = answer.get("Failed", [])
        return {int(entry["Id"]): failure(entry, f"sending to {queue!r}") for entry in failed}

    def _entry(self, index: int, out: Outgoing, now: float) -> dict[str, Any]:
        if len(out.payload) > self.largest:
            where = f"{offload.LARGEST} bytes of an object" if self._store else f"{self._limit}; s3= lifts that"
            raise Rejected(f"a payload of {len(out.payload)} bytes is above the limit of {where}")
        delay = math.ceil(out.not_before - now) if out.not_before > now else 0
        if delay and self._fifo:
            raise Rejected("a message of a FIFO queue cannot be delayed by itself")
        if delay > LONGEST_DELAY:
            raise Rejected(f"a delay of {delay} s is above the limit of {LONGEST_DELAY} s")
        entry: dict[str, Any] = {"Id": str(index), "MessageBody": self._body(out.payload)}
        if not self._fifo:
            return {**entry, "DelaySeconds": delay}
        # Without a key a group of its own, or all messages without one would be delivered one at a time.
        group, once = token(out.order_key), token(out.dedup_key)
        return {**entry, "MessageGroupId": group, "MessageDeduplicationId": once}

    def _body(self, payload: bytes) -> str:
        if self._store is not None and len(payload) > self._inside:
            return self._store.put(payload)
        return body.encode(payload)


def token(key: str) -> str:
    """A key as a group or deduplication id: as it is where SQS takes it, else its hash; without a key a new one."""
    if not key:
        return f"~{uuid.uuid4().hex}"
    if _TOKEN.fullmatch(key):
        return key
    return f"~{hashlib.sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _requests(
    batch: Sequence[Outgoing], entries: dict[int, dict[str, Any]], order: Sequence[int]
) -> Iterator[tuple[str, Chunk]]:
    """The calls: per queue, in order, each within the limits of one call."""
    for queue in dict.fromkeys(batch[index].queue for index in order):
        chunk: Chunk = []
        size = 0
        for index in order:
            if batch[index].queue != queue:
                continue
            length = len(entries[index]["MessageBody"])
            if chunk and (len(chunk) == MOST or size + length > MOST_BYTES):
                yield queue, chunk
                chunk, size = [], 0
            chunk.append((index, entries[index]))
            size += length
        if chunk:
            yield queue, chunk
