"""Limits of running at once and of starting, shared by all workers: nothing runs over them, nothing is stranded."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from engine.harness import Engine
from support import eventually

from kernel.errors import ConfigError, Unsupported
from kernel.limits import Concurrency, Rate, Window
from kernel.ports import Acquire
from kernel.worker.worker import Worker

Make = Callable[..., Engine]


class Gauge:
    """How many run at once, by key."""

    def __init__(self) -> None:
        self.now: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.order: dict[str, list[int]] = defaultdict(list)
        self._lock = threading.Lock()

    def __call__(self, engine: Engine, key: str, number: int, seconds: float) -> None:
        with self._lock:
            self.now[key] += 1
            self.most[key] = max(self.most[key], self.now[key])
            self.order[key].append(number)
        engine.nap(seconds)
        with self._lock:
            self.now[key] -= 1


def test_no_more_of_a_key_run_at_once_than_its_limit(engine: Engine) -> None:
    gauge = Gauge()

    @engine.task(limits=[Concurrency("account:{account}", 2)])
    def work(account: str, number: int) -> None:
        gauge(engine, account, number, 0.003)

    with engine.run(), engine.run():
        results = [work.delay(account, number) for number in range(15) for account in "ab"]
        for result in results:
            engine.get(result)
        engine.empty()
    assert max(gauge.most.values()) <= 2, gauge.most
    assert sum(map(len, gauge.order.values())) == 30


def test_what_waits_goes_in_the_order_of_sending_and_holds_no_worker(pooled: Engine) -> None:
    gate = threading.Event()
    seen: list[int] = []

    @pooled.task(limits=[Concurrency("one", 1)])
    def slow(number: int) -> None:
        seen.append(number)
        if number == 0 and pooled.pool != "solo":
            pooled.wait(gate)

    @pooled.task
    def other() -> str:
        return "ran"

    with pooled.run():
        first = slow.delay(0)
        if pooled.pool != "solo":
            eventually(lambda: seen == [0], what="the first runs")
        rest = [slow.delay(number) for number in range(1, 9)]
        assert pooled.get(other.delay()) == "ran"
        gate.set()
        for result in [first, *rest]:
            pooled.get(result)
    assert seen == list(range(9)), "one that waits was overtaken"


def test_a_task_over_its_limit_is_received_at_most_three_times(engines: Make) -> None:
    engine = engines("threads")
    received: Counter[str] = Counter()

    @engine.task(limits=[Concurrency("{key}", 2)])
    def work(key: int) -> None:
        engine.nap(0.001)

    running = [engine.start(), engine.start()]
    for worker in running:
        worker.worker.app.hooks.received = (lambda batch: received.update(envelope.id for envelope, _ in batch),)
    results = [work.delay(number % 3) for number in range(60)]
    for result in results:
        engine.get(result)
    assert len(received) == 60
    assert max(received.values()) <= 3


def test_a_failed_a_retried_and_an_expired_task_leave_their_slots(engines: Make) -> None:
    engine = engines("threads")
    hold = threading.Event()

    @engine.task(limits=[Concurrency("k", 1)], bind=True, default_retry_delay=0.01)
    def work(self: Any, how: str) -> str:
        if how == "hold":
            engine.wait(hold)
        if how == "fail":
            raise ValueError("no")
        if how == "retry" and self.request.retries < 2:
            self.retry()
        return how

    with engine.run():
        holder = work.delay("hold")
        eventually(lambda: engine.size().in_flight == 1)
        late = work.apply_async(("late",), expires=0.05)
        results = {how: work.delay(how) for how in ("fail", "retry", "ok")}
        time.sleep(0.1)
        hold.set()
        assert engine.get(holder) == "hold"
        assert engine.get(results["ok"]) == "ok"
        assert engine.get(results["retry"]) == "retry"
        assert engine.fails(results["fail"]).type == "ValueError"
        assert type(engine.fails(late)).__name__ == "TaskExpired"
        engine.empty()
        assert engine.app.ports.schedules is not None
        assert engine.app.ports.schedules.next_at("limit:k") is None


def test_what_waits_for_a_dead_holder_is_moved(engines: Make) -> None:
    """Somebody has acquired the slot and died: nobody will ever leave it."""
    engine = engines("threads", query="lease=1")

    @engine.task(limits=[Concurrency("k", 1)])
    def work() -> str:
        return "ran"

    results = [work.delay() for _ in range(3)]
    coordination = engine.app.ports.coordination
    assert coordination is not None
    assert coordination.acquire([Acquire("k", "the dead", 1, 0.7)]) == [True]
    began = time.monotonic()
    with engine.run(lease=1.0):
        for result in results:
            assert engine.get(result) == "ran"
    assert time.monotonic() - began < 2.0


def test_a_rate_is_kept_by_all_workers_together(engine: Engine) -> None:
    starts: list[float] = []

    @engine.task(limits=[Rate("api", 50, per=1.0)])
    def call(number: int) -> None:
        starts.append(time.monotonic())

    with engine.run(), engine.run():
        results = [call.delay(number) for number in range(26)]
        for result in results:
            engine.get(result)
    starts.sort()
    assert starts[-1] - starts[0] >= 0.45, starts
    assert len(starts) == 26


def test_a_window_lets_its_number_start_at_once(engines: Make) -> None:
    engine = engines("threads")
    starts: list[float] = []

    @engine.task(limits=[Window("api", 5, per=0.5)])
    def call(number: int) -> None:
        starts.append(time.monotonic())

    with engine.run():
        results = [call.delay(number) for number in range(12)]
        for result in results:
            engine.get(result)
    starts.sort()
    assert starts[4] - starts[0] < 0.4
    assert starts[5] - starts[0] >= 0.4
    assert starts[10] - starts[0] >= 0.9


def test_the_rate_limit_of_celery(engines: Make) -> None:
    engine = engines("threads")
    starts: list[float] = []

    @engine.task(rate_limit="20/s")
    def call() -> None:
        starts.append(time.monotonic())

    with engine.run():
        for result in [call.delay() for _ in range(7)]:
            engine.get(result)
    assert max(starts) - min(starts) >= 0.28


def test_limits_of_a_call_and_of_a_task_that_its_sender_does_not_know(engines: Make) -> None:
    engine = engines("threads")
    gauge = Gauge()

    @engine.task(limits=[Concurrency("{key}", 1)])
    def work(key: str, number: int) -> None:
        gauge(engine, key, number, 0.005)

    @engine.task
    def free(key: str, number: int) -> None:
        gauge(engine, key, number, 0.005)

    stranger = engine._application("stranger")
    with engine.run():
        results = [stranger.send_task("work", ("foreign", number)) for number in range(6)]
        results += [free.apply_async(("own", n), limits=[Concurrency("{key}", 1)]) for n in range(6)]
        for result in results:
            engine.get(result)
    stranger.close()
    assert gauge.most == {"foreign": 1, "own": 1}


def test_keys_that_cannot_be_made_are_refused(engines: Make) -> None:
    engine = engines("threads")

    @engine.task(limits=[Concurrency("account:{acount}", 2)])
    def typo(account: int) -> None: ...

    @engine.task(limits=[Concurrency(lambda account: account["id"], 2)])
    def by_function(account: Any) -> None: ...

    with pytest.raises(ConfigError, match="names 'acount', which is no argument"):
        typo.delay(1)
    with pytest.raises(ConfigError, match="returned 7"):
        by_function.delay({"id": 7})
    with pytest.raises(ConfigError, match="limits must be a list of"):
        engine.app.task(limits=["k"])(lambda: None)
    with pytest.raises(ConfigError, match="rate_limit must be like"):
        engine.app.task(rate_limit="10/x")(lambda: None)


def test_a_worker_without_the_services_refuses_limits(engines: Make) -> None:
    engine = engines("threads", coordination="none")

    @engine.task(limits=[Concurrency("k", 2)])
    def work() -> None: ...

    with pytest.raises(Unsupported, match="needs a coordination service"):
        Worker(engine.host()).run()


def test_a_worker_without_the_services_leaves_limited_messages_to_others(engines: Make) -> None:
    engine = engines("threads")
    ran: list[str] = []

    @engine.task
    def work() -> None:
        ran.append("here")

    with engine.run(coordination="none"):
        work.apply_async(limits=[Concurrency("k", 1)])
        eventually(lambda: engine.size().delayed == 1, what="it is sent on")
    assert ran == []


def test_several_limits_of_one_task_hold_together(engines: Make) -> None:
    engine = engines("threads")
    running: list[str] = []
    most: Counter[str] = Counter()
    lock = threading.Lock()

    @engine.task(limits=[Concurrency("all", 3), Concurrency("{key}", 2), Rate("start", 500)])
    def work(key: str, number: int) -> None:
        with lock:
            running.append(key)
            most["all"] = max(most["all"], len(running))
            most[key] = max(most[key], running.count(key))
        engine.nap(0.002)
        with lock:
            running.remove(key)

    with engine.run(), engine.run():
        for result in [work.delay(key, number) for number in range(20) for key in "abc"]:
            engine.get(result)
    assert most["all"] <= 3
    assert max(most[key] for key in "abc") <= 2
