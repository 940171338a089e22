"""Not before, not after, in which order: delays, expiry, priorities, queues."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from engine.harness import Engine
from kernel_memory import MemoryResults, MemoryTransport
from kernel_memory.space import Space
from support import PAUSE, eventually

from kernel import ConfigError, Kernel
from kernel import envelope as wire
from kernel.clock import FakeClock
from kernel.errors import TaskExpired

Make = Callable[..., Engine]


def test_a_delayed_call_is_never_early(engine: Engine) -> None:
    @engine.task
    def now() -> float:
        return time.time()

    with engine.run():
        sent_at = time.time()
        soon = now.apply_async(countdown=0.05)
        dated = now.apply_async(eta=datetime.fromtimestamp(sent_at + 0.08, UTC))
        assert now.apply_async(eta=sent_at - 60).get(5.0) >= sent_at
        assert engine.get(soon) >= sent_at + 0.05
        assert engine.get(dated) >= sent_at + 0.08


def test_a_delay_by_a_clock_that_the_test_moves(engines: Make, pool: str) -> None:
    space, clock = Space(), FakeClock()
    engine = engines(
        pool, use=lambda app: app.use(MemoryTransport(space, clock), MemoryResults(space, clock)), clock=clock
    )
    engine.app.clock = clock
    ran: list[float] = []

    @engine.task
    def note() -> None:
        ran.append(clock.now())

    start = clock.now()
    with engine.run():
        note.apply_async(countdown=100.0)
        clock.advance(99.9)
        PAUSE.wait(0.1)
        assert ran == []
        clock.advance(0.1)
        eventually(lambda: ran == [start + 100.0], what="it runs on time")


def test_a_message_that_comes_too_early_is_sent_on(engine: Engine) -> None:
    """A broker that knows no delay, or a clock that is ahead: the envelope is what counts."""

    @engine.task
    def now() -> float:
        return time.time()

    at = time.time() + 0.1
    engine.post(engine.frame("now", id="e1", extra={wire.ETA: at}))
    with engine.run():
        assert engine.get(engine.app.result("e1")) >= at
        engine.empty()


@pytest.mark.parametrize("mask", ["delay", "delay,wake,commit", "priorities,delay"])
def test_delays_and_priorities_that_are_emulated(make: Make, mask: str) -> None:
    engine = make(query=f"mask={mask}")

    @engine.task
    def now() -> float:
        return time.time()

    with engine.run():
        sent_at = time.time()
        later, at_once = now.apply_async(countdown=0.1), now.apply_async(priority=7)
        assert engine.get(at_once) < sent_at + 5.0
        assert engine.get(later) >= sent_at + 0.1


def test_an_expired_call_is_not_run(engine: Engine) -> None:
    ran: list[str] = []

    @engine.task(expires=0.01)
    def brief(word: str) -> None:
        ran.append(word)

    @engine.task
    def work(word: str) -> None:
        ran.append(word)

    past = datetime.now(UTC) - timedelta(seconds=5)
    expired = [brief.delay("task"), work.apply_async(("call",), expires=0.01), work.apply_async(("at",), expires=past)]
    good = [work.apply_async(("good",), expires=60), brief.apply_async(("also",), expires=60)]
    PAUSE.wait(0.02)
    with engine.run():
        for result in good:
            engine.get(result)
        for result in expired:
            assert isinstance(engine.fails(result), TaskExpired)
            assert result.state == "EXPIRED"
            with pytest.raises(TaskExpired, match="before it was started"):
                engine.get(result)
        engine.empty()
    assert sorted(ran) == ["also", "good"]
    assert engine.total("default.dead") == 0
    with pytest.raises(ConfigError, match="no time zone"):
        work.apply_async(("x",), eta=datetime(2030, 1, 1))


def test_the_most_urgent_goes_first(engines: Make, adapter: str) -> None:
    engine = engines("solo", adapter)
    order: list[int] = []

    @engine.task(priority=4)
    def work(level: int) -> None:
        order.append(level)

    for level in (0, 9, 5, 1, 7):
        work.apply_async((level,), priority=level)
    work.delay(4)
    with engine.run():
        engine.empty()
    assert order == [9, 7, 5, 4, 1, 0]


def _shares(engine: Engine, many: int) -> Any:
    """A task and the order in which the queues of its calls came; each batch is one message."""
    order: list[str] = []

    @engine.task
    def work(queue: str) -> None:
        order.append(queue)

    for queue in ("a", "b"):
        for _ in range(many):
            work.apply_async((queue,), queue=queue)
    return order


def test_strict_queues_are_served_in_order(engines: Make, adapter: str) -> None:
    engine = engines("solo", adapter, queues=("a", "b"), strict=True)
    order = _shares(engine, 20)
    with engine.run():
        engine.empty("a")
        engine.empty("b")
    assert order == ["a"] * 20 + ["b"] * 20


@pytest.mark.parametrize(("queues", "share"), [(("a", "b"), 30), (("a:5", "b"), 10)])
def test_fair_and_weighted_turns(engines: Make, queues: tuple[str, str], share: int) -> None:
    engine = engines("solo", query="max_batch=1", queues=queues)
    order = _shares(engine, 60)
    with engine.run():
        engine.empty("a")
        engine.empty("b")
    assert order[:60].count("b") == pytest.approx(share, abs=1)


def test_an_application_without_a_result_store(engines: Make, pool: str) -> None:
    engine = engines(pool, results="none")
    seen: list[str] = []

    @engine.task
    def work(word: str) -> str:
        seen.append(word)
        return word

    with engine.run():
        result = work.delay("a")
        work.apply_async(("b",), countdown=0.02)
        eventually(lambda: sorted(seen) == ["a", "b"], what="both run")
        engine.empty()
    with pytest.raises(Exception, match="no result store"):
        result.get(0.1)
    assert isinstance(engine.app, Kernel)
