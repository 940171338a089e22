"""What a worker works out once per task: its own options first, then the configuration."""

from __future__ import annotations

from typing import Any

import pytest

from kernel.configuration.settings import Tasks
from kernel.options import TaskOptions
from kernel.serializers.json_ import JsonSerializer
from kernel.task import Task
from kernel.worker.plan import Plan


def add(x: int, y: int = 0) -> int:
    return x + y


async def aadd(x: int) -> int:
    return x


def bound(self: Any, x: int) -> tuple[str, int]:
    return self.name, x


def plan(options: Any = None, defaults: Tasks | None = None, function: Any = add, bind: bool = False) -> Plan:
    own: TaskOptions = options if options is not None else {}
    return Plan("t", Task(function, "t", own, bind, None), defaults or Tasks(), JsonSerializer())


#: option, value of the task, key of the configuration, value there, attribute, what each of them makes of it
TABLE: list[tuple[str, Any, str, Any, str, Any, Any]] = [
    ("soft_time_limit", 1, "soft_time_limit", 2.0, "soft_limit", 1, 2.0),
    ("time_limit", 0, "time_limit", 2.0, "hard_limit", 0, 2.0),
    ("acks_late", True, "acks_late", False, "early", False, True),
    ("ignore_result", False, "ignore_result", True, "ignore_result", False, True),
    ("result_expires", 0, "result_expires", 5.0, "ttl", 0, 5.0),
    ("track_started", False, "track_started", True, "track_started", False, True),
    ("max_deliveries", 9, "max_deliveries", 8, "max_deliveries", 9, 8),
    ("max_retries", 0, "max_retries", 8, "retry.max_retries", 0, 8),
    ("max_retries", None, "max_retries", 8, "retry.max_retries", None, 8),
    ("max_retries", 1, "max_retries", -1, "retry.max_retries", 1, None),
    ("default_retry_delay", 0, "default_retry_delay", 8.0, "retry.delay", 0, 8.0),
    ("retry_backoff", True, "retry_backoff", 3.0, "retry.backoff", 2.0, 3.0),
    ("retry_backoff", False, "retry_backoff", 3.0, "retry.backoff", 1.0, 3.0),
    ("retry_backoff", 1.5, "retry_backoff", 3.0, "retry.backoff", 1.5, 3.0),
    ("retry_backoff_max", 0, "retry_backoff_max", 8.0, "retry.max_delay", 0, 8.0),
    ("retry_jitter", False, "retry_jitter", True, "retry.jitter", False, True),
]


def _attribute(of: Any, path: str) -> Any:
    for name in path.split("."):
        of = getattr(of, name)
    return of


@pytest.mark.parametrize(("option", "own", "key", "configured", "path", "first", "second"), TABLE)
def test_the_option_of_the_task_comes_before_the_configuration(
    option: str, own: Any, key: str, configured: Any, path: str, first: Any, second: Any
) -> None:
    defaults = Tasks(**{key: configured})
    assert _attribute(plan({option: own}, defaults), path) == first
    assert _attribute(plan({}, defaults), path) == second


def test_options_that_only_a_task_has() -> None:
    own = plan(
        {"dead_letter": False, "throws": (KeyError,), "autoretry_for": (OSError,), "dont_autoretry_for": (IOError,)}
    )
    assert (own.dead_letter, own.throws) == (False, (KeyError,))
    assert (own.retry.autoretry_for, own.retry.dont_autoretry_for) == ((OSError,), (IOError,))
    none = plan()
    assert (none.dead_letter, none.throws, none.retry.autoretry_for) == (None, (), ())


def test_a_plan_without_a_task_is_never_called() -> None:
    stray = Plan("", None, Tasks(), JsonSerializer())
    stray.bind(lambda task, call: call)
    with pytest.raises(AssertionError, match="never run"):
        stray.call()
    assert (stray.coroutine, stray.task) == (False, None)


def test_plugins_wrap_the_function_itself_or_the_task_that_is_its_first_argument() -> None:
    seen: list[tuple[str, int]] = []

    def wrap(task: Any, call: Any) -> Any:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            seen.append((task.name, len(args)))
            return call(*args, **kwargs)

        return wrapped

    plain, with_self = plan(), plan(function=bound, bind=True)
    for one in (plain, with_self):
        one.bind(wrap)
    assert plain.call(1, y=2) == 3
    assert with_self.call(5) == ("t", 5)
    assert seen == [("t", 1), ("t", 1)]


def test_a_coroutine_function_is_bridged_for_a_pool_without_a_loop() -> None:
    own = plan(function=aadd)
    own.bind(lambda task, call: call)
    assert own.coroutine
    ran: list[Any] = []

    def block_on(coroutine: Any) -> str:
        ran.append(coroutine)
        coroutine.close()
        return "done"

    own.bridge(block_on)
    assert (own.call(1), own.coroutine, len(ran)) == ("done", False, 1)
    assert not plan().coroutine


def test_a_plan_knows_its_codec() -> None:
    own = plan()
    assert (own.name, own.codec, own.dumps([1]), own.mean) == ("t", "json", b"[1]", 0.0)
