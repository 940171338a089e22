"""Calls that run inside of their caller, and the results that a task must not wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import pydantic
import pytest
from engine.harness import Engine

from kernel import (
    EagerResult,
    Ignore,
    Kernel,
    Reject,
    ResultTimeout,
    Retry,
    Snooze,
    Task,
    TaskFailed,
    allow_join_result,
    current_request,
    provide,
)
from kernel.errors import EncodeError, UnknownTask


class Telling(Task[..., Any, Any]):
    """Writes down what it hears."""

    heard: list[str]

    def __init__(self) -> None:
        self.heard = []

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        self.heard.append("before")

    def on_retry(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        self.heard.append(f"retry {exc}")

    def after_return(self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        self.heard.append(status)


class Point(pydantic.BaseModel):
    x: int
    on: date


@pytest.fixture
def app() -> Kernel:
    """One that can reach no service."""
    return Kernel("eager", transport="nowhere://", max_retries=3)


@pytest.fixture
def always() -> Kernel:
    """One that sends nothing."""
    return Kernel("eager", transport="nowhere://", always_eager=True)


def test_a_call_runs_here_as_a_worker_would_run_it(app: Kernel) -> None:
    @app.task(bind=True, base=Telling)
    def work(self: Any, x: Any, *, y: int = 1) -> Any:
        request = self.request
        if request.retries < 2:
            self.retry(args=(x + 1,), exc=OSError("away"), countdown=3600)
        return [x, y, request.retries, request.is_eager, request.args, request.headers, request.shadow]

    result = work.apply((Decimal(1),), {"y": 5}, headers={"a": 1}, shadow="other", countdown=99)
    assert isinstance(result, EagerResult)
    assert result.get() == [Decimal(3), 5, 2, True, [Decimal(3)], {"a": 1}, "other"]
    assert (result.state, result.ready(), result.info[2]) == ("SUCCESS", True, 2)
    assert work.heard == ["before", "retry away", "before", "retry away", "before", "SUCCESS"]  # type: ignore[attr-defined]
    assert current_request() is None


def test_arguments_and_results_go_through_the_serializer(app: Kernel) -> None:
    @app.task(compression="zlib")
    def work(value: Any) -> Any:
        return value if value else object()

    with pytest.raises(EncodeError):
        work.apply((object(),))
    with pytest.raises(TypeError, match="misses the arguments 'value'"):
        work.apply()
    given = {"list": [1, 2], "text": "x" * 10_000}
    back = work.apply((given,)).get()
    assert back == given
    assert back is not given
    with pytest.raises(TaskFailed, match="EncodeError"):
        work.apply((None,)).get()


def test_models_versions_and_what_is_provided(app: Kernel) -> None:
    def number() -> Iterator[int]:
        yield 7

    @app.task(pydantic=True, version=2)
    def work(point: Point, *, extra: int = provide(number)) -> Point:
        return Point(x=point.x + extra, on=point.on)

    work.function.__annotations__.update(point=Point, extra=int)
    assert work.apply((Point(x=1, on=date(2030, 1, 1)),)).get() == {"x": 8, "on": "2030-01-01"}
    assert work.apply(({"x": "many", "on": "2030-01-01"},)).state == "FAILURE"


def test_how_it_can_end(app: Kernel) -> None:
    runs: list[str] = []

    @app.task(autoretry_for=(OSError,), max_retries=2)
    def work(kind: str) -> str:
        runs.append(kind)
        errors: dict[str, BaseException] = {
            "auto": ConnectionError("away"), "plain": ValueError("no"), "ignore": Ignore(), "reject": Reject("bad"),
            "retry": Retry(), "again": Reject(requeue=True), "snooze": Snooze(60),
        }  # fmt: skip
        if kind in ("again", "snooze") and runs.count(kind) == 3:
            return "at last"
        raise errors[kind]

    states = {kind: work.apply((kind,)).state for kind in ("auto", "plain", "reject", "retry", "again", "snooze")}
    assert states == {
        "auto": "FAILURE", "plain": "FAILURE", "reject": "FAILURE", "retry": "FAILURE", "again": "SUCCESS",
        "snooze": "SUCCESS",
    }  # fmt: skip
    assert [runs.count(kind) for kind in states] == [3, 1, 1, 3, 3, 3]
    with pytest.raises(TaskFailed, match="asked for a retry and none of 2 is left"):
        work.apply(("retry",)).get()
    with pytest.raises(ValueError, match="no"):
        work.apply(("plain",), throw=True)
    with pytest.raises(ResultTimeout, match="left no outcome"):
        work.apply(("ignore",), throw=True).get()
    assert work.apply(("retry",), max_retries=0).failed()


def test_a_task_that_never_ends_is_noticed(app: Kernel) -> None:
    @app.task
    def work() -> None:
        raise Snooze(1)

    with pytest.raises(RuntimeError, match="asked to be run again 1000 times"):
        work.apply()


def test_coroutines(app: Kernel) -> None:
    @app.task(bind=True)
    async def work(self: Task[..., Any, Any], x: int) -> int:
        await asyncio.sleep(0)
        await self.aemit(x)
        return self.request.is_eager + x

    async def inside() -> list[Any]:
        return [work.apply((1,)).get(), await (await work.aapply((2,))).aget()]

    result = work.apply((3,))
    assert (result.get(), list(result.stream())) == (4, [3])
    assert asyncio.run(inside()) == [2, 3]


def test_an_application_that_is_always_eager_sends_nothing(always: Kernel) -> None:
    @always.task
    def double(number: int) -> int:
        return 2 * number

    @always.task
    def outer(number: int) -> list[Any]:
        inner = double.delay(number)
        return [inner.get(), inner.state]

    assert outer.delay(4).get() == [8, "SUCCESS"]
    with always.batch():
        late = double.delay(5)
    assert late.get() == always.result(late.id).get() == 10
    assert [result.get() for result in always.send_many(double, [(1,), (2,)])] == [2, 4]
    assert asyncio.run(_sum(double)) == 12
    with pytest.raises(UnknownTask, match="import its module"):
        always.send_task("elsewhere")


async def _sum(task: Any) -> int:
    results = await asyncio.gather(*(task.adelay(n) for n in range(4)))
    return sum([await result.aget() for result in results])


def test_errors_are_in_the_result_unless_they_shall_propagate(always: Kernel) -> None:
    def fail() -> None:
        raise ValueError("mine")

    assert always.task(fail).delay().failed()
    with pytest.raises(ValueError, match="mine"):
        Kernel(transport="nowhere://", always_eager=True, eager_propagates=True).task(fail).delay()


# -- waiting inside of a task --------------------------------------------------------------------------------


def test_a_task_does_not_wait_for_another_one(pooled: Engine) -> None:
    @pooled.task
    def inner() -> int:
        return 1

    @pooled.task
    def outer(allowed: bool) -> int:
        result = pooled.app.send_task("inner")
        if not allowed:
            return int(result.get(timeout=5))
        with allow_join_result():
            return int(result.get(timeout=0.01, propagate=False))

    @pooled.task
    async def aouter() -> int:
        return int(await pooled.app.send_task("inner").aget(timeout=5))

    @pooled.task
    def looks() -> str:
        return pooled.app.send_task("inner").state

    with pooled.run():
        for refused in (outer.delay(False), aouter.delay()):
            assert "waits inside of a worker for the result of another task" in pooled.fails(refused).message
        assert pooled.get(looks.delay()) in ("PENDING", "SUCCESS")
        allowed = pooled.get(outer.delay(True), propagate=False)
        assert allowed == 1 or allowed.type == "kernel.errors.ResultTimeout"  # one slot, or all others are taken


def test_waiting_can_be_allowed_for_all(engines: Any) -> None:
    engine = engines("threads", disable_sync_subtasks=False)
    engine.task(name="inner")(lambda: 3)

    @engine.task
    def outer() -> int:
        return int(engine.app.send_task("inner").get(timeout=5))

    with engine.run():
        assert engine.get(outer.delay()) == 3
