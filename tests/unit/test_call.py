"""From a call to a message: every option reaches the field that it should, and what cannot be is refused here."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel import envelope as wire
from kernel.call import CallSheet
from kernel.clock import FakeClock
from kernel.configuration.settings import Tasks
from kernel.current import running
from kernel.discovery import serializer
from kernel.envelope import Envelope, decode
from kernel.errors import ConfigError, EncodeError, Rejected
from kernel.limits import Concurrency, Rate, Unique, Window
from kernel.options import CallOptions, TaskOptions
from kernel.ports import Delivery, Outgoing
from kernel.task import Task
from kernel.worker.job import Job
from kernel.worker.plan import Plan

NOW = 1_000_000_000.0
LIMIT = 10_000
MOMENT = datetime(2030, 1, 1, tzinfo=UTC)


def add(x: int, y: int = 0) -> int:
    return x + y


def sheet(options: TaskOptions | None = None, defaults: Tasks | None = None, bind: bool = False) -> CallSheet:
    task: Task[..., Any, Any] = Task(add, "add", options or {}, bind, None)
    return CallSheet("add", task, defaults or Tasks(), serializer, LIMIT, FakeClock(NOW))


def sent(options: Any = None, of: CallSheet | None = None, args: tuple[Any, ...] = (1,)) -> tuple[Envelope, Outgoing]:
    task_id, out = (of or sheet()).message(args, {}, options)
    envelope = decode(out.payload)
    assert envelope.id == task_id
    return envelope, out


# -- where each option goes --------------------------------------------------------------------------------

#: option, value -> optional field, value
TO_ENVELOPE: list[tuple[str, Any, int, Any]] = [
    ("countdown", 5, wire.ETA, NOW + 5),
    ("eta", NOW + 7, wire.ETA, NOW + 7),
    ("eta", MOMENT, wire.ETA, MOMENT.timestamp()),
    ("expires", 30, wire.EXPIRES_AT, NOW + 30),
    ("expires", 0, wire.EXPIRES_AT, NOW),
    ("expires", MOMENT, wire.EXPIRES_AT, MOMENT.timestamp()),
    ("priority", 7, wire.PRIORITY, 7),
    ("headers", {"trace": "t"}, wire.HEADERS, {"trace": "t"}),
    ("shadow", "another name", wire.SHADOW, "another name"),
    ("stamps", {"customer": "x"}, wire.STAMPS, {"customer": "x"}),
    ("ignore_result", True, wire.RESULT, 0),
    ("ignore_result", False, wire.RESULT, 1),
    ("result_expires", 60, wire.RESULT_TTL, 60),
    ("result_expires", 0, wire.RESULT_TTL, 0),
    ("soft_time_limit", 1.5, wire.SOFT_LIMIT, 1.5),
    ("time_limit", 2, wire.HARD_LIMIT, 2),
    ("max_retries", 0, wire.MAX_RETRIES, 0),
    ("max_retries", None, wire.MAX_RETRIES, -1),
    ("max_deliveries", 4, wire.MAX_DELIVERIES, 4),
    ("acks_late", False, wire.ACK_EARLY, True),
    ("acks_late", True, wire.ACK_EARLY, False),
    ("limits", [Concurrency("c", 2), Rate("r", 5, 60.0)], wire.LIMITS, [["c", 2], ["r", 5, 60.0, 1.0]]),
    ("limits", [Window("w", 5, 60.0)], wire.LIMITS, [["w", 5, 60.0, 0]]),
    ("rate_limit", "7/m", wire.LIMITS, [["task:add", 7.0, 60.0, 1.0]]),
    ("unique", Unique("u", ttl=60.0), wire.UNIQUE, ["unique:add:u", 2, False, 60.0]),
    ("unique", Unique("u", "until_start", "replace", 60.0), wire.UNIQUE, ["unique:add:u", 1, True, 60.0]),
    ("unique", Unique("u", 60.0, "replace"), wire.UNIQUE, ["unique:add:u", 0, True, 60.0]),
    ("unique", Unique("u", on_conflict="postpone"), wire.LIMITS, [["unique:add:u", 1]]),
    ("unique", Unique("u", 60.0, "postpone"), wire.LIMITS, [["unique:add:u", 1, 60.0, 0]]),
]
#: Options that do not go into an optional field.
ELSEWHERE = {"task_id", "queue", "serializer", "debounce", "compression", "link", "link_error"}
ELSEWHERE |= {"exchange", "routing_key"}


@pytest.mark.parametrize(("option", "value", "field", "expected"), TO_ENVELOPE)
def test_an_option_of_a_call_goes_into_its_field_and_no_other(
    option: str, value: Any, field: int, expected: Any
) -> None:
    envelope, _ = sent({option: value})
    assert envelope.extra == {field: expected}


def test_the_table_has_every_option_of_a_call() -> None:
    assert {option for option, *_ in TO_ENVELOPE} | ELSEWHERE == set(CallOptions.__annotations__)


def test_what_a_broker_may_honour_is_beside_the_payload_too() -> None:
    envelope, out = sent({"countdown": 5, "expires": 60, "priority": 4, "queue": "other", "task_id": "mine"})
    assert (out.queue, out.priority, out.not_before, out.expires_at) == ("other", 4, NOW + 5, NOW + 60)
    assert envelope.id == "mine"


def test_a_serializer_of_a_call() -> None:
    envelope, _ = sent({"serializer": "pickle"})
    assert envelope.codec == "pickle"
    assert serializer("pickle").loads(envelope.body) == [[1], {}]
    with pytest.raises(ConfigError):
        sent({"serializer": "nobody's"})


def test_a_plain_call() -> None:
    envelope, out = sent()
    assert (envelope.task, envelope.codec, envelope.attempt, envelope.generation) == ("add", "json", 0, 0)
    assert (envelope.sent_at, envelope.extra, envelope.body) == (NOW, {}, b"[[1],{}]")
    assert (out.queue, out.priority, out.not_before, out.expires_at) == ("default", 0, 0.0, 0.0)
    assert sent()[0].id != envelope.id


@pytest.mark.parametrize("options", [{}, {"priority": 5, "version": 3}, {"expires": 9}, {"compression": "gzip"}])
def test_calls_in_bulk_are_the_same_as_one_by_one(options: TaskOptions) -> None:
    one = sheet(options)
    calls: list[Any] = [(1,), [2, 3], (4, "x" * 3000)]
    ids, made = one.messages(calls)
    alone = [one.message(args, {}, {"task_id": task_id})[1] for task_id, args in zip(ids, calls, strict=True)]
    assert [decode(out.payload) for out in made] == [decode(out.payload) for out in alone]
    assert [(out.queue, out.priority, out.expires_at) for out in made] == [
        (out.queue, out.priority, out.expires_at) for out in alone
    ]
    assert one.messages([]) == ([], [])


def test_a_call_in_bulk_is_refused_as_one_alone() -> None:
    with pytest.raises(TypeError):
        sheet().messages([(1,), (1, 2, 3)])
    with pytest.raises(EncodeError):
        sheet().messages([(1,), (object(),)])
    with pytest.raises(Rejected, match="add: the message has"):
        sheet().messages([(1,), ("x" * LIMIT,)])
    assert sheet({"typing": False}).messages([(1, 2, 3)])[1]


# -- options of the task, and the configuration ------------------------------------------------------------


def test_what_a_call_leaves_out_comes_from_the_task_then_from_the_configuration() -> None:
    configured = Tasks(queue="c", priority=2, expires=20.0, serializer="pickle", ignore_result=True)
    plain = sheet({}, configured)
    envelope, out = sent(of=plain)
    assert (out.queue, out.priority, out.expires_at, envelope.codec) == ("c", 2, NOW + 20, "pickle")
    assert not plain.keeps_result(None)
    own = sheet({"queue": "t", "priority": 5, "expires": 9, "serializer": "json", "ignore_result": False}, configured)
    envelope, out = sent(of=own)
    assert (out.queue, out.priority, out.expires_at, envelope.codec) == ("t", 5, NOW + 9, "json")
    assert own.keeps_result({})
    assert not own.keeps_result({"ignore_result": True})
    envelope, out = sent({"queue": "o", "priority": 0, "expires": 1}, own)
    assert (out.queue, out.priority, out.expires_at) == ("o", 0, NOW + 1)


def test_a_call_does_not_change_what_the_next_one_inherits() -> None:
    own = sheet({"priority": 5})
    sent({"priority": 9, "headers": {"a": 1}}, own)
    assert sent(of=own)[0].extra == {wire.PRIORITY: 5}


def test_a_task_that_is_only_known_by_name() -> None:
    by_name = CallSheet("elsewhere", None, Tasks(), serializer, LIMIT, FakeClock(NOW))
    task_id, out = by_name.message((1, 2, 3), {"any": 1}, None)
    assert decode(out.payload).task == "elsewhere"
    assert task_id


# -- who sent it -------------------------------------------------------------------------------------------


@pytest.fixture
def parent() -> Iterator[Envelope]:
    """A task that runs here."""
    envelope = Envelope("parent", "p", b"", "json")
    job = Job(Delivery(b"", "q", None), envelope, Plan("p", None, Tasks(), serializer("json")), 0.0, "n", bytes)
    token = running.set(job)
    yield envelope
    running.reset(token)


def test_a_call_from_a_task_names_its_parent_and_its_root(parent: Envelope) -> None:
    assert sent()[0].extra == {wire.PARENT: "parent", wire.ROOT: "parent"}
    parent.extra = {wire.ROOT: "root"}
    assert sent({"priority": 1})[0].extra == {wire.PRIORITY: 1, wire.PARENT: "parent", wire.ROOT: "root"}
    _, made = sheet().messages([(1,), (2,)])
    assert [decode(out.payload).extra for out in made] == [{wire.PARENT: "parent", wire.ROOT: "root"}] * 2


# -- what is refused before anything is sent ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"countdown": 1, "eta": NOW}, "countdown or eta, not both"),
        ({"eta": datetime(2030, 1, 1)}, "no time zone"),
        ({"expires": datetime(2030, 1, 1)}, "no time zone"),
        ({"eta": datetime(1960, 1, 1, tzinfo=UTC)}, "cannot be"),
        ({"eta": 1e15}, "cannot be"),
        ({"countdown": 1e300}, "cannot be"),
        ({"expires": 1e300}, "cannot be"),
        ({"expires": datetime.max.replace(tzinfo=UTC) - timedelta(microseconds=1)}, "cannot be"),
        ({"max_retries": 2**40}, "cannot be"),
        ({"max_deliveries": 2**40}, "cannot be"),
        ({"priority": 10}, "priority"),
        ({"priorty": 1}, "did you mean 'priority'"),
        ({"retry_backoff": 2}, "unknown call option"),
    ],
)
def test_a_call_that_cannot_be_is_refused(options: Any, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        sent(options)


def test_an_expiry_of_the_task_that_no_clock_shows_is_refused_too() -> None:
    with pytest.raises(ConfigError, match="cannot be"):
        sent(of=sheet({"expires": 1e300}))


@pytest.mark.parametrize(("args", "kwargs"), [((), {}), ((1, 2, 3), {}), ((1,), {"z": 1}), ((1,), {"x": 1})])
def test_arguments_that_do_not_fit_are_refused(args: Any, kwargs: Any) -> None:
    with pytest.raises(TypeError):
        sheet().message(args, kwargs, None)
    sheet({"typing": False}).message(args, kwargs, None)


def test_arguments_that_cannot_be_serialised_are_refused() -> None:
    with pytest.raises(EncodeError):
        sent(args=(object(),))
    with pytest.raises(EncodeError):
        sent({"headers": {"a": object()}})


@pytest.mark.parametrize("options", [None, {"priority": 1}])
def test_a_message_that_is_too_large_is_refused_with_the_limit(options: Any) -> None:
    with pytest.raises(Rejected, match=f"add: the message has .* more than the limit of {LIMIT}"):
        sent(options, args=("x" * LIMIT,))
    assert sent(options, args=("x" * (LIMIT - 500),))


def test_headers_count_towards_the_limit() -> None:
    with pytest.raises(Rejected):
        sent({"headers": {"a": "x" * LIMIT}})


_SECONDS = st.floats(0, 1e12) | st.integers(0, 10**18)
_OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "countdown": _SECONDS,
        "expires": _SECONDS | st.datetimes(timezones=st.none() | st.just(UTC)),
        "priority": st.integers(-1, 10),
        "headers": st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3), max_size=2),
        "result_expires": _SECONDS,
        "soft_time_limit": _SECONDS,
        "max_retries": st.none() | st.integers(0, 2**40),
        "max_deliveries": st.integers(0, 2**40),
        "acks_late": st.booleans(),
        "queue": st.text(max_size=3),
        "task_id": st.text(max_size=3),
    },
)


@given(_OPTIONS)
def test_every_call_is_refused_here_or_can_be_read_there(options: Any) -> None:
    try:
        task_id, out = sheet().message((1,), {}, options)
    except (ConfigError, EncodeError):
        return
    envelope = decode(out.payload)
    assert envelope.id == task_id
    assert envelope.extra.get(wire.PRIORITY, 0) == out.priority
