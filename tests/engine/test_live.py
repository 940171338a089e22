"""What a running task tells: states of its own, progress, and values before its end."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from engine.harness import PATIENCE, Engine
from support import eventually

from kernel import ConfigError, Kernel, ResultTimeout, Task, TaskFailed
from kernel.errors import ResultMissing


def test_a_state_of_its_own_can_be_read_while_it_runs(engine: Engine) -> None:
    go = threading.Event()

    @engine.task(bind=True)
    def build(self: Task[..., Any, Any]) -> list[bool]:
        told = [self.update_state(state="COMPILING", meta={"file": "main.c"})]
        engine.wait(go)
        return told

    with engine.run():
        result = build.delay()
        eventually(lambda: result.state == "COMPILING", PATIENCE, "it tells")
        assert result.info == result.result == {"file": "main.c"}
        assert not result.ready()
        go.set()
        assert engine.get(result) == [True]
        assert (result.state, result.info) == ("SUCCESS", [True])


def test_progress_is_told_from_coroutines_too(pooled: Engine) -> None:
    go = threading.Event()

    @pooled.task(bind=True)
    async def load(self: Task[..., Any, Any]) -> list[bool]:
        told = [await self.aprogress(1, 4, "one of four"), await self.aprogress(2, 4)]
        while not go.is_set():
            await asyncio.sleep(0.005)
        return [*told, await self.aprogress(4, 4), await self.aupdate_state(state="LAST")]

    with pooled.run():
        result = load.delay()
        eventually(lambda: result.state == "PROGRESS", PATIENCE, "it tells")
        assert result.info == {"done": 1, "total": 4, "percent": 25.0, "message": "one of four"}
        go.set()
        assert pooled.get(result) == [True, False, True, True]


def test_nobody_is_told_where_no_result_is_kept(pooled: Engine) -> None:
    told: list[bool] = []

    @pooled.task(bind=True, ignore_result=True)
    def quiet(self: Task[..., Any, Any]) -> None:
        told.extend([self.update_state(state="X"), self.progress(1, 1), self.emit(1)])

    with pooled.run():
        quiet.delay()
        pooled.empty()
    assert told == [False] * 3
    quiet()
    assert told == [False] * 6


@pytest.mark.parametrize("state", ["SUCCESS", "STARTED", "", "X" * 65, None])
def test_a_state_that_is_taken_is_refused(pooled: Engine, state: Any) -> None:
    @pooled.task(bind=True)
    def work(self: Task[..., Any, Any]) -> None:
        self.update_state(state=state)

    with pooled.run():
        assert "cannot be a state of a task's own" in pooled.fails(work.delay()).message


def test_the_state_of_another_task(pooled: Engine) -> None:
    task = pooled.task(name="other")(lambda: None)
    assert task.update_state("elsewhere", "WAITING", {"for": "paper"})
    assert pooled.app.result("elsewhere").info == {"for": "paper"}
    with pooled.run():
        pooled.get(task.apply_async(task_id="ended"))
        assert not task.update_state("ended", "WAITING")


def test_values_come_in_order_each_once_and_before_the_end(engine: Engine) -> None:
    heard = threading.Semaphore(0)

    @engine.task(bind=True)
    def count(self: Task[..., Any, Any], to: int) -> str:
        for number in range(to):
            self.emit({"number": number})
            if number < 3:  # the caller has it before the next one is there
                assert heard.acquire(timeout=PATIENCE)
        return "done"

    with engine.run():
        result = count.delay(200)
        values = []
        for value in result.stream(timeout=PATIENCE):
            values.append(value["number"])
            heard.release()
        assert values == list(range(200))
        assert result.get(0) == "done"
        assert [value["number"] for value in result.stream()] == values


def test_values_for_coroutines(pooled: Engine) -> None:
    @pooled.task(bind=True)
    async def count(self: Task[..., Any, Any], to: int) -> None:
        assert all(await asyncio.gather(*(self.aemit("same") for _ in range(to))))

    async def listen() -> list[Any]:
        result = await count.adelay(20)
        return [value async for value in result.stream(timeout=PATIENCE)]

    with pooled.run():
        assert asyncio.run(listen()) == ["same"] * 20


def test_a_task_that_runs_again_is_heard_once(pooled: Engine) -> None:
    @pooled.task(bind=True, default_retry_delay=0.001)
    def count(self: Task[..., Any, Any]) -> list[bool]:
        told = [self.emit([number, self.request.retries]) for number in range(2 + self.request.retries)]
        if self.request.retries < 2:
            self.retry()
        return told

    with pooled.run():
        result = count.delay()
        assert list(result.stream(PATIENCE)) == [[0, 0], [1, 0], [2, 1], [3, 2]]
        assert pooled.get(result) == [False, False, False, True]


def test_a_stream_ends_as_its_task_does(pooled: Engine) -> None:
    @pooled.task(bind=True)
    def half(self: Task[..., Any, Any]) -> None:
        self.emit(1)
        raise ValueError("no more")

    with pooled.run():
        stream = iter(half.delay().stream(PATIENCE))
        assert next(stream) == 1
        with pytest.raises(TaskFailed, match="no more"):
            next(stream)


def test_a_stream_that_is_silent_too_long(pooled: Engine) -> None:
    never = pooled.task(name="never")(lambda: None)
    with pytest.raises(ResultTimeout, match="neither ended nor emitted value 0"):
        next(iter(never.delay().stream(0.01)))
    with pytest.raises(ResultMissing):
        next(iter(never.apply_async(ignore_result=True).stream()))


def test_there_is_an_end_to_what_one_run_may_emit(pooled: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kernel.results.live.MOST_VALUES", 3)

    @pooled.task(bind=True)
    def chatter(self: Task[..., Any, Any]) -> None:
        for number in range(4):
            self.emit(number)

    with pooled.run():
        result = chatter.delay()
        assert "has emitted 3 values" in pooled.fails(result).message
        stream = iter(result.stream(PATIENCE))
        assert [next(stream) for _ in range(3)] == [0, 1, 2]


def test_a_task_of_no_application_says_so() -> None:
    with pytest.raises(ConfigError):
        Kernel(transport="nowhere://").task(lambda: None).update_state("other", "X")
