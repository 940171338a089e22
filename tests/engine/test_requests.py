"""What a task knows of its call, and what a retry may change of it."""

from __future__ import annotations

from typing import Any

import pytest
from engine.harness import Engine

from kernel import ConfigError, Retry


def test_the_fields_of_a_request(pooled: Engine) -> None:
    @pooled.task(bind=True)
    def look(self: Any, first: int, /, *, second: str) -> dict[str, Any]:
        request = self.request
        names = [name for name in dir(type(request)) if name[0] != "_"]
        return {name: getattr(request, name) for name in names}

    with pooled.run():
        result = look.apply_async(
            (1,), {"second": "b"}, task_id="chosen", headers={"a": 1}, shadow="other", time_limit=40.0,
            soft_time_limit=30.0, priority=4, expires=100.0,
        )  # fmt: skip
        seen = pooled.get(result)
    assert seen.pop("sent_at") > 0
    assert seen.pop("expires") > 0
    assert seen.pop("hostname")
    assert seen == {
        "id": "chosen", "task": "look", "args": [1], "kwargs": {"second": "b"}, "retries": 0, "queue": "default",
        "redelivered": 0, "eta": None, "priority": 4, "headers": {"a": 1}, "stamps": {}, "root_id": "chosen",
        "parent_id": None, "group": None, "group_index": None, "origin": None, "reply_to": None, "shadow": "other",
        "version": 1, "serializer": "json", "generation": 0, "soft_time_limit": 30.0, "time_limit": 40.0,
        "timelimit": (40.0, 30.0), "ignore_result": False, "is_eager": False, "called_directly": False,
        "correlation_id": "chosen",
        "delivery_info": {"exchange": "", "routing_key": "default", "priority": 4, "redelivered": False,
                          "is_eager": False},
    }  # fmt: skip


def test_a_task_that_is_called_by_another_one_has_no_request_of_its_own(pooled: Engine) -> None:
    @pooled.task(bind=True)
    def inner(self: Any) -> list[Any]:
        return [self.request.called_directly, self.request.id, self.request.args]

    @pooled.task(bind=True)
    def outer(self: Any) -> list[Any]:
        return [self.request.called_directly, inner()]

    with pooled.run():
        assert pooled.get(outer.delay()) == [False, [True, "", []]]


def test_the_name_that_is_shown(pooled: Engine, caplog: pytest.LogCaptureFixture) -> None:
    @pooled.task(shadow_name=lambda args, kwargs, options: f"number {args[0]}")
    def work(number: int) -> None: ...

    with caplog.at_level("INFO"), pooled.run():
        pooled.get(work.delay(7))
        pooled.empty()
    assert any("number 7[" in record.getMessage() for record in caplog.records)


def test_a_retry_can_change_its_call(pooled: Engine) -> None:
    @pooled.task(bind=True)
    def work(self: Any, x: int, y: int = 0) -> list[Any]:
        if self.request.retries == 0:
            self.retry(args=(x + 1,), countdown=0.01)
        if self.request.retries == 1:
            self.retry(kwargs={"y": 5}, countdown=0.01, queue="other", priority=7, headers={"a": 1})
        return [x, y, self.request.queue, self.request.priority, self.request.headers]

    with pooled.run(queues=("default", "other")):
        assert pooled.get(work.delay(1, y=2)) == [2, 5, "other", 7, {"a": 1}]


def test_a_retry_that_cannot_be_is_the_error_of_the_task(pooled: Engine) -> None:
    @pooled.task(bind=True)
    def work(self: Any, kind: str) -> None:
        wrong: dict[str, dict[str, Any]] = {
            "args": {"args": (1, 2, 3)}, "value": {"args": (object(),)}, "id": {"task_id": "x"}, "name": {"cuntdown": 1}
        }  # fmt: skip
        self.retry(**wrong[kind])

    with pooled.run():
        kinds = {kind: pooled.fails(work.delay(kind)).type for kind in ("args", "value", "id", "name")}
    assert kinds == {
        "args": "TypeError", "value": "kernel.errors.EncodeError",
        "id": "kernel.errors.ConfigError", "name": "kernel.errors.ConfigError",
    }  # fmt: skip


def test_a_retry_that_is_not_raised_is_none(pooled: Engine) -> None:
    @pooled.task(bind=True)
    def work(self: Any) -> int:
        signal = self.retry(throw=False, countdown=0.01)
        assert isinstance(signal, Retry)
        if self.request.retries < 1:
            raise signal
        return int(self.request.retries)

    with pooled.run():
        assert pooled.get(work.delay()) == 1


def test_a_task_that_is_called_as_a_function_is_not_retried(pooled: Engine) -> None:
    @pooled.task(bind=True)
    def work(self: Any, error: Exception | None = None) -> None:
        self.retry(exc=error)

    with pytest.raises(ValueError, match="mine"):
        work(ValueError("mine"))
    with pytest.raises(Retry):
        work()


def test_errors_of_a_task_without_results_can_be_kept(pooled: Engine) -> None:
    @pooled.task(ignore_result=True, store_errors_even_if_ignored=True)
    def quiet(fail: bool) -> None:
        if fail:
            raise ValueError("loud")

    @pooled.task(store_errors_even_if_ignored=True)
    def usual() -> None:
        raise ValueError("loud")

    with pooled.run():
        bad, good = quiet.delay(True), quiet.delay(False)
        other = usual.apply_async(ignore_result=True)
        pooled.empty()
        states = [pooled.app.result(result.id).state for result in (bad, good, other)]
    assert states == ["FAILURE", "PENDING", "FAILURE"]


def test_a_failure_that_does_not_acknowledge_is_a_dead_letter(pooled: Engine) -> None:
    @pooled.task(acks_on_failure=False)
    def work() -> None:
        raise ValueError("kept")

    with pooled.run():
        pooled.fails(work.delay())
        assert pooled.letter().summary == "ValueError: kept"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"reject_on_worker_lost": False}, "acks_late=False"),
        ({"acks_on_failure": False, "dead_letter": False}, "leave one of them out"),
        ({"retry_kwargs": {"max_retry": 3}}, "did you mean 'max_retries'"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(pooled: Engine, options: Any, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        pooled.task(**options)(lambda: None)


def test_the_retry_options_of_celery(pooled: Engine) -> None:
    @pooled.task(autoretry_for=(OSError,), retry_kwargs={"max_retries": 1, "countdown": 0.01})
    def work() -> None:
        raise OSError("away")

    assert work.options["max_retries"] == 1
    assert (work.options["default_retry_delay"], work.options["retry_jitter"]) == (0.01, False)
    with pooled.run():
        pooled.fails(work.delay())
        assert pooled.letter().reason == "no retry left after 1"
