"""Every error that kernel raises, in one tree.

A caller catches `KernelError` for all of it, or the branch that it can act on. Messages say what to do next.
`Retry`, `Snooze`, `Reject`, `Ignore` and `Replace` are not here by accident: they are signals that a task raises to
say how it ended, and so derive from `Exception` only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal


class KernelError(Exception):
    """Base of all errors raised by kernel and its adapters."""


# -- configuration -----------------------------------------------------------------------------------------


class ConfigError(KernelError):
    """The application, the command line or a URL asks for something that cannot be."""


class UnknownScheme(ConfigError):
    """No installed package provides an adapter, pool or serializer of this name."""


class MissingExtra(ConfigError):
    """The adapter is known but its client library is not installed; the message names the `pip install` line."""


class Unsupported(ConfigError):
    """The adapter cannot do what was asked; nothing was sent."""


# -- ports -------------------------------------------------------------------------------------------------

Sent = Literal["no", "unknown"]


class PortError(KernelError):
    """A port call failed. `sent` says whether its effect may have happened: "no" or "unknown"."""

    def __init__(self, message: str = "", *, sent: Sent = "no") -> None:
        super().__init__(message)
        self.sent: Sent = sent


class Unavailable(PortError):
    """The service cannot be reached or is overloaded; the same call may succeed later."""


class Rejected(PortError):
    """The service refuses this call for good: too large, not permitted, malformed. Trying again never works."""


class PartialSend(PortError):
    """Some messages of a batch were not stored. `errors` maps their index to the reason; the others are durable."""

    def __init__(self, errors: Mapping[int, PortError]) -> None:
        unknown = any(error.sent == "unknown" for error in errors.values())
        super().__init__(f"{len(errors)} messages not sent: {_first(errors)}", sent="unknown" if unknown else "no")
        self.errors = dict(errors)

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.errors,)


class PartialPut(PortError):
    """Some records of a batch were not stored. `errors` maps their index to the reason.

    `standing` is what `ResultStore.put` would have returned: for every other index None or the record that stands.
    """

    def __init__(self, errors: Mapping[int, PortError], standing: list[bytes | None]) -> None:
        super().__init__(f"{len(errors)} records not stored: {_first(errors)}")
        self.errors = dict(errors)
        self.standing = standing

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.errors, self.standing)


def _first(errors: Mapping[int, PortError]) -> str:
    return str(next(iter(errors.values()), "no reason given"))


# -- codecs ------------------------------------------------------------------------------------------------


class CodecError(KernelError):
    """Something could not be translated to or from bytes."""


class EncodeError(CodecError):
    """A value cannot be serialised without changing it; raised where the value is."""


class DecodeError(CodecError):
    """Bytes are not what they should be; in a worker they end in the dead letters with this message."""


class SealError(DecodeError):
    """A message or a result is not sealed as this application wants it: not at all, with a key that is not known here,
    for another queue, too old, or it was altered. The message of the error says which."""


class NewerVersion(DecodeError):
    """The frame was written by a newer release; a worker sends it on for a while (a rolling deploy)."""


# -- results -----------------------------------------------------------------------------------------------


class ResultError(KernelError):
    """Reading a result did not give a value."""


class ResultMissing(ResultError):
    """No store is configured, or the task keeps no result."""


class ResultTimeout(ResultError, TimeoutError):
    """The result was not there in the time that the caller allowed."""


class TaskFailed(ResultError):
    """The task raised. `type`, `message` and `traceback` are the remote exception, as text."""

    def __init__(self, task_id: str, type: str, message: str, traceback: str = "") -> None:
        super().__init__(f"{type}: {message}" if message else type)
        self.task_id = task_id
        self.type = type
        self.message = message
        self.traceback = traceback
        if traceback:
            self.add_note(f"Remote traceback of task {task_id}:\n{traceback.rstrip()}")

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.task_id, self.type, self.message, self.traceback)


class Revoked(ResultError):
    """The task was revoked before it ended."""


# -- tasks -------------------------------------------------------------------------------------------------


class TaskError(KernelError):
    """A task could not be called or did not run to its end."""


class Duplicate(TaskError):
    """A call of a unique task was not sent, because another one has its key: `task_id` is that one's."""

    def __init__(self, message: str, task_id: str) -> None:
        super().__init__(message)
        self.task_id = task_id

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (str(self), self.task_id)


class UnknownTask(TaskError):
    """No worker knew a task of this name in time; the type that its record and its dead letter name."""


class TaskExpired(TaskError):
    """The task was not started before its expiry."""


class SoftTimeLimitExceeded(TaskError):
    """Raised inside of a task whose soft time limit has passed; it may clean up and return."""


class HardTimeLimitExceeded(TaskError):
    """The task overran its hard time limit and was stopped."""


class WorkerLost(TaskError):
    """The process that ran the task ended while it ran, as often as the delivery limit allows."""


class StillRunning(TaskError):
    """What should run once is being run by somebody else, who has not ended in time; try again later."""


class MaxRetriesExceeded(TaskError):
    """A retry was asked for and none is left."""


class DeadlineExceeded(TaskError):
    """The results that a workflow waits for were not there by its deadline; the type that its record names."""


class FlowLost(TaskError):
    """A record that a workflow needs is gone from the result store: it can be neither finished nor failed any more."""


# -- signals that a task raises ----------------------------------------------------------------------------


class Retry(Exception):
    """Run this task again; raised by `Task.retry`, or by a task itself.

    `countdown` in seconds or `eta` as wall clock say when, else the task's backoff does. `max_retries` overrides the
    task's (None: no limit; False: the task's own). `call` and `queue` are what `Task.retry` changed, else None and "".
    """

    def __init__(
        self,
        countdown: float | None = None,
        eta: float | None = None,
        cause: BaseException | None = None,
        max_retries: int | Literal[False] | None = False,
        call: object = None,
        queue: str = "",
    ) -> None:
        super().__init__(f"retry: {cause!r}" if cause is not None else "retry")
        self.countdown = countdown
        self.eta = eta
        self.cause = cause
        self.max_retries = max_retries
        self.call = call
        self.queue = queue


class Snooze(Exception):
    """Run this task later, `countdown` seconds from now: it has nothing to do yet. No retry is used up, nothing is
    recorded, and it says nothing about success or failure."""

    def __init__(self, countdown: float) -> None:
        super().__init__(f"snooze for {countdown} s")
        self.countdown = countdown


class Reject(Exception):
    """Send this message to the dead letters, or with `requeue` back to its queue."""

    def __init__(self, reason: str = "rejected by the task", *, requeue: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.requeue = requeue


class Ignore(Exception):
    """Acknowledge this message and record no outcome. A workflow ends there, as if the task had failed."""


class Replace(Exception):
    """Run a workflow in place of this task, with what comes after it; raised by `Task.replace`."""

    def __init__(self, flow: Any) -> None:
        super().__init__(f"replaced by {flow!r:.200}")
        self.flow = flow
