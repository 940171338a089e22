"""The options of tasks and of calls, under the names that a Celery user knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from difflib import get_close_matches
from typing import Any, TypedDict

import msgspec

from kernel.errors import ConfigError


class TaskOptions(TypedDict, total=False):
    """Options of a task; what is left out comes from the configuration. Times are in seconds."""

    #: Registry key and wire name; default: module and name of the function.
    name: str
    queue: str
    serializer: str
    #: 0 to 9, 9 the most urgent.
    priority: int
    #: Seconds after sending from which it is not started any more.
    expires: float
    ignore_result: bool
    #: Seconds for which a result is kept.
    result_expires: float
    #: False: acknowledge just before the task starts; a crash then loses it instead of repeating it.
    acks_late: bool
    track_started: bool
    #: Retries after the first run; None: no limit.
    max_retries: int | None
    default_retry_delay: float
    #: Factor between two delays; True is 2.0, False keeps the delay constant.
    retry_backoff: bool | float
    retry_backoff_max: float
    retry_jitter: bool
    autoretry_for: tuple[type[BaseException], ...]
    dont_autoretry_for: tuple[type[BaseException], ...]
    #: Exceptions that are an expected end: a FAILURE, logged without traceback.
    throws: tuple[type[BaseException], ...]
    #: `SoftTimeLimitExceeded` is raised in the task after this.
    soft_time_limit: float
    #: The task is stopped after this, with its process where there is no other way.
    time_limit: float
    #: Recorded starts of one message before it goes to the dead letters.
    max_deliveries: int
    #: Whether failures go to the dead letters; None: only when retries were allowed and are exhausted.
    dead_letter: bool | None
    #: Check arguments against the signature in the caller.
    typing: bool


class CallOptions(TypedDict, total=False):
    """Options of one call. Times are in seconds, or as the type says."""

    task_id: str
    #: Not before so many seconds from now, or not before `eta` (aware datetime or wall clock).
    countdown: float
    eta: datetime | float
    #: Not from so many seconds from now on, or from that moment on.
    expires: float | datetime
    priority: int
    queue: str
    serializer: str
    #: The caller's own values; the task reads them in `request.headers`.
    headers: Mapping[str, Any]
    ignore_result: bool
    result_expires: float
    soft_time_limit: float
    time_limit: float
    max_retries: int | None
    max_deliveries: int
    acks_late: bool


class Call(msgspec.Struct, frozen=True):
    """One call that is not sent yet, for `send_many` with options of its own."""

    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] | None = None
    options: CallOptions | None = None


def check_known(options: Mapping[str, Any], kind: type, what: str) -> None:
    """Refuse an option that does not exist, with `ConfigError`: one that is silently ignored costs a day."""
    unknown = options.keys() - kind.__annotations__.keys()
    if unknown:
        name = min(unknown)
        near = get_close_matches(name, kind.__annotations__, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(kind.__annotations__))}"
        raise ConfigError(f"unknown {what} option {name!r}: {hint}")
