"""Retries: when they are made, what they carry along, and how they end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from engine.harness import PATIENCE, Engine

from kernel import Retry
from kernel import envelope as wire
from kernel.envelope import decode, encode

Make = Callable[..., Engine]


def test_a_task_that_asks_for_a_retry_runs_again(engine: Engine) -> None:
    @engine.task(bind=True)
    def flaky(self: Any, needed: int) -> int:
        if self.request.retries < needed:
            self.retry(exc=ValueError("not yet"), countdown=0.01)
        return int(self.request.retries)

    @engine.task(bind=True)
    async def aflaky(self: Any) -> int:
        if self.request.retries < 2:
            self.retry(eta=time.time() + 0.01)
        return int(self.request.retries)

    @engine.task(bind=True, default_retry_delay=0.01)
    def bare(self: Any) -> int:
        if self.request.retries < 1:
            raise Retry
        return int(self.request.retries)

    with engine.run():
        results = [flaky.delay(0), flaky.delay(2), aflaky.delay(), bare.delay()]
        assert [engine.get(result) for result in results] == [0, 2, 2, 1]
        engine.empty()
    assert engine.total("default.dead") == 0


def test_errors_that_are_retried_without_asking(engine: Engine) -> None:
    @engine.task(bind=True, autoretry_for=(OSError,), dont_autoretry_for=(FileNotFoundError,), default_retry_delay=0.01)
    def work(self: Any, kind: str) -> int:
        kinds: dict[str, Exception] = {
            "again": ConnectionError("again"), "never": FileNotFoundError("never"), "other": ValueError("other")
        }  # fmt: skip
        if self.request.retries < 2:
            raise kinds[kind]
        return int(self.request.retries)

    with engine.run():
        assert engine.get(work.delay("again")) == 2
        assert engine.fails(work.delay("never")).type == "FileNotFoundError"
        assert engine.fails(work.delay("other")).type == "ValueError"
        engine.empty()


def test_retries_that_are_used_up_end_in_failure_and_a_dead_letter(engine: Engine) -> None:
    runs: list[int] = []

    @engine.task(bind=True, max_retries=2, default_retry_delay=0.001, priority=3)
    def hopeless(self: Any) -> None:
        runs.append(self.request.retries)
        self.retry(exc=ValueError("the original"))

    @engine.task(bind=True, max_retries=1, default_retry_delay=0.001, queue="other")
    def silent(self: Any) -> None:
        self.retry()

    with engine.run(queues=("default", "other")):
        result = hopeless.delay()
        error = engine.fails(result)
        letter = engine.letter()
        assert engine.fails(silent.delay()).type == "kernel.errors.MaxRetriesExceeded"
        other = engine.letter("other")
    assert (error.type, error.message) == ("ValueError", "the original")
    assert runs == [0, 1, 2]
    assert (letter.id, letter.task, letter.kind, letter.queue) == (result.id, "hopeless", "failed", "default")
    assert letter.envelope is not None
    assert (letter.envelope.attempt, letter.priority) == (2, 3)
    assert letter.summary == "ValueError: the original"
    assert letter.first_at == pytest.approx(time.time(), abs=60)
    assert letter.last_at >= letter.first_at
    assert (other.task, other.queue) == ("silent", "other")


def test_how_many_retries_there_are(engine: Engine) -> None:
    """The task's own word, the call's, the run's; none at all, and no limit."""

    @engine.task(bind=True, max_retries=0)
    def never(self: Any, needed: int) -> int:
        if self.request.retries < needed:
            self.retry(exc=ValueError("used up"), countdown=0)
        return int(self.request.retries)

    @engine.task(bind=True, max_retries=None)
    def always(self: Any, needed: int) -> int:
        if self.request.retries < needed:
            self.retry(countdown=0)
        return int(self.request.retries)

    @engine.task(bind=True, max_retries=1)
    def own(self: Any, allowed: int | None) -> int:
        if self.request.retries < 3:
            self.retry(exc=ValueError("used up"), countdown=0, max_retries=allowed)
        return int(self.request.retries)

    with engine.run():
        assert engine.fails(never.delay(1)).message == "used up"
        assert engine.get(never.apply_async((2,), max_retries=2)) == 2
        assert engine.get(never.apply_async((6,), max_retries=None)) == 6
        assert engine.get(always.delay(8)) == 8
        assert engine.fails(always.apply_async((3,), max_retries=1)).type == "kernel.errors.MaxRetriesExceeded"
        assert engine.get(own.delay(None)) == 3
        assert engine.get(own.delay(5)) == 3
        assert engine.fails(own.delay(0)).message == "used up"


