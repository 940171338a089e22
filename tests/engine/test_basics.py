"""Calls and results: the same worker tests under every pool, on memory and on SQLite."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from engine.harness import PATIENCE, Engine
from support import eventually

from kernel import Call, Kernel, ResultTimeout, TaskFailed, current_app, current_request, current_task, shared_task


def test_a_call_gives_its_result(engine: Engine) -> None:
    @engine.task
    def add(x: int, y: int = 0) -> int:
        return x + y

    with engine.run():
        assert engine.get(add.delay(1, 2)) == 3
        assert engine.get(add.delay(1, y=5)) == 6
        assert engine.get(add.apply_async((4,), {"y": 4})) == 8
        assert engine.get(engine.app.send_task("add", (2,), {"y": 3})) == 5
    engine.empty()


def test_a_coroutine_function_runs_in_every_pool(engine: Engine) -> None:
    @engine.task
    async def add(x: int, y: int) -> int:
        await asyncio.sleep(0.001)
        return x + y

    @engine.task(bind=True)
    async def whoami(self: Any) -> list[Any]:
        await asyncio.sleep(0.001)
        task, request = current_task(), current_request()
        assert task is not None
        assert request is not None
        return [task.name, request.id, self.request.id]

    with engine.run():
        results = [add.delay(n, n) for n in range(20)]
        assert [engine.get(result) for result in results] == [2 * n for n in range(20)]
        result = whoami.delay()
        assert engine.get(result) == ["whoami", result.id, result.id]


def test_many_calls_in_few_port_calls(engine: Engine) -> None:
    @engine.task
    def double(number: int) -> int:
        return 2 * number

    with engine.run():
        results = engine.app.send_many(double, ((n,) for n in range(300)))
        assert [engine.get(result) for result in results] == [2 * n for n in range(300)]
        named = engine.app.send_many("double", [Call((1,)), Call((), {"number": 2}), (3,)])
        assert [engine.get(result) for result in named] == [2, 4, 6]


def test_a_batch_is_sent_at_the_end_of_its_block(engine: Engine) -> None:
    @engine.task
    def double(number: int) -> int:
        return 2 * number

    engine.transport.declare(["default"])
    with engine.app.batch():
        results = [double.delay(n) for n in range(10)]
        assert engine.total() == 0
    assert engine.total() == 10
    with pytest.raises(RuntimeError, match="never mind"):
        _send_and_fail(engine, double)
    assert engine.total() == 10
    with engine.run():
        assert [engine.get(result) for result in results] == [2 * n for n in range(10)]


def _send_and_fail(engine: Engine, task: Any) -> None:
    with engine.app.batch():
        task.delay(1)
        raise RuntimeError("never mind")


def test_the_bound_task_and_its_request(engine: Engine) -> None:
    @engine.task(bind=True, priority=2)
    def look(self: Any, word: str) -> dict[str, Any]:
        request = self.request
        task = current_task()
        assert task is not None
        return {
            "id": request.id,
            "name": task.name,
            "retries": request.retries,
            "queue": request.queue,
            "headers": request.headers,
            "priority": request.priority,
            "root": request.root_id,
            "parent": request.parent_id,
            "word": word,
            "app": current_app().name,
            "redelivered": request.redelivered,
        }

    with engine.run():
        result = look.apply_async(("hello",), task_id="chosen", headers={"trace": "abc"}, priority=7)
        assert engine.get(result) == {
            "id": "chosen",
            "name": "look",
            "retries": 0,
            "queue": "default",
            "headers": {"trace": "abc"},
            "priority": 7,
            "root": "chosen",
            "parent": None,
            "word": "hello",
            "app": "host",
            "redelivered": 0,
        }
    assert (look.request.called_directly, look.request.id) == (True, "")
    assert current_task() is None


def test_a_task_sent_by_a_task_knows_where_it_comes_from(engine: Engine) -> None:
    @engine.task(bind=True)
    def leaf(self: Any) -> list[str]:
        return [self.request.root_id, self.request.parent_id]

    @engine.task(bind=True)
    def middle(self: Any) -> list[str]:
        return [self.request.id, leaf.delay().id]

    @engine.task
    def top() -> str:
        return str(middle.delay().id)

    with engine.run():
        root = top.delay()
        middle_id = engine.get(root)
        own, leaf_id = engine.get(engine.app.result(middle_id))
        assert own == middle_id
        assert engine.get(engine.app.result(leaf_id)) == [root.id, middle_id]


def test_a_failure_carries_the_remote_traceback(engine: Engine) -> None:
    @engine.task
    def fail(word: str) -> None:
        raise ValueError(f"no {word}")

    @engine.task
    async def afail() -> None:
        raise KeyError("gone")

    line = fail.function.__code__.co_firstlineno + 2
    with engine.run():
        result = fail.delay("bread")
        with pytest.raises(TaskFailed, match="ValueError: no bread") as caught:
            engine.get(result)
        error = caught.value
        assert (error.task_id, error.type, error.message) == (result.id, "ValueError", "no bread")
        note = "".join(error.__notes__)
        assert f'test_basics.py", line {line}, in fail' in note
        assert "kernel/worker" not in note
        assert result.failed()
        assert result.traceback == error.traceback
        returned = engine.fails(fail.delay("wine"))
        assert isinstance(returned, TaskFailed)
        assert returned.message == "no wine"
        assert engine.fails(afail.delay()).type == "KeyError"
    engine.empty()
    assert engine.total("default.dead") == 0


def test_states_from_pending_to_the_end(engine: Engine) -> None:
    begun, go = threading.Event(), threading.Event()

    @engine.task(track_started=True)
    def slow() -> str:
        begun.set()
        engine.wait(go)
        return "done"

    result = slow.delay()
    assert result.state == "PENDING"
    assert not result.ready()
    with pytest.raises(ResultTimeout, match="PENDING"):
        result.get(0.01)
    with engine.run():
        assert begun.wait(PATIENCE)
        assert result.state == "STARTED"
        with pytest.raises(TimeoutError, match="STARTED"):
            result.get(0.01)
        go.set()
        assert engine.get(result) == "done"
        assert result.status == "SUCCESS"
        assert result.successful()
        result.forget()
        assert result.state == "PENDING"
        assert engine.app.result(result.id).entry() is None


def test_results_in_the_order_in_which_they_finish(engine: Engine) -> None:
    @engine.task
    def double(number: int) -> int:
        return 2 * number

    with engine.run():
        results = engine.app.send_many(double, [(n,) for n in range(30)])
        found = {done.id: done.get() for done in engine.app.as_completed(results, timeout=PATIENCE)}
        assert found == {result.id: 2 * n for n, result in enumerate(results)}

        async def collect() -> dict[str, int]:
            return {r.id: await r.aget() async for r in engine.app.as_completed(results, timeout=PATIENCE)}

        assert asyncio.run(collect()) == found
    with pytest.raises(ResultTimeout, match="1 tasks"):
        list(engine.app.as_completed([double.delay(1)], timeout=0.02))


def test_coroutines_that_send_at_once_share_port_calls(engine: Engine) -> None:
    @engine.task
    def double(number: int) -> int:
        return 2 * number

    calls: list[int] = []
    post = engine.app.post

    def counted(messages: Any) -> None:
        calls.append(len(messages))
        post(messages)

    engine.app.post = counted  # type: ignore[method-assign]

    async def main() -> list[int]:
        results = await asyncio.gather(*[double.adelay(n) for n in range(200)])
        results.append(await double.aapply_async((500,), headers={"a": 1}))
        return list(await asyncio.gather(*[result.aget(PATIENCE) for result in results]))

    with engine.run():
        assert asyncio.run(main()) == [2 * n for n in range(200)] + [1000]
    assert sum(calls) == 201
    assert len(calls) <= 5


def test_ignored_results_leave_nothing(engine: Engine) -> None:
    seen: list[str] = []

    @engine.task(ignore_result=True)
    def quiet(word: str) -> object:
        seen.append(word)
        return object()  # could not be serialised, and need not be

    @engine.task
    def loud(word: str) -> str:
        seen.append(word)
        return word

    with engine.run():
        ignored = [quiet.delay("a"), loud.apply_async(("b",), ignore_result=True)]
        kept = loud.apply_async(("c",))
        asked = engine.app.send_task("loud", ("d",), ignore_result=False)
        assert [engine.get(kept), engine.get(asked)] == ["c", "d"]
        engine.empty()
    assert [result.state for result in ignored] == ["PENDING", "PENDING"]
    assert sorted(seen) == ["a", "b", "c", "d"]


def test_results_expire(engine: Engine) -> None:
    @engine.task(result_expires=0.05)
    def brief() -> int:
        return 1

    @engine.task
    def long() -> int:
        return 2

    with engine.run():
        short, by_call, kept = brief.delay(), long.apply_async(result_expires=0.05), long.delay()
        assert engine.get(kept) == 2
        engine.empty()
        for gone in (short, by_call):  # a handle remembers an end that it has seen: ask with a new one each time
            eventually(lambda: engine.app.result(gone.id).state == "PENDING", what="it is gone")  # noqa: B023
        assert kept.state == "SUCCESS"


def test_a_shared_task_belongs_to_every_application(engine: Engine) -> None:
    @shared_task(name="shared_double")
    def shared_double(number: int) -> int:
        return 2 * number

    other = Kernel("other", transport=engine.url)
    with engine.run():
        results = [engine.app.send_task("shared_double", (4,)), other.send_task("shared_double", (5,))]
        assert [engine.get(result) for result in results] == [8, 10]
        assert "shared_double" in engine.app.tasks
        assert "shared_double" in other.tasks
    other.close()


def test_arguments_are_checked_in_the_caller(engine: Engine) -> None:
    @engine.task
    def add(x: int, y: int) -> int:
        return x + y

    @engine.task(typing=False)
    def loose(x: int) -> int:
        return x

    for args, kwargs in (((1,), {}), ((1, 2, 3), {}), ((1,), {"z": 1}), ((1, 2), {"y": 1})):
        with pytest.raises(TypeError, match="add"):
            add.delay(*args, **kwargs)
    with engine.run():
        assert engine.fails(loose.delay(1, 2)).type == "TypeError"
        assert engine.fails(engine.app.send_task("loose", (1, 2, 3))).type == "TypeError"
