"""Overtaken executions, records that stand, ports that go away: nothing is lost and nothing is written twice."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
from engine.harness import PATIENCE, Engine, Running
from kernel_memory import MemoryCoordination, MemoryResults, MemoryTransport
from kernel_memory.space import Space
from support import PAUSE, eventually

from kernel import Kernel, Reject, Retry
from kernel.clock import FakeClock
from kernel.errors import Rejected, Unavailable
from kernel.outcome import Entry, Error, encode_entry
from kernel.ports import Record

Make = Callable[..., Engine]


class Switch:
    """Makes methods of an adapter object fail while it is on, and counts the tries."""

    def __init__(self, adapter: Any, *methods: str, error: Exception | None = None) -> None:
        self.on = threading.Event()
        self.tries = 0
        self.first = threading.Event()
        self._error = error or Unavailable("away")
        for name in methods:
            setattr(adapter, name, self._guarded(getattr(adapter, name)))

    def _guarded(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            if self.on.is_set():
                self.tries += 1
                self.first.set()
                raise self._error
            return method(*args)

        return call


class Owned:
    """An engine whose adapters are objects of this test, on a clock that it moves."""

    def __init__(self, engines: Make, pool: str, **options: Any) -> None:
        self.space = Space()
        self.clock = FakeClock()
        self.stores: list[MemoryResults] = []
        self.transports: list[MemoryTransport] = []
        self.engine = engines(pool, use=self._use, clock=self.clock, grace=1e6, **options)

    def _use(self, app: Kernel) -> None:
        space, clock = self.space, self.clock
        self.transports.append(MemoryTransport(space, clock))
        self.stores.append(MemoryResults(space, clock))
        app.use(self.transports[-1], self.stores[-1], MemoryCoordination(space, clock))


@pytest.fixture
def owned(engines: Make, pool: str) -> Owned:
    return Owned(engines, pool)


def _wait_drained(running: Running) -> None:
    """Told to stop, it takes in nothing more, and goes on with what runs."""
    running.worker.stop()
    eventually(lambda: running.worker.pool.waiting() == 0, what="nothing waits")


# -- overtaken ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["returns", "fails", "retries"])
def test_an_overtaken_execution_writes_nothing_and_sends_nothing(owned: Owned, ending: str) -> None:
    engine = owned.engine
    begun, go = threading.Event(), threading.Event()
    runs: list[int] = []

    @engine.task(dead_letter=True)
    def work() -> str:
        runs.append(1)
        if len(runs) > 1:
            return "heir"
        begun.set()
        engine.wait(go)
        if ending == "fails":
            raise ValueError("zombie")
        if ending == "retries":
            raise Retry(countdown=0.0)
        return "zombie"

    result = work.delay()
    zombie = engine.start()
    assert begun.wait(PATIENCE)
    _wait_drained(zombie)
    owned.clock.advance(61.0)
    with engine.run():
        assert engine.get(result) == "heir"
        engine.empty()
    go.set()
    zombie.join()
    assert len(runs) == 2
    assert engine.app.result(result.id).get(PATIENCE) == "heir"
    assert (engine.total(), engine.total("default.dead")) == (0, 0)


def test_the_start_of_a_redelivery_fences_who_had_it_before(owned: Owned) -> None:
    """The overtaken one ends first, while the heir still runs: its outcome is refused by the STARTED of the heir."""
    engine = owned.engine
    begun = [threading.Event(), threading.Event()]
    go = [threading.Event(), threading.Event()]
    runs: list[int] = []

    @engine.task
    def work() -> int:
        number = len(runs)
        runs.append(number)
        begun[number].set()
        engine.wait(go[number])
        return number

    result = work.delay()
    zombie = engine.start()
    assert begun[0].wait(PATIENCE)
    _wait_drained(zombie)
    owned.clock.advance(61.0)
    with engine.run():
        assert begun[1].wait(PATIENCE)
        assert engine.app.result(result.id).state == "STARTED"
        go[0].set()
        zombie.join()
        assert engine.app.result(result.id).state == "STARTED"
        assert engine.size().in_flight == 1
        go[1].set()
        assert engine.get(result) == 1
        engine.empty()
    assert runs == [0, 1]


# -- records that stand ------------------------------------------------------------------------------------


def _stand(engine: Engine, task_id: str, entry: Entry) -> None:
    store = engine.app.ports.results
    assert store is not None
    assert store.put([Record(task_id, encode_entry(entry), True, (0, 0, 0))], 60.0) == [None]


def test_a_redelivery_of_a_finished_task_is_not_run_again(engine: Engine) -> None:
    ran = threading.Event()

    @engine.task(dead_letter=True)
    def work() -> None:
        ran.set()

    done, failed = work.delay(), work.delay()
    engine.lose(2)
    _stand(engine, done.id, Entry("SUCCESS", "json", b'"before"'))
    _stand(engine, failed.id, Entry("FAILURE", error=Error("ValueError", "before"), dead="failed", reason="it failed"))
    with engine.run():
        engine.empty()
        letter = engine.letter()
    assert not ran.is_set()
    assert engine.get(done) == "before"
    assert engine.fails(failed).message == "before"
    assert (letter.id, letter.kind, letter.reason) == (failed.id, "failed", "it failed")


def test_an_ack_that_failed_for_good_is_repeated_by_the_redelivery(owned: Owned) -> None:
    """The crash between the result and the ack: the record stands, the message is still there."""
    engine = owned.engine
    runs: list[int] = []

    @engine.task
    def work() -> str:
        runs.append(1)
        return "once"

    running = engine.start()
    switch = Switch(owned.transports[-1], "ack", error=Rejected("not now, not ever"))
    switch.on.set()
    result = work.delay()
    assert engine.get(result) == "once"
    assert switch.first.wait(PATIENCE)
    eventually(lambda: len(running.worker.hand) == 0, what="the worker let go of it")
    assert engine.size().in_flight == 1
    switch.on.clear()
    owned.clock.advance(61.0)
    engine.empty()
    assert runs == [1]
    running.stop()


# -- ports that go away ------------------------------------------------------------------------------------


def test_an_ack_waits_for_a_transport_that_is_away(owned: Owned, caplog: pytest.LogCaptureFixture) -> None:
    engine = owned.engine
    runs: list[int] = []

    @engine.task
    def work() -> str:
        runs.append(1)
        return "once"

    with engine.run():
        switch = Switch(owned.transports[-1], "ack", "commit", "extend")
        switch.on.set()
        result = work.delay()
        assert engine.get(result) == "once"
        owned.clock.advance(10.0)
        for _ in range(3):  # the fake clock does not move by itself, and a held outcome is tried again by the clock
            tries = switch.tries
            eventually(lambda: switch.tries > tries or owned.clock.advance(1.0), what="another try")  # noqa: B023
        assert engine.size().in_flight == 1
        switch.on.clear()
        eventually(lambda: engine.total() == 0 or owned.clock.advance(0.5), what="it is acknowledged")
    assert runs == [1]
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert "unavailable" in errors[0].getMessage()


def test_a_store_that_is_away_holds_up_only_those_that_need_it(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    engine = make(query="lease=0.6")
    runs: list[str] = []

    @engine.task
    def work(word: str) -> str:
        runs.append(word)
        return word

    with engine.run() as running:
        store = running.worker.ports.results
        switch = Switch(store, "put")
        switch.on.set()
        waiting = [work.delay(f"kept {n}") for n in range(3)]
        eventually(lambda: len(runs) == 3, what="they ran")
        assert switch.first.wait(PATIENCE)
        for n in range(20):
            work.apply_async((f"ignored {n}",), ignore_result=True)
        eventually(lambda: len(runs) == 23 and engine.size() and engine.total() == 3, what="the others go on")
        PAUSE.wait(1.0)  # longer than the lease, which must be renewed meanwhile
        assert engine.size().in_flight == 3
        assert [result.ready() for result in waiting] == [False] * 3
        switch.on.clear()
        assert [engine.get(result) for result in waiting] == ["kept 0", "kept 1", "kept 2"]
        engine.empty()
    assert len(runs) == 23
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1


def test_a_worker_receives_again_when_the_transport_is_back(pooled: Engine, caplog: pytest.LogCaptureFixture) -> None:
    @pooled.task
    def work() -> str:
        return "ran"

    with pooled.run() as running:
        assert pooled.get(work.delay()) == "ran"
        switch = Switch(running.worker.transport, "receive")
        switch.on.set()
        first = work.delay()  # ends the receive that is under way, if there is one; every later one fails
        assert switch.first.wait(PATIENCE)
        later = work.delay()
        tries = switch.tries
        eventually(lambda: switch.tries > tries + 2, what="it is tried again")
        switch.on.clear()
        assert [pooled.get(first), pooled.get(later)] == ["ran", "ran"]
    levels = [record.levelname for record in caplog.records if "transport" in record.getMessage()]
    assert levels == ["ERROR", "WARNING"]


# -- requeues of a running task ----------------------------------------------------------------------------


def test_reject_with_requeue_runs_again_also_after_an_early_ack(engine: Engine) -> None:
    runs: list[str] = []

    @engine.task
    def picky(word: str) -> int:
        runs.append(word)
        if runs.count(word) < 3:
            raise Reject("not yet", requeue=True)
        return runs.count(word)

    with engine.run():
        assert engine.get(picky.delay("late")) == 3
        assert engine.get(picky.apply_async(("early",), acks_late=False)) == 3
        engine.empty()
