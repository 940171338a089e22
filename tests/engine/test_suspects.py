"""Messages that may be what ended their worker: alone, counted, and not for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from engine.harness import PATIENCE, Engine

from kernel.ports import Tally

Make = Callable[..., Engine]


def test_suspects_run_one_at_a_time(engine: Engine) -> None:
    lock = threading.Lock()
    inside: set[int] = set()
    most: list[int] = []

    @engine.task(bind=True)
    def work(self: Any, number: int) -> int:
        with lock:
            inside.add(number)
            most.append(len(inside))
        engine.nap(0.02)
        with lock:
            inside.discard(number)
        return int(self.request.redelivered)

    results = [work.delay(n) for n in range(5)]
    engine.lose(5)
    with engine.run():
        assert all(engine.get(result) != 0 for result in results)
        engine.empty()
    assert max(most) == 1


def test_a_suspect_that_was_started_too_often_is_dead(engine: Engine) -> None:
    ran = threading.Event()

    @engine.task(max_deliveries=2)
    def poison() -> None:
        ran.set()

    @engine.task
    def fine() -> str:
        return "fine"

    bad, good = poison.delay(), fine.delay()
    coordination = engine.app.ports.coordination
    assert coordination is not None
    for member in ("one", "two"):
        coordination.tally([Tally(f"start:{bad.id}:0:0", member, 60.0)])
    engine.lose(2)
    with engine.run():
        assert engine.get(good) == "fine"
        error = engine.fails(bad)
        letter = engine.letter()
        engine.empty()
    assert not ran.is_set()
    assert error.type == "kernel.errors.WorkerLost"
    assert (letter.id, letter.kind) == (bad.id, "failed")
    assert "started" in letter.reason


@pytest.mark.parametrize("query", ["", "release_counts=yes"])
def test_a_message_that_was_given_back_a_hundred_times_still_runs(engines: Make, pool: str, query: str) -> None:
    engine = engines(pool, query=query)

    @engine.task(bind=True)
    def work(self: Any) -> int:
        return int(self.request.redelivered)

    result = work.delay()
    transport = engine.transport
    for _ in range(100):
        assert transport.release(transport.receive(["default"], 1, PATIENCE)) == []
    with engine.run():
        assert engine.get(result) == (100 if query else 0)
        engine.empty()


def test_a_suspect_that_ends_well_leaves_the_others_alone(engine: Engine) -> None:
    @engine.task
    def work(number: int) -> int:
        return number

    lost = [work.delay(n) for n in range(3)]
    engine.lose(3)
    fresh = [work.delay(n) for n in range(50)]
    with engine.run():
        assert [engine.get(result) for result in fresh] == list(range(50))
        assert [engine.get(result) for result in lost] == [0, 1, 2]
        engine.empty()
    assert engine.total("default.dead") == 0
