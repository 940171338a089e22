"""Acknowledging, fetching ahead, and stopping: what a worker holds, and what it gives back."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from engine.harness import PATIENCE, Engine
from support import PAUSE, eventually

from kernel.errors import TaskFailed
from kernel.worker.seat import ExitCode

Make = Callable[..., Engine]


@pytest.fixture
def held(engine: Engine) -> Any:
    """An engine with a task that tells when it runs and waits until it may end."""
    return _Held(engine)


class _Held:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.begun, self.go = threading.Event(), threading.Event()
        self.runs: list[int] = []
        self.task = engine.task(self._body, name="held")

    def _body(self, number: int = 0) -> int:
        self.runs.append(number)
        self.begun.set()
        self.engine.wait(self.go)
        return number


# -- acks --------------------------------------------------------------------------------------------------


def test_a_late_ack_comes_after_the_result(held: _Held) -> None:
    engine = held.engine
    with engine.run():
        result = held.task.delay()
        assert held.begun.wait(PATIENCE)
        assert engine.size().in_flight == 1
        held.go.set()
        engine.get(result)
        engine.empty()


def test_an_early_ack_comes_before_the_body(held: _Held) -> None:
    engine = held.engine
    with engine.run():
        result = held.task.apply_async(acks_late=False)
        assert held.begun.wait(PATIENCE)
        assert engine.total() == 0
        held.go.set()
        assert engine.get(result) == 0


def test_an_early_ack_is_not_made_for_what_has_not_started(held: _Held) -> None:
    engine = held.engine
    for number in range(50):
        held.task.apply_async((number,), acks_late=False)
    running = engine.start(concurrency=1, prefetch_max=50)
    assert held.begun.wait(PATIENCE)
    running.worker.quit()
    held.go.set()
    running.join()
    assert len(held.runs) + engine.total() == 50
    assert engine.size().in_flight == 0
    assert len(held.runs) <= 2


def test_a_task_whose_early_ack_is_slow_has_its_time_when_the_worker_stops(make: Make) -> None:
    engine = make()
    asked, answer = threading.Event(), threading.Event()

    @engine.task(acks_late=False)
    def work() -> str:
        engine.nap(0.8)
        return "whole"

    running = engine.start()
    transport = running.worker.transport
    ack = transport.ack

    def slow(batch: Any) -> Any:
        asked.set()
        answer.wait(PATIENCE)
        return ack(batch)

    transport.ack = slow  # type: ignore[method-assign]
    result = work.delay()
    assert asked.wait(PATIENCE)
    running.worker.stop()
    PAUSE.wait(0.1)
    answer.set()
    running.join()
    assert engine.get(result) == "whole"


# -- fetching ahead ----------------------------------------------------------------------------------------


def test_what_waits_behind_a_task_that_lasts_is_given_back(held: _Held) -> None:
    engine = held.engine

    @engine.task
    def tiny() -> None:
        pass

    with engine.run(concurrency=1):
        engine.app.send_many(tiny, [()] * 50)  # known to be tiny: many are fetched
        engine.empty()
        with engine.app.batch():
            held.task.delay()
            for _ in range(30):
                tiny.delay()
        assert held.begun.wait(PATIENCE)
        started_at = time.monotonic()
        eventually(lambda: (engine.size().in_flight, engine.size().ready) == (1, 30), what="they are given back")
        assert time.monotonic() - started_at < 1.0  # 100 ms on a machine that has nothing else to do
        held.go.set()
        engine.empty()


def test_the_first_contact_fetches_one_ahead(held: _Held) -> None:
    engine = held.engine
    for number in range(20):
        held.task.delay(number)
    taken: list[int] = []
    running = engine.start(concurrency=1)
    receive = running.worker.transport.receive

    def noted(queues: Any, limit: int, timeout: float) -> Any:
        deliveries = receive(queues, limit, timeout)
        taken.append(len(deliveries))
        return deliveries

    running.worker.transport.receive = noted  # type: ignore[method-assign]
    assert held.begun.wait(PATIENCE)
    eventually(lambda: engine.size().in_flight == 1, what="only the running one is held")
    held.go.set()
    engine.empty()
    running.stop()
    assert max(taken) <= 20


def test_tiny_tasks_come_in_hundreds(make: Make) -> None:
    engine = make()
    batches: list[int] = []

    @engine.task(ignore_result=True)
    def tiny() -> None:
        pass

    engine.app.send_many(tiny, [()] * 5000)
    running = engine.start()
    receive = running.worker.transport.receive

    def noted(queues: Any, limit: int, timeout: float) -> Any:
        deliveries = receive(queues, limit, timeout)
        batches.append(len(deliveries))
        return deliveries

    running.worker.transport.receive = noted  # type: ignore[method-assign]
    engine.empty()
    running.stop()
    assert max(batches) >= 100


# -- stopping ----------------------------------------------------------------------------------------------


def test_a_stop_lets_what_runs_end(held: _Held) -> None:
    engine = held.engine
    with engine.run() as running:
        result = held.task.delay(7)
        assert held.begun.wait(PATIENCE)
        running.worker.stop()
        assert not running.ended.wait(0.1)
        held.go.set()
        assert running.join() == ExitCode.OK
    assert engine.get(result) == 7
    assert engine.total() == 0


def test_a_stop_gives_back_what_has_not_started(held: _Held) -> None:
    engine = held.engine
    for number in range(10):
        held.task.delay(number)
    running = engine.start(concurrency=1)
    assert held.begun.wait(PATIENCE)
    running.worker.stop()
    eventually(lambda: (engine.size().ready, engine.size().in_flight) == (9, 1), what="nine are back")
    held.go.set()
    running.join()
    assert len(held.runs) == 1
    assert engine.size().ready == 9


def test_quit_cancels_what_runs_and_gives_it_back(held: _Held) -> None:
    engine = held.engine
    results = [held.task.delay(number) for number in range(3)]
    running = engine.start(concurrency=1)
    assert held.begun.wait(PATIENCE)
    stopped_at = time.monotonic()
    running.stop(quit=True)
    assert time.monotonic() - stopped_at < 3.0
    assert (engine.size().ready, engine.size().in_flight) == (3, 0)
    assert {result.state for result in results} <= {"PENDING", "STARTED"}
    held.go.set()
    with engine.run():
        assert [engine.get(result) for result in results] == [0, 1, 2]


def test_an_early_acknowledged_task_that_is_cancelled_is_a_failure(held: _Held) -> None:
    engine = held.engine
    result = held.task.apply_async(acks_late=False)
    running = engine.start()
    assert held.begun.wait(PATIENCE)
    running.stop(quit=True)
    error = engine.fails(result)
    assert isinstance(error, TaskFailed)
    assert error.type == "kernel.errors.WorkerLost"


def test_what_outlives_the_grace_is_cancelled_and_given_back(held: _Held) -> None:
    engine = held.engine
    held.task.delay()
    running = engine.start(grace=0.2)
    assert held.begun.wait(PATIENCE)
    stopped_at = time.monotonic()
    running.stop()
    assert 0.2 <= time.monotonic() - stopped_at < 3.0
    assert (engine.size().ready, engine.size().in_flight) == (1, 0)


@pytest.mark.usefixtures("no_new_threads")
def test_an_idle_worker_stops_at_once_and_another_may_start(engine: Engine) -> None:
    @engine.task
    def fine() -> str:
        return "fine"

    for _ in range(2):
        with engine.run() as running:
            assert engine.get(fine.delay()) == "fine"
            stopped_at = time.monotonic()
            running.stop()
            assert time.monotonic() - stopped_at < 0.8
            running.worker.stop()  # again, and after the end: nothing happens


def test_a_worker_is_replaced_after_so_many_tasks(engine: Engine) -> None:
    @engine.task
    def fine(number: int) -> int:
        return number

    results = [fine.delay(number) for number in range(30)]
    running = engine.start(max_tasks=10)
    assert running.join() == ExitCode.RECYCLE
    assert sum(result.ready() for result in results) >= 10
    with engine.run():
        assert [engine.get(result) for result in results] == list(range(30))


# -- logging -----------------------------------------------------------------------------------------------


def test_one_line_for_each_finished_task(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "kernel.worker")

    @engine.task
    def good() -> None:
        pass

    @engine.task
    def bad() -> None:
        raise ValueError("two\nlines")

    with engine.run():
        results = [good.delay() for _ in range(20)] + [bad.delay()]
        for result in results:
            engine.fails(result) if result is results[-1] else engine.get(result)
        engine.empty()
    lines = "\n".join(record.getMessage() for record in caplog.records if record.levelno == logging.INFO).split("\n")
    for result in results:
        (line,) = [line for line in lines if result.id in line]
        state = "FAILURE" if result is results[-1] else "SUCCESS"
        assert f"[{result.id}] {state} in" in line
    assert "ValueError: two lines" in line
