"""The URLs of queues: given, looked up, or made with their dead-letter queue."""

from __future__ import annotations

import json
from collections.abc import Iterable

from kernel.errors import PortError, Rejected
from kernel_sqs.faults import DENIED, GONE, code_of
from kernel_sqs.names import dead_of, encoded, full
from kernel_sqs.service import Service
from kernel_sqs.url import Location

#: Seconds for which SQS keeps a message, the longest that it takes: 14 days (CreateQueue, API reference).
RETENTION = 14 * 86400
#: Codes of a queue that is there already with other attributes; old and new protocol.
_THERE = frozenset({"QueueAlreadyExists", "QueueNameExists"})


class Queues:
    """Name of a queue: its URL. A queue that exists is used as it is; its attributes are its owner's business."""

    def __init__(self, location: Location, service: Service) -> None:
        self._location = location
        self._service = service
        self._urls: dict[str, str] = dict(location.queues)

    def url(self, queue: str) -> str:
        """The URL of a queue, which is found or made on first use; `Rejected` when it cannot be."""
        found = self._urls.get(queue)
        if found is None:
            found = self._urls[queue] = self._given(queue) if self._location.predefined else self._found(queue)
        return found

    def declare(self, queues: Iterable[str]) -> None:
        """Find or make queues."""
        for queue in queues:
            self.url(queue)

    def forget(self, queue: str) -> None:
        """Look the queue up again on its next use, and its dead letters: it was deleted, or is not there yet."""
        if not self._location.predefined:
            self._urls.pop(queue, None)
            self._urls.pop(dead_of(queue), None)

    def probe(self) -> None:
        """See whether the service answers. With given queues nothing is asked that needs the rights to look up."""
        if not self._location.predefined:
            name = full(self._location.prefix, "kernel", self._location.fifo)
            self._service.probe("get_queue_url", GONE, QueueName=name)
        for url in list(self._location.queues.values())[:1]:
            # A refusal is an answer too: the right to read attributes is not needed for anything else.
            self._service.probe("get_queue_attributes", GONE | DENIED, QueueUrl=url, AttributeNames=["QueueArn"])

    def _given(self, queue: str) -> str:
        if not self._location.pattern:
            raise Rejected(f"queue {queue!r} is not given: add queue.{queue}=<queue url>, or queue.*=, to the URL")
        return self._location.pattern.replace("{name}", encoded(queue))

    def _found(self, queue: str) -> str:
        name = full(self._location.prefix, queue, self._location.fifo)
        found = self._looked_up(queue, name)
        if found:
            return found
        if not self._location.create:
            raise Rejected(f"there is no queue {name!r}, and create=no keeps it from being made")
        return self._made(queue, name)

    def _looked_up(self, queue: str, name: str) -> str:
        try:
            return str(self._service.sqs("get_queue_url", queue, QueueName=name)["QueueUrl"])
        except PortError as error:
            if error.__cause__ is not None and code_of(error.__cause__) in GONE:
                return ""
            raise

    def _made(self, queue: str, name: str) -> str:
        attributes = self._attributes(queue)
        try:
            return str(self._service.sqs("create_queue", queue, QueueName=name, Attributes=attributes)["QueueUrl"])
        except Rejected as error:
            if error.__cause__ is None or code_of(error.__cause__) not in _THERE:
                raise
            # Another process was faster, with other settings: one of them wins, and both use the queue.
            return self._looked_up(queue, name)

    def _attributes(self, queue: str) -> dict[str, str]:
        location = self._location
        attributes = {
            "VisibilityTimeout": str(location.lease),
            "MessageRetentionPeriod": str(RETENTION),
            "MaximumMessageSize": str(location.message_size),
        }
        if location.fifo:
            attributes["FifoQueue"] = "true"
        dead = dead_of(queue)
        if dead:
            asked = {"QueueUrl": self.url(dead), "AttributeNames": ["QueueArn"]}
            arn = self._service.sqs("get_queue_attributes", dead, **asked)["Attributes"]["QueueArn"]
            redrive = {"deadLetterTargetArn": arn, "maxReceiveCount": location.deliveries}
            attributes["RedrivePolicy"] = json.dumps(redrive)
        return attributes
