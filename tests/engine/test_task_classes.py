"""Classes of tasks: their hooks, their options, and what their objects share."""

from __future__ import annotations

from typing import Any

import pytest
from engine.harness import Engine

from kernel import ConfigError, Kernel, Retry, Snooze, Task, shared_task

#: What the hooks have heard, in order; the worker runs in this process.
heard: list[tuple[Any, ...]] = []


class Telling(Task[..., Any, Any]):
    """A base that tells everything."""

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        heard.append(("before", task_id, args, kwargs))

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        heard.append(("success", retval, task_id, args, kwargs))

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        heard.append(("failure", repr(exc), task_id, args, kwargs, repr(exc) in repr(einfo), "Error" in str(einfo)))

    def on_retry(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        heard.append(("retry", repr(exc), task_id))

    def after_return(self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        heard.append(("after", status, repr(retval), task_id, einfo is None))


class Awaited(Task[..., Any, Any]):
    """Its hooks are coroutine functions."""

    async def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        heard.append(("before", args))

    async def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        heard.append(("success", retval))

    async def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        heard.append(("failure", repr(exc)))


class Faulty(Task[..., Any, Any]):
    """Its hooks fail, and that changes nothing."""

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        raise SystemExit

    def after_return(self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        raise ValueError("a hook")


class Counter(Task[[int], int, int]):
    """A task as a class: one object for all runs, with options as attributes."""

    name = "counter"
    queue = "counted"
    max_retries = 0

    def __init__(self) -> None:
        self.total = 0

    def run(self, number: int) -> int:
        self.total += number
        return self.total


@pytest.fixture(autouse=True)
def _silence() -> None:
    heard.clear()


def test_every_hook_is_told_of_its_moment(pooled: Engine) -> None:
    @pooled.task(base=Telling, max_retries=1, default_retry_delay=0.001)
    def work(kind: str, times: int = 1) -> str:
        if kind == "fail":
            raise KeyError(kind)
        if kind == "retry":
            raise Retry(cause=OSError("away"))
        return kind * times

    with pooled.run():
        good = work.delay("ok", times=2)
        assert pooled.get(good) == "okok"
        pooled.empty()
        assert heard == [
            ("before", good.id, ["ok"], {"times": 2}),
            ("success", "okok", good.id, ["ok"], {"times": 2}),
            ("after", "SUCCESS", "'okok'", good.id, True),
        ]
        heard.clear()
        bad = work.delay("fail")
        assert pooled.fails(bad).type == "KeyError"
        pooled.empty()
        assert heard == [
            ("before", bad.id, ["fail"], {}),
            ("failure", "KeyError('fail')", bad.id, ["fail"], {}, True, True),
            ("after", "FAILURE", "KeyError('fail')", bad.id, False),
        ]
        heard.clear()
        late = work.delay("retry")
        assert pooled.fails(late).type == "OSError"
        pooled.empty()
        assert [what[:2] for what in heard if what[0] != "before"] == [
            ("retry", "OSError('away')"),
            ("failure", "OSError('away')"),
            ("after", "FAILURE"),
        ]


def test_hooks_of_a_coroutine_function_may_be_coroutines(pooled: Engine) -> None:
    @pooled.task(base=Awaited)
    async def work(number: int) -> int:
        if number < 0:
            raise ValueError(number)
        return number

    @pooled.task(base=Telling)
    async def plain(number: int) -> int:
        return number

    with pooled.run():
        assert pooled.get(work.delay(3)) == 3
        pooled.fails(work.delay(-1))
        pooled.empty()
        assert heard == [("before", [3]), ("success", 3), ("before", [-1]), ("failure", "ValueError(-1)")]
        heard.clear()
        assert pooled.get(plain.delay(4)) == 4
        pooled.empty()
        assert [what[0] for what in heard] == ["before", "success", "after"]


def test_a_coroutine_hook_of_a_plain_function_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"before_start of .* is async def and the task is not"):
        Kernel().task(base=Awaited)(lambda: None)


def test_a_hook_that_fails_changes_nothing(pooled: Engine, caplog: pytest.LogCaptureFixture) -> None:
    @pooled.task(base=Faulty)
    def work() -> str:
        return "done"

    with pooled.run():
        assert pooled.get(work.delay()) == "done"
        pooled.empty()
    told = [record.getMessage().partition(" of ")[0] for record in caplog.records if record.name == "kernel.task"]
    assert told == ["on_success", "after_return"]


def test_before_start_can_take_the_place_of_the_body(pooled: Engine) -> None:
    class Closed(Task[..., Any, Any]):
        def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
            raise PermissionError("closed")

    @pooled.task(base=Closed)
    def work() -> None:
        raise AssertionError("it ran")

    with pooled.run():
        assert pooled.fails(work.delay()).type == "PermissionError"


def test_a_task_can_be_a_class(pooled: Engine) -> None:
    own = pooled.app.register_task(Counter())
    with pooled.run() as running:
        running.worker.app.register_task(Counter())
        assert pooled.app.tasks["counter"] is own
        assert own(4) == own.total == 4
    host = pooled.host(queues=("counted",))
    counter = host.register_task(Counter())
    assert (counter.options["queue"], counter.options["max_retries"], counter.app) == ("counted", 0, host)
    host.close()


def test_the_object_of_a_class_is_shared_by_all_runs(engines: Any) -> None:
    engine = engines("solo", queues=("counted",))
    engine.app.register_task(Counter())
    shared_task(name="unrelated")(len)
    worker = engine.host()
    counter = worker.register_task(Counter())
    engine.host = lambda **changes: worker
    with engine.run():
        results = [engine.app.tasks["counter"].delay(n) for n in (1, 2, 3)]
        assert [engine.get(result) for result in results] == [1, 3, 6]
    assert counter.total == 6


def test_what_is_no_task_is_refused() -> None:
    app = Kernel()
    with pytest.raises(ConfigError, match="has no method run"):
        app.register_task(Telling())
    with pytest.raises(ConfigError, match=r"base=int of .* is no class below"):
        app.task(base=int)(lambda: None)
    app.register_task(Counter())
    with pytest.raises(ConfigError, match="two tasks are called 'counter'"):
        app.task(name="counter")(lambda: None)


def test_options_of_the_decorator_come_before_those_of_the_class() -> None:
    class Mail(Task[..., Any, Any]):
        queue = "mail"
        priority = 3

    task = Kernel().task(base=Mail, priority=5)(lambda: None)
    assert (task.options["queue"], task.options["priority"]) == ("mail", 5)


def test_snoozing_is_no_retry(pooled: Engine) -> None:
    runs: list[int] = []

    @pooled.task(bind=True, max_retries=0, track_started=True)
    def wait_for_it(self: Any) -> list[int]:
        runs.append(self.request.retries)
        if len(runs) < 4:
            raise Snooze(0.01)
        return [self.request.retries, len(runs)]

    with pooled.run():
        assert pooled.get(wait_for_it.delay()) == [0, 4]
        pooled.empty()
    assert pooled.total("default.dead") == 0


def test_snoozing_for_no_time_is_a_failure(pooled: Engine) -> None:
    @pooled.task
    def never() -> None:
        raise Snooze(float("nan"))

    with pooled.run():
        assert "no time" in pooled.fails(never.delay()).message
