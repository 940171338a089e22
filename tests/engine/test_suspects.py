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


def test_what_was_only_given_back_is_no_suspect_where_that_counts_as_a_delivery(engines: Make) -> None:
    """Else every message that a worker fetched ahead would run alone, and make those behind it run alone too."""
    engine = engines("threads", query="release_counts=yes")
    together = threading.Barrier(4)

    @engine.task(bind=True)
    def meet(self: Any) -> int:
        together.wait(PATIENCE)
        return int(self.request.redelivered)

    results = [meet.delay() for _ in range(4)]
    transport = engine.transport
    for _ in range(3):
        transport.release(transport.receive(["default"], 10, PATIENCE))
    with engine.run():
        assert [engine.get(result) for result in results] == [3] * 4
        engine.empty()
    assert {result.state for result in results} == {"SUCCESS"}


def test_what_has_begun_and_came_again_is_a_suspect_there_too(engines: Make) -> None:
    """Its first start was not recorded, its second was, so that it is alone from the third on, and then counted."""
    engine = engines("threads", query="release_counts=yes")
    lock = threading.Lock()
    inside: set[int] = set()
    most: list[int] = []

    @engine.task
    def work(number: int) -> int:
        with lock:
            inside.add(number)
            most.append(len(inside))
        engine.nap(0.02)
        with lock:
            inside.discard(number)
        return number

    results = [work.delay(number) for number in range(4)]
    coordination = engine.app.ports.coordination
    assert coordination is not None
    for result in results:
        coordination.tally([Tally(f"begun:{result.id}:0:0", "an earlier process", 60.0)])
    engine.lose(4)
    with engine.run():
        assert [engine.get(result) for result in results] == list(range(4))
        engine.empty()
    assert max(most) == 1
    assert [coordination.tally([Tally(f"start:{result.id}:0:0", "?", 60.0)])[0] for result in results] == [2] * 4


def test_the_start_of_a_redelivery_that_runs_beside_others_is_fenced_and_recorded(engines: Make) -> None:
    engine = engines("threads", query="release_counts=yes")
    seen: list[str] = []

    @engine.task(bind=True)
    def work(self: Any) -> None:
        seen.append(engine.app.result(self.request.id).state)

    result = work.delay()
    engine.transport.release(engine.transport.receive(["default"], 1, PATIENCE))
    with engine.run():
        engine.get(result)
        engine.empty()
    assert seen == ["STARTED"]
    coordination = engine.app.ports.coordination
    assert coordination is not None
    looked, began = 1, 1
    assert coordination.tally([Tally(f"begun:{result.id}:0:0", "?", 60.0)])[0] == looked + began


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
