"""Options of tasks and calls: every key is checked, and what is refused says why."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel import Kernel, Task, shared_task
from kernel.canvas import Signature
from kernel.errors import ConfigError
from kernel.limits import Concurrency, Debounce, Rate, Unique, Window
from kernel.options import CallOptions, TaskOptions, check_known, wall_clock

NUMBERS = ([0, 0.5, 10**6], [-1, -0.1, inf, nan, "1", None, True])
NAMES = (["a"], ["", None, 5, b"a"])
FLAGS = ([True, False], [0, 1, None, "yes"])
TYPES = ([(), (ValueError,), (OSError, KeyboardInterrupt)], [[ValueError], ValueError, (ValueError(),), (int,), ("E",)])
MOMENT = datetime(2030, 1, 1, tzinfo=UTC)
#: Every option with values that can be meant and values that cannot.
TABLE: dict[str, tuple[list[Any], list[Any]]] = {
    **dict.fromkeys(("name", "queue", "exchange", "routing_key", "serializer", "task_id", "shadow"), NAMES),
    **dict.fromkeys(("result_expires", "default_retry_delay", "retry_backoff_max", "countdown"), NUMBERS),
    **dict.fromkeys(("soft_time_limit", "time_limit"), NUMBERS),
    **dict.fromkeys(("ignore_result", "acks_late", "track_started", "retry_jitter", "typing"), FLAGS),
    **dict.fromkeys(("autoretry_for", "dont_autoretry_for", "throws"), TYPES),
    **dict.fromkeys(("eta", "expires"), ([0, 1.5, MOMENT], [-1, "2030-01-01", None, nan, inf, timedelta(1)])),
    "priority": ([0, 9], [-1, 10, 1.0, "1", True, None]),
    "max_retries": ([0, 5, None], [-1, 1.0, True, "1"]),
    "max_deliveries": ([1, 5], [0, -1, 1.5, True, None]),
    "retry_backoff": ([True, False, 1, 2.5], [0.5, 0, -1, inf, None, "2"]),
    "dead_letter": ([True, False, None], [0, 1, "yes"]),
    **dict.fromkeys(("acks_on_failure", "acks_on_timeout", "store_errors_even_if_ignored"), FLAGS),
    "reject_on_worker_lost": FLAGS,
    "retry_kwargs": ([{}, {"max_retries": 5}], [None, 5, [("max_retries", 5)]]),
    **dict.fromkeys(("pydantic", "pydantic_strict"), FLAGS),
    **dict.fromkeys(("pydantic_context", "pydantic_dump_kwargs"), ([{}, {"a": 1}], [None, [("a", 1)], "a"])),
    "compression": (["", "zlib", "zstd", "bzip2"], [None, "rot13", 1]),
    "version": ([1, 7], [0, -1, 1.0, True, None]),
    "shadow_name": ([len, str], [None, "name"]),
    "base": ([Task], [None, "Task", 1]),
    "limits": ([[], (Concurrency("k", 1), Rate("k", 1), Window("k", 1, 1))], [None, Concurrency("k", 1), ["k"], "k"]),
    "rate_limit": (["10/s", "100/m", "0.5/h", 7, 0, None], ["10/x", "s", "-1/s", -1, inf, nan, True, [1]]),
    "unique": ([None, Unique()], [True, "k", Concurrency("k", 1)]),
    "debounce": ([None, 2, 0.5, Debounce(1.0)], [0, -1, inf, True, "1"]),
    "headers": ([{}, {"a": object()}], [None, [("a", 1)], {1: "a"}, {"": 1}, "a"]),
    "stamps": ([{}, {"a": 1}], [None, [("a", 1)], {1: "a"}, "a"]),
    "link": ([Signature("a"), [], [Signature("a"), Signature("b")]], [None, "a", ["a"], {"task": "a"}]),
    "link_error": ([Signature("a"), (Signature("a"),)], [None, "a", ["a"]]),
}
KINDS: list[tuple[type, str]] = [(TaskOptions, "task"), (CallOptions, "call")]


def test_the_table_has_every_option_that_there_is() -> None:
    assert set(TABLE) == set(TaskOptions.__annotations__) | set(CallOptions.__annotations__)


@pytest.mark.parametrize(("kind", "what"), KINDS)
@pytest.mark.parametrize("name", TABLE)
def test_every_option_is_checked(name: str, kind: type, what: str) -> None:
    if name not in kind.__annotations__:
        with pytest.raises(ConfigError, match=f"unknown {what} option '{name}'"):
            check_known({name: TABLE[name][0][0]}, kind, what)
        return
    good, bad = TABLE[name]
    for value in good:
        check_known({name: value}, kind, what)
    for value in bad:
        with pytest.raises(ConfigError, match=f"{what} option {name} must be .*, not "):
            check_known({name: value}, kind, what)


@pytest.mark.parametrize(("kind", "what"), KINDS)
@pytest.mark.parametrize(
    ("name", "hint"),
    [("prioritty", "did you mean 'priority'"), ("qeueu", "did you mean 'queue'"), ("zzz", "known are .*queue")],
)
def test_an_unknown_option_is_answered_with_the_nearest(name: str, hint: str, kind: type, what: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown {what} option '{name}': {hint}"):
        check_known({name: 1}, kind, what)


def test_one_bad_option_among_good_ones_is_found() -> None:
    with pytest.raises(ConfigError, match="priority"):
        check_known({"queue": "a", "priority": 11, "countdown": 1}, CallOptions, "call")


def test_a_long_value_is_cut_in_the_message() -> None:
    with pytest.raises(ConfigError) as caught:
        check_known({"countdown": "x" * 10_000}, CallOptions, "call")
    assert len(str(caught.value)) < 200


_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.datetimes(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
    max_leaves=5,
)


@given(st.sampled_from(sorted(TABLE)), _ANYTHING)
def test_nothing_else_than_a_config_error_comes_of_any_value(name: str, value: Any) -> None:
    for kind, what in KINDS:
        try:
            check_known({name: value}, kind, what)
        except ConfigError:
            pass


def test_options_are_checked_where_a_task_is_declared() -> None:
    with pytest.raises(ConfigError, match="did you mean 'max_retries'"):
        shared_task(max_retry=3)  # type: ignore[call-overload]
    with pytest.raises(ConfigError, match="priority"):
        Kernel("options", transport="memory://").task(priority=10)


@pytest.mark.parametrize(
    ("moment", "seconds"),
    [
        (5, 5.0),
        (2.5, 2.5),
        (datetime(1970, 1, 1, 0, 1, tzinfo=UTC), 60.0),
        (datetime(1970, 1, 1, 2, 1, tzinfo=timezone(timedelta(hours=2))), 60.0),
    ],
)
def test_a_moment_in_seconds(moment: datetime | float, seconds: float) -> None:
    value = wall_clock(moment)
    assert (value, type(value)) == (seconds, float)


def test_a_naive_moment_is_refused_with_the_remedy() -> None:
    with pytest.raises(ConfigError, match=r"no time zone: use datetime.now\(timezone.utc\)"):
        wall_clock(datetime(2030, 1, 1))
