"""Unique and debounced calls: one claim decides, at the caller, and a lost one blocks nobody for ever."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from engine.harness import PATIENCE, Engine
from support import eventually

from kernel import Call
from kernel.errors import ConfigError, Duplicate, ResultMissing, Revoked, Unavailable, Unsupported
from kernel.limits import Debounce, Unique
from kernel.ports import Claim

Make = Callable[..., Engine]


def owner(engine: Engine, key: str) -> str:
    """Who has a key; "" for nobody."""
    coordination = engine.app.ports.coordination
    assert coordination is not None
    return coordination.claim([Claim(f"unique:{key}", "?", 60.0, renew=True)])[0]


def test_a_call_whose_key_is_taken_is_the_one_that_has_it(engine: Engine) -> None:
    ran: list[int] = []

    @engine.task(unique=Unique("{account}"))
    def sync(account: int, number: int) -> int:
        ran.append(number)
        return number

    first, second, other = sync.delay(1, 10), sync.delay(1, 11), sync.delay(2, 20)
    assert second.id == first.id != other.id
    assert owner(engine, "sync:1") == first.id
    with engine.run():
        assert engine.get(first) == engine.get(second) == 10
        assert engine.get(other) == 20
        engine.empty()
        third = sync.delay(1, 12)
        assert third.id != first.id
        assert engine.get(third) == 12
        engine.empty()
    assert sorted(ran) == [10, 12, 20]
    assert owner(engine, "sync:1") == ""


def test_until_done_is_until_its_last_attempt(engines: Make) -> None:
    engine = engines("threads")
    go = threading.Event()

    @engine.task(unique=Unique(), bind=True, default_retry_delay=0.01, max_retries=3)
    def work(self: Any, account: int) -> int:
        if self.request.retries == 1:
            engine.wait(go)
        if self.request.retries < 2:
            self.retry()
        raise ValueError("in the end")

    with engine.run():
        first = work.delay(1)
        eventually(lambda: first.state == "RETRY")
        assert work.delay(1) == first
        assert work.delay(2) != first
        go.set()
        assert engine.fails(first).type == "ValueError"
        engine.empty()
        assert work.delay(1) != first


def test_until_start(engines: Make) -> None:
    engine = engines("threads")
    started, go = threading.Event(), threading.Event()

    @engine.task(unique=Unique("k", "until_start"))
    def work() -> None:
        started.set()
        engine.wait(go)

    first = work.delay()
    assert work.delay() == first
    with engine.run():
        assert started.wait(PATIENCE)
        second = work.delay()
        assert second != first
        go.set()
        engine.get(first)
        engine.get(second)


def test_for_a_period(engines: Make) -> None:
    engine = engines("threads")

    @engine.task(unique=Unique("k", 0.3))
    def work() -> str:
        return "done"

    with engine.run():
        first = work.delay()
        assert engine.get(first) == "done"
        assert work.delay() == first
        eventually(lambda: work.delay() != first, what="the period is over")


def test_drop_and_raise(engines: Make) -> None:
    engine = engines("threads")

    @engine.task(unique=Unique("k", on_conflict="drop"))
    def dropped() -> None: ...

    @engine.task(unique=Unique("k", on_conflict="raise"))
    def raised() -> None: ...

    first = dropped.delay()
    second = dropped.delay()
    assert second != first
    with pytest.raises(ResultMissing, match="was not sent"):
        second.get()
    first = raised.delay()
    with pytest.raises(Duplicate, match="has the key") as caught:
        raised.delay()
    assert caught.value.task_id == first.id
    assert engine.size().ready == 2


def test_replace_takes_the_place_of_what_waits_and_follows_what_runs(engines: Make) -> None:
    engine = engines("threads")
    ran: list[int] = []
    now: list[int] = []
    started, go = threading.Event(), threading.Event()

    @engine.task(unique=Unique("k", on_conflict="replace"))
    def work(number: int) -> int:
        now.append(number)
        assert len(now) == 1, "two at once"
        ran.append(number)
        if number == 2:
            started.set()
            engine.wait(go)
        now.remove(number)
        return number

    waiting = [work.delay(number) for number in range(3)]
    assert len({result.id for result in waiting}) == 3
    with engine.run(), engine.run():
        assert started.wait(PATIENCE)
        following = [work.delay(number) for number in range(3, 6)]
        go.set()
        assert engine.get(waiting[2]) == 2
        assert engine.get(following[2]) == 5
        for result in (*waiting[:2], *following[:2]):
            assert type(engine.fails(result)) is Revoked
        engine.empty()
    assert ran == [2, 5]


def test_postpone_runs_one_after_the_other(engines: Make) -> None:
    engine = engines("threads")
    now: list[int] = []
    most: list[int] = []

    @engine.task(unique=Unique("k", on_conflict="postpone"))
    def work(number: int) -> int:
        now.append(number)
        most.append(len(now))
        engine.nap(0.005)
        now.remove(number)
        return number

    with engine.run(), engine.run():
        results = [work.delay(number) for number in range(8)]
        assert [engine.get(result) for result in results] == list(range(8))
    assert max(most) == 1


def test_of_debounced_calls_the_last_one_runs(engine: Engine) -> None:
    ran: list[str] = []

    @engine.task(debounce=Debounce(0.15, "{user}"))
    def save(user: str, text: str) -> str:
        ran.append(text)
        return text

    with engine.run():
        drafts = [save.delay("a", f"draft {number}") for number in range(4)]
        other = save.delay("b", "other")
        assert engine.get(drafts[-1]) == "draft 3"
        assert engine.get(other) == "other"
        for draft in drafts[:-1]:
            assert type(engine.fails(draft)) is Revoked
        assert engine.get(save.delay("a", "later")) == "later"
    assert sorted(ran) == ["draft 3", "later", "other"]


def test_a_call_that_could_not_be_sent_blocks_nobody(engines: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engines("threads", send_timeout=0.2)

    @engine.task(unique=Unique("k"))
    def work() -> None: ...

    first = work.delay()
    transport = engine.transport
    coordination = engine.app.ports.coordination
    assert coordination is not None
    coordination.drop([("unique:work:k", first.id)])

    def away(batch: Any) -> None:
        raise Unavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(type(transport), "send", lambda self, batch: away(batch))
        with pytest.raises(Unavailable, match="nothing was sent"):
            work.delay()
    assert owner(engine, "work:k") == ""
    assert work.delay().id == owner(engine, "work:k")


def test_a_claim_of_a_task_that_ran_before_it_was_confirmed_is_not_made_again(engines: Make) -> None:
    engine = engines("threads")

    @engine.task(unique=Unique("k", "until_start"))
    def work() -> None: ...

    claims = engine.app.sender.claims
    assert claims is not None
    confirm = claims.confirm

    def late(key: str, task_id: str, ttl: float) -> None:
        engine.empty()
        confirm(key, task_id, ttl)

    claims.confirm = late  # type: ignore[method-assign]
    with engine.run():
        work.delay()
    assert owner(engine, "work:k") == ""


def test_unique_calls_of_coroutines_and_of_many(engines: Make) -> None:
    engine = engines("threads")

    @engine.task(unique=Unique("{key}"))
    def work(key: int) -> int:
        return key

    @engine.task
    def plain(key: int) -> int:
        return key

    async def both() -> None:
        results = await asyncio.gather(*[work.adelay(number % 2) for number in range(6)])
        assert len({result.id for result in results}) == 2
        one = await plain.aapply_async((1,), unique=Unique("{key}"))
        assert one == await plain.aapply_async((1,), unique=Unique("{key}"))

    asyncio.run(both())
    handles = engine.app.send_many(work, [(5,), (5,), Call((6,))])
    assert handles[0] == handles[1] != handles[2]
    with pytest.raises(ConfigError, match="among others"):
        engine.app.send_many(plain, [Call((1,), options={"unique": Unique("x")})])
    with pytest.raises(ConfigError, match="send it outside of batch"), engine.app.batch():
        work.delay(9)


def test_an_expired_call_leaves_its_key(engines: Make) -> None:
    engine = engines("threads")

    @engine.task(unique=Unique("k"))
    def work() -> None: ...

    first = work.apply_async(expires=0.0)
    assert owner(engine, "work:k") == first.id
    with engine.run():
        engine.fails(first)
        engine.empty()
    assert owner(engine, "work:k") == ""


def test_without_a_coordination_service_a_unique_call_is_refused(engines: Make) -> None:
    engine = engines("threads", coordination="none")

    @engine.task(unique=Unique("k"))
    def work() -> None: ...

    with pytest.raises(Unsupported, match="need a coordination service"):
        work.delay()
    assert engine.total() == 0
