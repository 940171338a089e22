"""What a worker knows about one task, worked out once and not per message."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from copy import copy
from typing import Any

from kernel.arity import is_coroutine
from kernel.policy import RetryPolicy
from kernel.ports import Serializer
from kernel.settings import Tasks
from kernel.task import Task

#: How much one run changes the mean runtime.
WEIGHT = 0.1


class Plan:
    """How to run one task here. `mean` is its measured runtime in seconds, 0.0 before the first run."""

    __slots__ = (
        "call",
        "codec",
        "coroutine",
        "dead_letter",
        "dumps",
        "early",
        "hard_limit",
        "ignore_result",
        "max_deliveries",
        "mean",
        "name",
        "retry",
        "soft_limit",
        "task",
        "throws",
        "track_started",
        "ttl",
    )

    def __init__(self, name: str, task: Task[..., Any, Any] | None, defaults: Tasks, serializer: Serializer) -> None:
        """`task` is None for messages that never run: unknown, undecodable."""
        options = task.options if task is not None else {}
        self.name = name
        self.task = task
        self.call: Callable[..., Any] = _unknown if task is None else task
        self.coroutine = task is not None and is_coroutine(task.function)
        self.codec = serializer.name
        self.dumps = serializer.dumps
        self.soft_limit: float = options.get("soft_time_limit", defaults.soft_time_limit)
        self.hard_limit: float = options.get("time_limit", defaults.time_limit)
        self.early: bool = not options.get("acks_late", defaults.acks_late)
        self.ignore_result: bool = options.get("ignore_result", defaults.ignore_result)
        self.ttl: float = options.get("result_expires", defaults.result_expires)
        self.track_started: bool = options.get("track_started", defaults.track_started)
        self.max_deliveries: int = options.get("max_deliveries", defaults.max_deliveries)
        self.dead_letter: bool | None = options.get("dead_letter")
        self.throws = options.get("throws", ())
        self.retry = retry_policy(task, defaults)
        self.mean = 0.0

    def bind(self, wrap: Callable[[Task[..., Any, Any], Callable[..., Any]], Callable[..., Any]]) -> None:
        """Compose what plugins wrap around the call."""
        if self.task is not None:
            task = self.task
            direct = task.function if not task.bind else task
            self.call = wrap(task, direct)

    def tracked(self) -> Plan:
        """The same, with its starts recorded."""
        plan = copy(self)
        plan.track_started = True
        return plan

    def bridge(self, block_on: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        """Run a coroutine function through a loop elsewhere, for a pool that has none of its own."""
        call = self.call
        self.call = lambda *args, **kwargs: block_on(call(*args, **kwargs))
        self.coroutine = False


def retry_policy(task: Task[..., Any, Any] | None, defaults: Tasks) -> RetryPolicy:
    """The retry policy of a task: its own options, and the configuration for what they leave out."""
    options = task.options if task is not None else {}
    backoff = options.get("retry_backoff", defaults.retry_backoff)
    unlimited = None if defaults.max_retries < 0 else defaults.max_retries
    return RetryPolicy(
        max_retries=options.get("max_retries", unlimited),
        delay=options.get("default_retry_delay", defaults.default_retry_delay),
        backoff=2.0 if backoff is True else 1.0 if backoff is False else backoff,
        max_delay=options.get("retry_backoff_max", defaults.retry_backoff_max),
        jitter=options.get("retry_jitter", defaults.retry_jitter),
        autoretry_for=options.get("autoretry_for", ()),
        dont_autoretry_for=options.get("dont_autoretry_for", ()),
    )


def _unknown(*_args: Any, **_kwargs: Any) -> None:
    raise AssertionError("a message without a task is never run")
