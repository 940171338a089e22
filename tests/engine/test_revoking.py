"""Tasks that are revoked, before they start and while they run."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from engine.harness import PATIENCE, Engine
from support import eventually

from kernel.canvas import group
from kernel.errors import Revoked


@pytest.fixture
def lone(engines: Any) -> Engine:
    """An engine of threads on memory."""
    engine: Engine = engines("threads")
    return engine


def test_a_revoked_task_does_not_start(engine: Engine) -> None:
    ran: list[int] = []
    task = engine.task(name="note")(ran.append)
    gone, kept = task.delay(1), task.delay(2)
    gone.revoke()
    with engine.run():
        kept.get(PATIENCE)
        with pytest.raises(Revoked):
            gone.get(PATIENCE)
        engine.empty()
    assert ran == [2]


def test_a_running_task_is_ended(pooled: Engine) -> None:
    started = threading.Event()

    def long() -> None:
        started.set()
        for _ in range(2000):
            pooled.nap(0.005)

    async def along() -> None:
        import asyncio

        started.set()
        await asyncio.sleep(10)

    task = pooled.task(name="long")(along if pooled.pool == "asyncio" else long)
    with pooled.run():
        result = task.delay()
        pooled.wait(started)
        result.revoke(terminate=True)
        with pytest.raises(Revoked):
            result.get(PATIENCE)
        pooled.empty()


def test_without_terminate_what_runs_goes_on(lone: Engine) -> None:
    started, go = threading.Event(), threading.Event()

    def slow() -> str:
        started.set()
        assert go.wait(PATIENCE)
        return "done"

    task = lone.task(slow)
    other = lone.task(name="other")(lambda: None)
    with lone.run() as running:
        task.delay()
        lone.wait(started)
        other.apply_async(countdown=60).revoke()
        eventually(lambda: running.worker.revoking.any, PATIENCE)
        go.set()
        lone.settled()


def test_a_whole_workflow_stops(lone: Engine) -> None:
    ran: list[str] = []
    held = threading.Event()

    def first() -> None:
        assert held.wait(PATIENCE)

    def later(*_args: Any) -> None:
        ran.append("later")

    begin, after = lone.task(first), lone.task(later)
    flow = (begin.s() | group(after.s(), after.s()) | after.s()).on_error(after.s())
    with lone.run() as running:
        result = flow.delay()
        result.revoke()
        eventually(lambda: running.worker.revoking.any, PATIENCE)
        held.set()
        with pytest.raises(Revoked):
            result.get(PATIENCE)
        lone.empty()
    assert ran == []


def test_what_has_a_stamp_is_revoked_together(lone: Engine) -> None:
    ran: list[int] = []
    task = lone.task(name="note")(ran.append)
    gone = [task.apply_async((index,), stamps={"customer": "x"}) for index in range(3)]
    kept = task.apply_async((9,), stamps={"customer": "y"})
    lone.app.revoke(stamps={"customer": "x"})
    with lone.run():
        kept.get(PATIENCE)
        for each in gone:
            with pytest.raises(Revoked):
                each.get(PATIENCE)
    assert ran == [9]


def test_what_has_ended_stays_as_it_is(lone: Engine) -> None:
    task = lone.task(name="one")(lambda: 1)
    with lone.run():
        result = task.delay()
        assert result.get(PATIENCE) == 1
        result.revoke()
    assert lone.app.result(result.id).get(0.0) == 1
