"""The message that the running task came with, as the task may see it."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from kernel import envelope as wire
from kernel.current import Running, running

T = TypeVar("T")


class _Field(Generic[T]):
    """An optional field of the envelope, read when somebody asks."""

    __slots__ = ("_default", "_number")

    def __init__(self, number: int, default: T) -> None:
        self._number = number
        self._default = default

    def __get__(self, request: Request, owner: type[Request]) -> T:
        value: T = request._job.envelope.extra.get(self._number, self._default)
        return value


class Request:
    """The call that runs. Nothing of it is worked out before it is asked for: a task that does not look pays nothing.

    Times are wall clock, limits in seconds. `called_directly` says that there is no message: the task was called as the
    function that it is, and its id is "".
    """

    __slots__ = ("_job",)

    def __init__(self, job: Running) -> None:
        self._job = job

    def __repr__(self) -> str:
        return f"<Request {self.task}[{self.id}]>"

    #: Not started before, not started from then on.
    eta = _Field[float | None](wire.ETA, None)
    expires = _Field[float | None](wire.EXPIRES_AT, None)
    #: 0 to 9, 9 the most urgent.
    priority = _Field[int](wire.PRIORITY, 0)
    parent_id = _Field[str | None](wire.PARENT, None)
    #: The group that it is a member of, and its place in it.
    group = _Field[str | None](wire.GROUP, None)
    group_index = _Field[int | None](wire.JOIN_INDEX, None)
    #: The node that sent it, and the inbox that waits for an answer, where they are known.
    origin = _Field[str | None](wire.ORIGIN, None)
    reply_to = _Field[str | None](wire.REPLY_TO, None)
    #: The name to show in place of the task's.
    shadow = _Field[str | None](wire.SHADOW, None)
    #: Version of the arguments as they were sent; 1 for a task that says nothing of versions.
    version = _Field[int](wire.SCHEMA, 1)

    @property
    def id(self) -> str:
        """Id of the task."""
        return self._job.envelope.id

    @property
    def task(self) -> str:
        """Name of the task."""
        return self._job.envelope.task

    @property
    def args(self) -> list[Any]:
        """The positional arguments, decoded anew: what the body does to its own is not seen here."""
        return self._job.arguments()[0]

    @property
    def kwargs(self) -> dict[str, Any]:
        """The keyword arguments, decoded anew."""
        return self._job.arguments()[1]

    @property
    def retries(self) -> int:
        """Runs before this one that asked for a retry."""
        return self._job.envelope.attempt

    @property
    def queue(self) -> str:
        """The queue that it was sent to."""
        return self._job.queue

    @property
    def redelivered(self) -> int:
        """Earlier deliveries that ended without ack or release; -1: the transport cannot tell."""
        return self._job.redelivered

    @property
    def sent_at(self) -> float:
        """When the caller sent it; 0.0 when unknown."""
        return self._job.envelope.sent_at

    @property
    def generation(self) -> int:
        """How often it was sent anew after it had ended."""
        return self._job.envelope.generation

    @property
    def serializer(self) -> str:
        """Serializer of arguments."""
        return self._job.envelope.codec

    @property
    def headers(self) -> dict[str, Any]:
        """The caller's own values."""
        return self._job.envelope.extra.get(wire.HEADERS) or {}

    @property
    def stamps(self) -> dict[str, Any]:
        """Stamps of the workflow."""
        return self._job.envelope.extra.get(wire.STAMPS) or {}

    @property
    def root_id(self) -> str:
        """The task that began all this; its own id for one that was not sent by another."""
        root: str = self._job.envelope.extra.get(wire.ROOT, self._job.envelope.id)
        return root

    @property
    def hostname(self) -> str:
        """The node where it runs."""
        return self._job.node

    @property
    def soft_time_limit(self) -> float | None:
        """The soft limit of this run, None for none."""
        return self._job.soft_limit or None

    @property
    def time_limit(self) -> float | None:
        """The hard limit of this run, None for none."""
        return self._job.hard_limit or None

    @property
    def timelimit(self) -> tuple[float | None, float | None]:
        """Hard and soft limit, in Celery's order."""
        return self.time_limit, self.soft_time_limit

    @property
    def ignore_result(self) -> bool:
        """Whether nobody keeps what it returns."""
        return not self._job.store

    @property
    def is_eager(self) -> bool:
        """Whether it runs inside of its caller, by `apply` or `always_eager`."""
        return self._job.place == "eager"

    @property
    def called_directly(self) -> bool:
        """Whether it was called as a function."""
        return self._job.place == "direct"

    @property
    def correlation_id(self) -> str:
        """The id, under the name that Celery's messages have for it."""
        return self.id

    @property
    def delivery_info(self) -> dict[str, Any]:
        """How it came, in Celery's shape: one exchange, and a routing key that is the queue."""
        return {
            "exchange": "",
            "routing_key": self.queue,
            "priority": self.priority,
            "redelivered": self.redelivered > 0,
            "is_eager": self.is_eager,
        }


def current_request() -> Request | None:
    """The message of the task that runs in this context, None outside of a worker."""
    job = running.get()
    return None if job is None else Request(job)
