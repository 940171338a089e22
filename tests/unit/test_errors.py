"""The tree of errors: one base, branches that a caller can act on, messages that help."""

from __future__ import annotations

import inspect
import traceback

import pytest

from kernel import errors
from kernel.errors import (
    CodecError,
    ConfigError,
    DecodeError,
    Ignore,
    KernelError,
    NewerVersion,
    PartialPut,
    PartialSend,
    PortError,
    Reject,
    Rejected,
    Replace,
    ResultError,
    ResultTimeout,
    Retry,
    Sent,
    Snooze,
    TaskError,
    TaskFailed,
    Unavailable,
)

CLASSES = [one for _, one in inspect.getmembers(errors, inspect.isclass) if one.__module__ == errors.__name__]
SIGNALS = {Retry, Snooze, Reject, Ignore, Replace}
BRANCHES = (ConfigError, PortError, CodecError, ResultError, TaskError)


@pytest.mark.parametrize("error", CLASSES, ids=lambda one: one.__name__)
def test_every_error_is_in_the_tree_and_every_signal_is_not(error: type[Exception]) -> None:
    if error in SIGNALS:
        assert error.__bases__ == (Exception,)
    elif error is not KernelError:
        assert sum(issubclass(error, branch) for branch in BRANCHES) == 1


@pytest.mark.parametrize("error", CLASSES, ids=lambda one: one.__name__)
def test_every_error_says_what_it_means(error: type[Exception]) -> None:
    assert error.__doc__ is not None
    assert error.__doc__ != Exception.__doc__


def test_a_port_error_did_nothing_unless_it_says_so() -> None:
    assert Unavailable("away").sent == "no"
    assert Rejected("too large", sent="unknown").sent == "unknown"
    assert str(Unavailable("away")) == "away"


@pytest.mark.parametrize(("last", "whole"), [("no", "no"), ("unknown", "unknown")])
def test_a_partial_send_is_as_uncertain_as_its_worst_message(last: Sent, whole: Sent) -> None:
    given: dict[int, PortError] = {3: Rejected("too large"), 7: Unavailable("away", sent=last)}
    error = PartialSend(given)
    assert error.sent == whole
    assert error.errors == given
    assert error.errors is not given
    assert str(error) == "2 messages not sent: too large"


def test_a_partial_put_carries_what_stands() -> None:
    error = PartialPut({1: Rejected("too large")}, [None, None, b"standing"])
    assert error.standing == [None, None, b"standing"]
    assert set(error.errors) == {1}
    assert str(error) == "1 records not stored: too large"


def test_a_newer_frame_is_a_sort_of_unreadable_one() -> None:
    assert issubclass(NewerVersion, DecodeError)


def test_a_timeout_is_one_for_the_standard_library_too() -> None:
    assert issubclass(ResultTimeout, TimeoutError)


def test_a_failed_task_shows_the_remote_traceback() -> None:
    error = TaskFailed("id-1", "ValueError", "no", "Traceback (most recent call last):\n  ...\nValueError: no\n")
    assert str(error) == "ValueError: no"
    assert (error.task_id, error.type, error.message) == ("id-1", "ValueError", "no")
    shown = "".join(traceback.format_exception(error))
    assert "Remote traceback of task id-1:\nTraceback (most recent call last):" in shown


def test_a_failure_without_words_is_its_type() -> None:
    error = TaskFailed("id-1", "KeyError", "")
    assert str(error) == "KeyError"
    assert not hasattr(error, "__notes__")


def test_a_retry_names_its_cause() -> None:
    cause = ValueError("no")
    assert str(Retry(cause=cause)) == "retry: ValueError('no')"
    assert Retry(cause=cause).cause is cause
    assert str(Retry()) == "retry"


def test_a_reject_has_a_reason_and_may_requeue() -> None:
    assert (Reject().reason, Reject().requeue) == ("rejected by the task", False)
    assert (str(Reject("not mine", requeue=True)), Reject("not mine", requeue=True).requeue) == ("not mine", True)
