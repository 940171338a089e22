"""What a worker knows about one task, worked out once and not per message."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from copy import copy
from typing import Any

from kernel.arity import is_coroutine
from kernel.body.compose import body_of
from kernel.body.reading import Reading
from kernel.body.rites import Rites
from kernel.compression import packer
from kernel.configuration.settings import Tasks
from kernel.limits.bounds import Bounds
from kernel.models import dumper
from kernel.policy import retry_policy
from kernel.ports import Serializer
from kernel.task import Task
from kernel.versions import FIRST, Versions

#: How much one run changes the mean runtime.
WEIGHT = 0.1
#: Most of the settling that counts as a task's own time, in seconds. What is more is a round trip, which gets no
#: shorter for a smaller batch: counted in full, a slow service would have tasks fetched one at a time.
SETTLING = 2e-4


class Plan:
    """How to run one task here. `mean` is its measured runtime in seconds, 0.0 before the first run."""

    __slots__ = (
        "bounds",
        "call",
        "codec",
        "coroutine",
        "dead_letter",
        "dead_overrun",
        "dumps",
        "early",
        "hard_limit",
        "ignore_result",
        "loaders",
        "max_deliveries",
        "mean",
        "name",
        "pack",
        "reading",
        "retry",
        "rites",
        "soft_limit",
        "store_errors",
        "task",
        "throws",
        "track_started",
        "ttl",
        "version",
    )

    def __init__(self, name: str, task: Task[..., Any, Any] | None, defaults: Tasks, serializer: Serializer) -> None:
        """`task` is None for messages that never run: unknown, undecodable."""
        options = task.options if task is not None else {}
        self.name = name
        self.task = task
        self.call: Callable[..., Any] = _unknown if task is None else task
        self.coroutine = task is not None and is_coroutine(task.function)
        self.codec = serializer.name
        self.dumps = _dumps(serializer, dumper(options))
        #: Version of the arguments that the body takes.
        self.version: int = options.get("version", FIRST)
        self.reading = Reading(Versions(), FIRST, None, 0) if task is None else Reading.of_task(task, defaults)
        #: How bodies are read, by codec; filled as they come.
        self.loaders: dict[str, Callable[[bytes], Any]] = {}
        #: Makes large records smaller.
        self.pack = packer(options.get("compression", defaults.compression), defaults.compress_above)
        self.soft_limit: float = options.get("soft_time_limit", defaults.soft_time_limit)
        self.hard_limit: float = options.get("time_limit", defaults.time_limit)
        self.early: bool = not options.get("acks_late", defaults.acks_late)
        self.ignore_result: bool = options.get("ignore_result", defaults.ignore_result)
        self.ttl: float = options.get("result_expires", defaults.result_expires)
        self.track_started: bool = options.get("track_started", defaults.track_started)
        self.max_deliveries: int = options.get("max_deliveries", defaults.max_deliveries)
        self.dead_letter: bool | None = options.get("dead_letter")
        self.dead_overrun: bool = options.get("acks_on_timeout") is False or self.dead_letter is True
        self.throws = options.get("throws", ())
        self.retry = retry_policy(options, defaults)
        #: Keep the errors of a task whose results are not kept.
        self.store_errors: bool = options.get("store_errors_even_if_ignored", False)
        #: Whom the task's class wants told of its runs; mostly nobody.
        self.rites = None if task is None else Rites.of(task)
        #: Its limits, None when it has none.
        self.bounds = None if task is None else Bounds.find(name, task.function, int(task.bind), options)
        self.mean = 0.0

    def bind(self, wrap: Callable[[Task[..., Any, Any], Callable[..., Any]], Callable[..., Any]]) -> None:
        """Compose what plugins wrap around the call."""
        if self.task is not None:
            self.call = wrap(self.task, body_of(self.task, self.coroutine, self.rites))

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
        if self.rites is not None:
            self.rites.bridge(block_on)


def learned(mean: float, runtimes: list[float], beside: float = 0.0) -> float:
    """A mean after some more runs, by their own mean: learned from one after the other, a last one that was interrupted
    would speak for a thousand."""
    found = (sum(runtimes) + beside) / len(runtimes)
    return mean + (found - mean) * min(0.5, len(runtimes) * WEIGHT) if mean else found


def _dumps(serializer: Serializer, plain: Callable[[Any], Any] | None) -> Callable[[Any], bytes]:
    if plain is None:
        return serializer.dumps
    return lambda value: serializer.dumps(plain(value))


def _unknown(*_args: Any, **_kwargs: Any) -> None:
    raise AssertionError("a message without a task is never run")
