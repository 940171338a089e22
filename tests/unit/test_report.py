"""What is said about settled jobs: one line each, a traceback for the unexpected, and the word for plugins."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from kernel.configuration.settings import Tasks
from kernel.envelope import Envelope
from kernel.logs import FinishedTasks
from kernel.outcome import Again, Drop, Entry, Error, Failed, GiveBack, Ok, Outcome
from kernel.ports import Delivery
from kernel.serializers.json_ import JsonSerializer
from kernel.worker.job import Job
from kernel.worker.plan import Plan
from kernel.worker.report import report, told

PLAN = Plan("t", None, Tasks(), JsonSerializer())
BOOM = Error("ValueError", "boom", "Traceback\n  far away\n")
PLAIN = Error("ValueError", "boom")


def job(outcome: Outcome, ran: bool = True, task: str = "t", **fields: Any) -> Job:
    one = Job(Delivery(b"", "q", None), Envelope("i", task, b"", "json"), PLAN, 0.0, "n", bytes)
    one.outcome = outcome
    if ran:
        one.started_at, one.ended_at = 10.0, 12.5
    for name, value in fields.items():
        setattr(one, name, value)
    return one


@pytest.mark.parametrize(
    ("outcome", "state", "error"),
    [
        (Ok(b"1"), "SUCCESS", ""),
        (Failed(BOOM), "FAILURE", "ValueError: boom"),
        (Again(1.0, BOOM), "RETRY", "ValueError: boom"),
        (Again(1.0), "RETRY", ""),
        (Drop("too late", "EXPIRED"), "EXPIRED", "too late"),
        (Drop("ignored"), "DROPPED", ""),
        (GiveBack(), "DROPPED", ""),
    ],
)
def test_what_plugins_hear(outcome: Outcome, state: str, error: str) -> None:
    heard = told(job(outcome))
    assert (heard.envelope.id, heard.queue, heard.state, heard.runtime, heard.error) == ("i", "q", state, 2.5, error)
    assert told(job(outcome, ran=False)).runtime == 0.0


def test_the_standing_record_is_what_counts() -> None:
    assert told(job(Failed(BOOM), standing=Entry("SUCCESS"))).state == "SUCCESS"


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "kernel.worker")
    return caplog


def rows(logged: pytest.LogCaptureFixture) -> list[Any]:
    return [row for record in logged.records if isinstance(record.msg, FinishedTasks) for row in record.msg.rows]


def test_one_record_for_all_that_ended(logged: pytest.LogCaptureFixture) -> None:
    report(
        [
            job(Ok(b"1")),
            job(Drop("expired", "EXPIRED"), ran=False),
            job(Failed(PLAIN, expected=True), ran=False),
            job(Drop("sent on"), ran=False),
            job(Again(1.0, hop=True), ran=False),
        ]
    )
    assert len(logged.records) == 1
    assert rows(logged) == [
        ("i", "t", "SUCCESS", 2.5, ""),
        ("i", "t", "EXPIRED", 0.0, "expired"),
        ("i", "t", "FAILURE", 0.0, "ValueError: boom"),
    ]


def test_nothing_is_said_about_nothing(logged: pytest.LogCaptureFixture) -> None:
    report([])
    report([job(Drop("sent on"), ran=False)])
    assert logged.records == []


@pytest.mark.parametrize(("error", "text"), [(BOOM, "Traceback\n  far away"), (PLAIN, "ValueError: boom")])
def test_an_unexpected_failure_is_an_error_with_its_traceback(
    logged: pytest.LogCaptureFixture, error: Error, text: str
) -> None:
    report([job(Failed(error))])
    (record,) = [record for record in logged.records if record.levelno == logging.ERROR]
    assert record.getMessage() == f"task t[i] failed: {text}"
    assert vars(record)["task_id"] == "i"
    assert vars(record)["task_name"] == "t"


def test_an_expected_failure_and_one_that_did_not_stand_are_no_errors(logged: pytest.LogCaptureFixture) -> None:
    report([job(Failed(BOOM, expected=True)), job(Failed(BOOM), standing=Entry("SUCCESS"))])
    assert [record.levelno for record in logged.records] == [logging.INFO]
    assert [row[2] for row in rows(logged)] == ["FAILURE", "SUCCESS"]


def test_an_error_is_told_where_lines_are_not_wanted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "kernel.worker")
    report([job(Ok(b"1")), job(Failed(BOOM))])
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_what_is_no_task_is_named_by_its_queue_and_reason(logged: pytest.LogCaptureFixture) -> None:
    report([job(Failed(Error("DecodeError", "x"), "unprocessable", "empty frame"), ran=False, task="")])
    messages = [record.getMessage() for record in logged.records if record.levelno == logging.ERROR]
    assert messages == ["a message of queue q is no task and goes to the dead letters: empty frame"]
