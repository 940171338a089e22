"""What tools see of the queues, as far as AMQP tells: how many messages are ready, and nothing of the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kernel.errors import PortError
from kernel.ports import QueueSize
from kernel_rabbitmq.faults import NOT_FOUND, code_of
from kernel_rabbitmq.steps import Steps
from kernel_rabbitmq.topology import Topology


def sizes(topology: Topology, queues: Sequence[str]) -> Steps[list[QueueSize]]:
    """How full each queue is; an unknown one is empty, and is not made."""
    found: list[QueueSize] = []
    for queue in queues:
        frame = yield from _unless_missing(topology, "queue_declare", topology.name(queue), passive=True)
        found.append(QueueSize(queue, 0 if frame is None else frame.method.message_count))
    return found


def purge(topology: Topology, queue: str) -> Steps[int]:
    """Drop the ready messages. Delayed ones are in the queues of their levels, where nobody can pick them out."""
    frame = yield from _unless_missing(topology, "queue_purge", topology.name(queue))
    return 0 if frame is None else int(frame.method.message_count)


def _unless_missing(topology: Topology, method: str, name: str, **options: Any) -> Steps[Any]:
    """The answer of the broker, None when there is no such queue."""
    try:
        answer = yield from topology.rpc(method, name, **options)
    except PortError as error:
        if code_of(error.__cause__ or error) != NOT_FOUND:
            raise
        return None
    return answer