def test_between_two_runs_the_state_is_retry(engine: Engine) -> None:
    ran = threading.Event()

    @engine.task(bind=True)
    def patient(self: Any) -> None:
        ran.set()
        self.retry(exc=ValueError("later"), countdown=3600)

    with engine.run():
        result = patient.delay()
        assert ran.wait(PATIENCE)
        engine.settled()
    entry = result.entry()
    assert entry is not None
    assert (entry.state, entry.attempt) == ("RETRY", 0)
    assert entry.error is not None
    assert entry.error.message == "later"
    assert entry.retry_at == pytest.approx(time.time() + 3600, abs=60)
    assert not result.ready()
    assert (engine.size().delayed, engine.size().ready) == (1, 0)


def test_a_retry_carries_everything_along(engine: Engine) -> None:
    @engine.task(bind=True)
    def patient(self: Any, word: str) -> None:
        self.retry(countdown=3600)

    extra = {wire.HEADERS: {"trace": "t"}, wire.PRIORITY: 6, wire.ROOT: "r", wire.PARENT: "p", 77: [1, {"new": True}]}
    first = engine.frame("patient", b'[["w"],{}]', id="m1", generation=4, extra={**extra, wire.HOP: 3})
    with engine.run():
        engine.post(first)
        engine.settled()
    (payload,) = engine.transport.peek("default", 5)
    again = decode(payload)
    assert (again.id, again.task, again.body, again.codec) == ("m1", "patient", b'[["w"],{}]', "json")
    assert (again.attempt, again.generation, again.sent_at) == (1, 4, decode(first).sent_at)
    assert {key: value for key, value in again.extra.items() if key != wire.ETA} == extra
    assert encode(again) == payload


def test_a_retried_task_that_was_unknown_once_starts_that_count_anew(pooled: Engine) -> None:
    """Otherwise a roll-back of a deploy, days later, would find its time for that used up."""

    @pooled.task(bind=True)
    def patient(self: Any) -> None:
        self.retry(countdown=3600)

    pooled.post(pooled.frame("patient", extra={wire.UNKNOWN_SINCE: 1000.0, wire.HOP: 2}))
    with pooled.run():
        pooled.settled()
    again = decode(pooled.transport.peek("default", 1)[0])
    assert set(again.extra) == {wire.ETA}


def test_the_backoff_of_a_task(engine: Engine) -> None:
    """Each delay is twice the last, up to the longest; the spread is tested where the policy is."""

    @engine.task(bind=True, default_retry_delay=100.0, retry_backoff=True, retry_backoff_max=350.0, max_retries=9)
    def patient(self: Any) -> None:
        self.retry()

    for attempt, wait in ((0, 100.0), (1, 200.0), (2, 350.0), (8, 350.0)):
        engine.post(engine.frame("patient", attempt=attempt, id=f"b{attempt}"))
        with engine.run():
            engine.settled()
        entry = engine.app.result(f"b{attempt}").entry()
        assert entry is not None
        assert entry.retry_at - entry.at == pytest.approx(wait, abs=1.0)


def test_failures_go_to_the_dead_letters_where_the_task_says_so(engine: Engine) -> None:
    @engine.task(dead_letter=True)
    def kept() -> None:
        raise ValueError("kept")

    @engine.task(dead_letter=False, max_retries=1, autoretry_for=(ValueError,), default_retry_delay=0.001)
    def dropped() -> None:
        raise ValueError("dropped")

    @engine.task(dead_letter=True, ignore_result=True)
    def quiet() -> None:
        raise ValueError("quiet")

    with engine.run():
        assert engine.fails(dropped.delay()).message == "dropped"
        result = kept.delay()
        assert engine.fails(result).message == "kept"
        quiet.delay()
        letters = {letter.task: letter for letter in engine.letters(2)}
    assert letters["kept"].id == result.id
    assert "ValueError: quiet" in letters["quiet"].error
