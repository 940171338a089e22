"""The options of tasks and of calls, under the names that a Celery user knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, tzinfo
from math import inf
from typing import Any, TypedDict, cast

import msgspec

from kernel import compression
from kernel.canvas.flow import Flow
from kernel.errors import ConfigError
from kernel.limits.terms import Debounce, Limit, Unique, is_debounce, is_limits, is_rate


class TaskOptions(TypedDict, total=False):
    """Options of a task; what is left out comes from the configuration. Times are in seconds."""

    #: Registry key and wire name; default: module and name of the function.
    name: str
    queue: str
    #: Where the transport has exchanges: published there, with this key; see the guide to routing.
    exchange: str
    routing_key: str
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
    #: False: a message whose task failed, or overran its hard limit, is kept as a dead letter. (Celery's words.)
    acks_on_failure: bool
    acks_on_timeout: bool
    #: True is what happens anyway: a message whose worker was lost is delivered again.
    reject_on_worker_lost: bool
    #: Celery's `max_retries` and `countdown` of automatic retries; here those of all retries.
    retry_kwargs: Mapping[str, Any]
    #: Keep the errors of a task whose results are ignored.
    store_errors_even_if_ignored: bool
    #: Name to show in place of the task's: of `(args, kwargs, options)` of a call.
    shadow_name: Callable[[Sequence[Any], Mapping[str, Any], Mapping[str, Any]], str]
    #: How bodies and results above `compress_above` bytes are made smaller; "": not.
    compression: str
    #: Version of the arguments; see `Task.upcast`.
    version: int
    #: Validate arguments by their annotations, and take and return models.
    pydantic: bool
    pydantic_strict: bool
    pydantic_context: Mapping[str, Any]
    #: How models become plain values: arguments of `model_dump`.
    pydantic_dump_kwargs: Mapping[str, Any]
    #: A class below `Task`, for its hooks and for what its instances share.
    base: type[Any]
    #: Check arguments against the signature in the caller.
    typing: bool
    #: `Concurrency`, `Rate` and `Window` of `kernel.limits`, all of which hold, on all workers together.
    limits: Sequence[Limit]
    #: Celery's: "10/s", "100/m", "5/h" or a number per second; here for all workers together.
    rate_limit: str | float | None
    #: One call of a key at a time; None for no such thing.
    unique: Unique | None
    #: Of calls that follow each other within so many seconds only the last runs; None for no such thing.
    debounce: Debounce | float | None


class CallOptions(TypedDict, total=False):
    """Options of one call. Times are in seconds, or as the type says."""

    task_id: str
    #: Workflows that start with its value when it has succeeded, or, with one more argument, when it has failed.
    link: Flow | Sequence[Flow]
    link_error: Flow | Sequence[Flow]
    #: Not before so many seconds from now, or not before `eta` (aware datetime or wall clock).
    countdown: float
    eta: datetime | float
    #: Not from so many seconds from now on, or from that moment on.
    expires: float | datetime
    priority: int
    queue: str
    #: In place of the queue, where the transport has exchanges.
    exchange: str
    routing_key: str
    serializer: str
    #: The caller's own values; the task reads them in `request.headers`.
    headers: Mapping[str, Any]
    #: Values by which tasks are found again, as `Flow.stamp` puts them.
    stamps: Mapping[str, Any]
    ignore_result: bool
    result_expires: float
    soft_time_limit: float
    time_limit: float
    max_retries: int | None
    max_deliveries: int
    acks_late: bool
    #: Name to show in place of the task's, in logs.
    shadow: str
    limits: Sequence[Limit]
    rate_limit: str | float | None
    unique: Unique | None
    debounce: Debounce | float | None
    #: In place of the task's.
    compression: str


class Call(msgspec.Struct, frozen=True):
    """One call that is not sent yet, for `send_many` with options of its own."""

    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] | None = None
    options: CallOptions | None = None


def check_known(options: Mapping[str, Any], kind: type, what: str) -> None:
    """Refuse an option that does not exist or cannot be meant, with `ConfigError`, before anything is sent or run.

    One that is ignored costs a day; one of a wrong type would fail in the worker, where nobody sees who gave it.
    """
    for name, value in options.items():
        check = _CHECKS.get(name)
        if name not in kind.__annotations__:
            from difflib import get_close_matches  # 2 ms, for an error only

            near = get_close_matches(name, kind.__annotations__, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(kind.__annotations__))}"
            raise ConfigError(f"unknown {what} option {name!r}: {hint}")
        if check is not None and not check[1](value):
            raise ConfigError(f"{what} option {name} must be {check[0]}, not {value!r:.60}")


def _number(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < inf


def _whole(value: Any) -> bool:
    return type(value) is int and value >= 0


def _text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _exceptions(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(one, type) and issubclass(one, BaseException) for one in value)


def _mapping(value: Any) -> bool:
    return isinstance(value, Mapping) and all(map(_text, value))


def _flag(value: Any) -> bool:
    return type(value) is bool


def _flows(value: Any) -> bool:
    return isinstance(value, Flow) or (isinstance(value, list | tuple) and all(isinstance(one, Flow) for one in value))


_SECONDS = ("a number of seconds from 0", _number)
_MOMENT = ("an aware datetime or a wall clock", lambda value: isinstance(value, datetime) or _number(value))
_NAME = ("a text that is not empty", _text)
_YES_NO = ("True or False", _flag)
_TYPES = ("a tuple of exception classes", _exceptions)

#: What an option has to be, in words and as a test; the same for tasks and calls.
_CHECKS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    **dict.fromkeys(("name", "queue", "exchange", "routing_key", "serializer", "task_id", "shadow"), _NAME),
    **dict.fromkeys(("result_expires", "default_retry_delay", "retry_backoff_max", "countdown"), _SECONDS),
    **dict.fromkeys(("soft_time_limit", "time_limit"), _SECONDS),
    **dict.fromkeys(("ignore_result", "acks_late", "track_started", "retry_jitter", "typing"), _YES_NO),
    **dict.fromkeys(("acks_on_failure", "acks_on_timeout", "reject_on_worker_lost"), _YES_NO),
    "store_errors_even_if_ignored": _YES_NO,
    "retry_kwargs": ("a mapping of max_retries and countdown", lambda value: isinstance(value, Mapping)),
    "shadow_name": ("a function of args, kwargs and options", callable),
    **dict.fromkeys(("pydantic", "pydantic_strict"), _YES_NO),
    **dict.fromkeys(
        ("pydantic_context", "pydantic_dump_kwargs"), ("a mapping", lambda value: isinstance(value, Mapping))
    ),
    "compression": ("zlib, gzip, bz2, lzma, zstd or empty", lambda value: value == "" or compression.known(value)),
    "version": ("a whole number from 1", lambda value: _whole(value) and value > 0),
    "base": ("a class below kernel.Task", lambda value: isinstance(value, type)),
    **dict.fromkeys(("autoretry_for", "dont_autoretry_for", "throws"), _TYPES),
    "eta": _MOMENT,
    "expires": ("a number of seconds from 0, or an aware datetime", _MOMENT[1]),
    "priority": ("a whole number from 0 to 9", lambda value: _whole(value) and value <= 9),
    "max_retries": ("a whole number from 0, or None for no limit", lambda value: value is None or _whole(value)),
    "max_deliveries": ("a whole number from 1", lambda value: _whole(value) and value > 0),
    "retry_backoff": ("True, False or a factor from 1", lambda value: _flag(value) or (_number(value) and value >= 1)),
    "dead_letter": ("True, False or None", lambda value: value is None or _flag(value)),
    "limits": ("a list of Concurrency, Rate and Window", is_limits),
    "rate_limit": ("like '10/s', '100/m', '5/h' or a number per second", is_rate),
    "unique": ("a Unique or None", lambda value: value is None or isinstance(value, Unique)),
    "debounce": ("a number of seconds above 0, a Debounce or None", is_debounce),
    **dict.fromkeys(("link", "link_error"), ("a signature or a list of them", _flows)),
    **dict.fromkeys(("headers", "stamps"), ("a mapping with text keys", _mapping)),
}


def settled(options: TaskOptions) -> TaskOptions:
    """Options of a task with those that only rename others resolved; `ConfigError` for what contradicts itself, and for
    Celery's options that could not mean here what they say."""
    options = options.copy()
    if options.get("reject_on_worker_lost") is False:
        raise ConfigError(
            "reject_on_worker_lost=False has no meaning here: a message whose worker was lost is delivered again, "
            "unless it was acknowledged before its start: say acks_late=False for a task that must not run twice"
        )
    if options.get("acks_on_failure") is False:
        if options.get("dead_letter") is False:
            raise ConfigError(
                "acks_on_failure=False keeps the message, dead_letter=False drops it: leave one of them out"
            )
        options["dead_letter"] = True
    alone = [name for name in options if name.startswith("pydantic_") and not options.get("pydantic")]
    if alone:
        raise ConfigError(f"{alone[0]} says nothing without pydantic=True")
    given = options.pop("retry_kwargs", {})
    for name, value in given.items():
        check_known({name: value}, _RetryKwargs, "retry_kwargs")
        if name == "max_retries":
            options.setdefault("max_retries", value)
        else:  # a constant delay, as Celery has it
            options["default_retry_delay"], options["retry_backoff"], options["retry_jitter"] = value, False, False
    return options


class _RetryKwargs(TypedDict, total=False):
    max_retries: int | None
    countdown: float


def wall_clock(moment: datetime | float, zone: tzinfo | None = None) -> float:
    """Seconds of a moment. A naive datetime is one of the `zone`; `ConfigError` where there is none, because it names a
    different moment on every machine. What comes twice in a year, when clocks go back, is the first of the two."""
    if isinstance(moment, datetime):
        if moment.tzinfo is None and zone is not None:
            moment = moment.replace(tzinfo=zone)
        if moment.tzinfo is None:
            raise ConfigError(
                f"{moment!r} has no time zone: use datetime.now(timezone.utc) or another aware datetime, "
                f"or set timezone"
            )
        return moment.timestamp()
    return float(moment)


def of_class(kind: type) -> TaskOptions:
    """The options that a class has as attributes."""
    found = {name: getattr(kind, name) for name in TaskOptions.__annotations__ if hasattr(kind, name)}
    check_known(found, TaskOptions, "task")
    return cast(TaskOptions, found)
