"""Soft and hard time limits: kept where the pool can, refused at boot where nobody can."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from engine.harness import PATIENCE, Engine

from kernel import SoftTimeLimitExceeded
from kernel.errors import Unsupported
from kernel.worker.admit import check_limits
from kernel.worker.worker import Worker

Make = Callable[..., Engine]


def _compute(seconds: float = PATIENCE) -> None:
    """Python code that never waits."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        sum(range(100))


@pytest.mark.parametrize("pool", ["solo", "threads", "asyncio"])
def test_a_soft_limit_reaches_a_body_that_computes(engines: Make, pool: str, adapter: str) -> None:
    engine = engines(pool, adapter)

    @engine.task(soft_time_limit=0.05)
    def busy() -> None:
        _compute()

    @engine.task(soft_time_limit=0.05)
    def careful() -> str:
        try:
            _compute()
        except SoftTimeLimitExceeded:
            return "cleaned up"
        return "too late"

    @engine.task
    def by_call() -> None:
        _compute()

    with engine.run():
        assert engine.fails(busy.delay()).type == "kernel.errors.SoftTimeLimitExceeded"
        assert engine.get(careful.delay()) == "cleaned up"
        result = by_call.apply_async(soft_time_limit=0.05)
        assert engine.fails(result).type == "kernel.errors.SoftTimeLimitExceeded"
        assert engine.get(careful.apply_async(soft_time_limit=0.1)) == "cleaned up"
        engine.empty()


@pytest.mark.parametrize("pool", ["asyncio", "gevent", "eventlet"])
def test_a_soft_limit_reaches_a_body_that_waits(engines: Make, pool: str, adapter: str) -> None:
    engine = engines(pool, adapter)
    if pool == "asyncio":

        @engine.task(soft_time_limit=0.05)
        async def sleepy() -> None:
            await asyncio.sleep(PATIENCE)

        @engine.task(soft_time_limit=0.05)
        async def careful() -> str:
            try:
                await asyncio.sleep(PATIENCE)
            except SoftTimeLimitExceeded as error:
                await asyncio.sleep(0.01)
                return f"cleaned up: {error}"
            return "too late"
    else:

        @engine.task(soft_time_limit=0.05)
        def sleepy() -> None:
            engine.nap(PATIENCE)

        @engine.task(soft_time_limit=0.05)
        def careful() -> str:
            try:
                engine.nap(PATIENCE)
            except SoftTimeLimitExceeded as error:
                engine.nap(0.01)
                return f"cleaned up: {error}"
            return "too late"

    with engine.run():
        assert engine.fails(sleepy.delay()).type == "kernel.errors.SoftTimeLimitExceeded"
        assert engine.get(careful.delay()) == "cleaned up: careful ran longer than its soft limit of 0.05 s"
        engine.empty()


@pytest.fixture
def own_signals() -> Iterator[None]:
    """Puts the handler of the solo pool's signal back."""
    before = signal.getsignal(signal.SIGURG)
    yield
    signal.signal(signal.SIGURG, before)


@pytest.mark.usefixtures("own_signals")
def test_a_soft_limit_breaks_a_blocking_call_on_the_main_thread(engines: Make) -> None:
    engine = engines("solo")

    @engine.task(soft_time_limit=0.05)
    def sleepy() -> None:
        time.sleep(PATIENCE)

    @engine.task(soft_time_limit=0.05)
    async def asleep() -> None:
        await asyncio.sleep(PATIENCE)

    worker = Worker(engine.host())
    errors: list[Any] = []

    def call() -> None:
        try:
            errors.extend(engine.fails(task.delay()) for task in (sleepy, asleep))
        finally:
            worker.stop()

    caller = threading.Thread(target=call)
    caller.start()
    worker.run()
    caller.join(PATIENCE)
    assert [error.type for error in errors] == ["kernel.errors.SoftTimeLimitExceeded"] * 2


@pytest.mark.parametrize("pool", ["asyncio", "gevent", "eventlet"])
def test_a_hard_limit_ends_a_body_in_place(engines: Make, pool: str, adapter: str) -> None:
    engine = engines(pool, adapter)
    if pool == "asyncio":

        @engine.task(time_limit=0.05, dead_letter=True)
        async def endless() -> None:
            while True:
                await asyncio.sleep(0.01)

        @engine.task(time_limit=0.05, ignore_result=True, dead_letter=True)
        async def quiet() -> None:
            await asyncio.sleep(PATIENCE)
    else:

        @engine.task(time_limit=0.05, dead_letter=True)
        def endless() -> None:
            while True:
                engine.nap(0.01)

        @engine.task(time_limit=0.05, ignore_result=True, dead_letter=True)
        def quiet() -> None:
            engine.nap(PATIENCE)

    @engine.task
    def fine() -> str:
        return "fine"

    with engine.run():
        result = endless.delay()
        error = engine.fails(result)
        assert error.type == "kernel.errors.HardTimeLimitExceeded"
        assert "0.05 s" in error.message
        assert engine.letter().id == result.id
        quiet.delay()
        assert {letter.task for letter in engine.letters(2)} == {"endless", "quiet"}
        assert engine.get(fine.delay()) == "fine"
        engine.empty()


def test_a_hard_limit_that_nobody_can_keep_is_refused_at_boot(engines: Make) -> None:
    for pool in ("solo", "threads"):
        engine = engines(pool)
        engine.task(lambda: None, name="limited", time_limit=1.0)
        running = engine.start()
        with pytest.raises(Unsupported, match=f"limited has a hard limit.*{pool} pool"):
            running.join()
        engine._running.clear()


def test_a_hard_limit_beyond_the_longest_lease_is_refused_at_boot(engines: Make) -> None:
    engine = engines("asyncio")
    engine.task(lambda: None, name="long", time_limit=100.0)
    worker = Worker(engine.host())
    plan = worker.admit.plan("long")
    assert plan is not None
    with pytest.raises(Unsupported, match=r"long has a hard limit of 100 s.*50 s"):
        check_limits([plan], 50.0, True, "asyncio")
    check_limits([plan], 100.0, True, "asyncio")
    worker.app.close()
    worker.pool.stop(0.0)


def test_a_task_within_its_limits_is_left_alone(engine: Engine) -> None:
    limits: dict[str, float] = {"soft_time_limit": 4.0}
    if engine.pool in ("asyncio", "gevent", "eventlet"):
        limits["time_limit"] = 4.5

    @engine.task(**limits)
    def quick(number: int) -> int:
        return number

    @engine.task(**limits)
    async def aquick(number: int) -> int:
        return number

    with engine.run():
        results = [task.delay(n) for n in range(100) for task in (quick, aquick)]
        assert sum(engine.get(result) for result in results) == 9900
