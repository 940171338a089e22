"""What runs here and now: the application of this process, and the message of the running task.

`current_app()` (`kernel.app`), `current_task()` (`kernel.task`) and `current_request()` read it. They are calls, not
proxies: what they return is typed and is what it seems.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Protocol

import msgspec

from kernel import envelope as wire
from kernel.envelope import Envelope


class Running(Protocol):
    """What a worker tells about the task that it runs."""

    envelope: Envelope
    #: Where it runs.
    node: str

    @property
    def queue(self) -> str:
        """The queue that it was sent to."""

    @property
    def redelivered(self) -> int:
        """Earlier deliveries of this message that ended without ack or release; -1: the transport cannot tell."""

    @property
    def task(self) -> Any:
        """The `Task` that runs."""


class Request(msgspec.Struct, frozen=True):
    """The message that the running task came with, as the task may see it."""

    id: str
    task: str
    #: Runs before this one.
    retries: int
    queue: str
    redelivered: int
    #: Wall clock of the caller; 0.0 when unknown.
    sent_at: float
    eta: float | None
    expires: float | None
    priority: int
    headers: dict[str, Any]
    root_id: str
    parent_id: str | None
    hostname: str
    #: Serializer of arguments and result.
    serializer: str
    generation: int


#: Set by a worker around each task, also for log records.
running: ContextVar[Running | None] = ContextVar("kernel_running", default=None)

#: The application of this process, at most one: a worker's own, else the first that was created.
application: list[Any] = []


def current_request() -> Request | None:
    """The message of the task that runs in this context, None outside of a worker."""
    job = running.get()
    if job is None:
        return None
    envelope = job.envelope
    extra = envelope.extra
    return Request(
        id=envelope.id,
        task=envelope.task,
        retries=envelope.attempt,
        queue=job.queue,
        redelivered=job.redelivered,
        sent_at=envelope.sent_at,
        eta=extra.get(wire.ETA),
        expires=extra.get(wire.EXPIRES_AT),
        priority=extra.get(wire.PRIORITY, 0),
        headers=extra.get(wire.HEADERS) or {},
        root_id=extra.get(wire.ROOT, envelope.id),
        parent_id=extra.get(wire.PARENT),
        hostname=job.node,
        serializer=envelope.codec,
        generation=envelope.generation,
    )
