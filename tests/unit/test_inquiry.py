"""Reading results: at once, waiting, and for many coroutines through one thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest
from kernel_memory import MemoryResults
from kernel_memory.options import Limits

from kernel import steady
from kernel.clock import FakeClock
from kernel.discovery import serializer
from kernel.errors import DecodeError, Rejected, Unavailable
from kernel.native import Signal
from kernel.outcome import Entry, State, encode_entry
from kernel.ports import Record
from kernel.results import desk, inquiry
from kernel.results.inquiry import StoredResults
from kernel.results.result import AsyncResult

LONG = 5.0


class Store(MemoryResults):
    """The memory store, which counts what it is asked and fails on demand."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.open()
        self.asked: list[int] = []
        self.fail: list[Exception] = []
        self.looked = threading.Event()
        self.threads: set[int] = set()

    def _note(self, keys: Sequence[str]) -> None:
        self.asked.append(len(keys))
        self.threads.add(threading.get_ident())
        self.looked.set()
        if self.fail:
            raise self.fail.pop(0)

    def get(self, keys: Sequence[str]) -> list[bytes | None]:
        self._note(keys)
        return super().get(keys)

    def wait(self, keys: Sequence[str], timeout: float) -> list[bytes | None]:
        self._note(keys)
        return super().wait(keys, timeout)

    def end(self, *keys: str, state: State = "SUCCESS", attempt: int = 0) -> None:
        """These tasks have ended."""
        final = state == "SUCCESS"
        self.put([Record(key, encode_entry(Entry(state, "json", b"1")), final, (0, attempt, 0)) for key in keys], 0.0)

    def damage(self, key: str) -> None:
        self.put([Record(key, b"\xc1", True, (0, 0, 0))], 0.0)


def results_of(store: Store, patience: float = 0.0, **options: Any) -> StoredResults:
    return StoredResults(store, serializer, ("json",), patience, **options)


def states(entries: list[Entry | None]) -> list[str | None]:
    return [None if entry is None else entry.state for entry in entries]


@pytest.fixture(params=["tells", "is asked"])
def store(request: pytest.FixtureRequest) -> Store:
    """A store that tells by itself when a task has ended, and one that must be asked again and again."""
    return Store(mask=() if request.param == "tells" else ("wait",))


@pytest.fixture
def blocked(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """Released whenever somebody is about to wait for a record."""
    waits = threading.Semaphore(0)

    class Spy(Signal):
        def wait(self, timeout: float) -> bool:
            waits.release()
            return super().wait(timeout)

    monkeypatch.setattr("kernel_memory.results.Signal", Spy)
    return waits


# -- at once -----------------------------------------------------------------------------------------------


def test_what_stands_now_in_the_order_asked_and_in_batches_that_the_store_takes() -> None:
    store = Store(limits=Limits(max_batch=2))
    store.end("a", "b")
    store.end("e")
    assert states(results_of(store).entries(list("abcde"))) == ["SUCCESS", "SUCCESS", None, None, "SUCCESS"]
    assert store.asked == [2, 2, 1]


def test_a_store_that_is_away_for_a_moment_is_asked_again(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> None:
    monkeypatch.setattr(steady, "monotonic", clock.monotonic)
    monkeypatch.setattr(steady, "sleep", clock.advance)
    store = Store()
    store.end("a")
    store.fail = [Unavailable("away")] * 3
    assert states(results_of(store, 60.0).entries(["a"])) == ["SUCCESS"]
    store.fail = [Unavailable("away")] * 1000
    with pytest.raises(Unavailable):
        results_of(store, 5.0).entries(["a"])


def test_what_is_forgotten_is_gone_however_much_it_is() -> None:
    store = Store(limits=Limits(max_batch=2))
    store.end("a", "b")
    store.end("c")
    results_of(store).forget(list("abc"))
    assert states(results_of(store).entries(list("abc"))) == [None] * 3


def test_a_value_is_decoded_by_the_codec_that_it_came_in() -> None:
    assert results_of(Store()).load(Entry("SUCCESS", "json", b"[1]")) == [1]
    with pytest.raises(DecodeError, match="can run code"):
        results_of(Store()).load(Entry("SUCCESS", "pickle", b""))
    trusting = StoredResults(Store(), serializer, ("json", "pickle"), 0.0)
    body = serializer("pickle").dumps({1, 2})
    assert trusting.load(Entry("SUCCESS", "pickle", body)) == {1, 2}


# -- waiting -----------------------------------------------------------------------------------------------


def test_a_wait_ends_when_one_has_ended(store: Store) -> None:
    store.end("b", state="STARTED")
    results = results_of(store)
    answers: list[list[Entry | None]] = []
    thread = threading.Thread(target=lambda: answers.append(results.await_any(["a", "b", "c"], LONG)))
    thread.start()
    assert store.looked.wait(LONG)
    store.end("c")
    thread.join(LONG)
    assert states(answers[0]) == [None, "STARTED", "SUCCESS"]


def test_a_wait_ends_with_its_time(store: Store) -> None:
    store.end("b", state="RETRY")
    assert states(results_of(store).await_any(["a", "b"], 0.02)) == [None, "RETRY"]
    assert states(results_of(store).await_any(["a"], 0.0)) == [None]
    store.end("b", attempt=1)
    assert states(results_of(store).await_any(["b"], 0.0)) == ["SUCCESS"], "no time to wait is time to look"


def test_looks_become_rarer(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> None:
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        clock.advance(seconds)

    monkeypatch.setattr(inquiry, "sleep", pause)
    results_of(Store(mask=("wait",)), clock=clock).await_any(["a"], 10.0)
    assert pauses[0] == inquiry.FIRST_LOOK
    assert max(pauses) == inquiry.LAST_LOOK
    assert sum(pauses) == pytest.approx(10.0)
    assert len(pauses) < 80


def test_more_than_a_batch_of_results_is_awaited_by_asking() -> None:
    store = Store(limits=Limits(max_batch=2))
    store.end("c")
    assert states(results_of(store).await_any(list("abc"), LONG))[2] == "SUCCESS"
    assert store.asked == [2, 1]


# -- for coroutines ----------------------------------------------------------------------------------------


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(main(), 2 * LONG))


async def _started(*coroutines: Coroutine[Any, Any, Any]) -> list[asyncio.Task[Any]]:
    """These as tasks, each of which has asked already."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    await asyncio.sleep(0)
    return tasks


def test_a_thousand_coroutines_wait_in_one_thread(store: Store) -> None:
    results = results_of(store)
    ids = [str(index) for index in range(1000)]

    async def main() -> None:
        tasks = await _started(*(results.aawait_any([id], None) for id in ids))
        await asyncio.to_thread(store.looked.wait, LONG)
        store.end(*ids[:500])
        assert [states(entries) for entries in await asyncio.gather(*tasks[:500])] == [["SUCCESS"]] * 500
        assert not any(task.done() for task in tasks[500:])
        store.end(*ids[500:])
        await asyncio.gather(*tasks)

    run(main)
    assert len(store.threads) == 1
    assert len(store.asked) < 500


def test_a_timeout_ends_its_own_coroutine_only(store: Store) -> None:
    results = results_of(store)
    store.end("s", state="STARTED")

    async def main() -> None:
        short, nothing, long = await _started(
            results.aawait_any(["s"], 0.03), results.aawait_any(["a"], 0.0), results.aawait_any(["a", "b"], LONG)
        )
        assert states(await short) == ["STARTED"]
        assert states(await nothing) == [None]
        assert not long.done()
        store.end("b")
        assert states(await long) == [None, "SUCCESS"]

    run(main)


@pytest.mark.parametrize("error", [Unavailable("away"), Rejected("no"), RuntimeError("a defect")])
def test_an_error_of_the_store_is_told_to_who_waits_and_the_next_one_is_served(store: Store, error: Exception) -> None:
    results = results_of(store)
    store.fail = [error] * 2

    async def main() -> None:
        both = await _started(results.aawait_any(["a"], LONG), results.aawait_any(["a"], LONG))
        await asyncio.wait(both)
        assert [task.exception() for task in both] == [error] * 2
        store.fail = []
        store.end("a")
        assert states(await results.aawait_any(["a"], LONG)) == ["SUCCESS"]

    run(main)


def test_a_damaged_record_is_the_trouble_of_who_asked_for_it(store: Store) -> None:
    results = results_of(store)
    store.damage("broken")

    async def main() -> None:
        broken, sound = await _started(results.aawait_any(["broken"], LONG), results.aawait_any(["a"], LONG))
        with pytest.raises(DecodeError):
            await broken
        store.end("a")
        assert states(await sound) == ["SUCCESS"]

    run(main)


def test_a_coroutine_that_gave_up_is_not_asked_for_any_more(store: Store) -> None:
    results = results_of(store)

    async def main() -> None:
        gone, stays = await _started(results.aawait_any(["a", "b"], None), results.aawait_any(["c"], None))
        await asyncio.to_thread(store.looked.wait, LONG)
        gone.cancel()
        await asyncio.wait([gone])
        # The next look still has it; the one after that has not.
        for _ in range(2):
            await results.aawait_any(["d"], 0.001)
        store.end("c")
        await stays
        assert store.asked[-1] == 1

    run(main)


def test_a_loop_that_is_closed_is_not_waited_for(store: Store) -> None:
    """Without cancelling what runs on it, as a program does that is not careful."""
    results = results_of(store)
    loop = asyncio.new_event_loop()

    async def leave() -> None:
        """What `aawait_any` does, without a task that would complain of its end."""
        results._desk._put(desk.OfCoroutine(["never"], None, loop))

    loop.run_until_complete(leave())
    loop.close()

    async def main() -> None:
        store.end("a")
        assert states(await results.aawait_any(["a"], LONG)) == ["SUCCESS"]
        (task,) = await _started(results.aawait_any(["c"], None))
        store.end("c")
        await task
        assert store.asked[-1] == 1

    run(main)


# -- no polling --------------------------------------------------------------------------------------------


def test_who_waits_in_a_store_that_tells_asks_once_per_news(blocked: threading.Semaphore) -> None:
    """However long it takes: a look is made for a new question and for news, and for nothing else."""
    store = Store()
    results = results_of(store)

    async def main() -> None:
        first, second = await _started(results.aawait_any(["a"], None), results.aawait_any(["b"], LONG))
        await asyncio.to_thread(blocked.acquire)
        while len(store.asked) < 2 and store.asked[-1] < 2:  # the second came before or after the first look
            await asyncio.to_thread(blocked.acquire)
        before = len(store.asked)
        store.end("a")
        await first
        await asyncio.to_thread(blocked.acquire)
        assert len(store.asked) - before <= 1
        store.end("b")
        await second
        assert len(store.asked) - before <= 1

    run(main)


def test_a_new_question_ends_the_wait_of_all_at_once(blocked: threading.Semaphore) -> None:
    store = Store()
    results = results_of(store)
    store.end("there")

    async def main() -> None:
        (waits,) = await _started(results.aawait_any(["never"], None))
        await asyncio.to_thread(blocked.acquire)
        assert states(await asyncio.wait_for(results.aawait_any(["there"], None), LONG)) == ["SUCCESS"]
        assert not waits.done()
        waits.cancel()

    run(main)


def test_a_thread_waits_by_itself_while_it_is_alone() -> None:
    store = Store()
    store.end("a")
    results_of(store).await_any(["a"], LONG)
    assert store.threads == {threading.get_ident()}


def test_threads_and_coroutines_share_one_wait(blocked: threading.Semaphore) -> None:
    """The thread that waits alone makes room when others come, and each of them has its own answer."""
    store = Store()
    results = results_of(store)
    answers: dict[str, list[str | None]] = {}

    def ask(id: str) -> None:
        answers[id] = states(results.await_any([id], None))

    threads = [threading.Thread(target=ask, args=(id,)) for id in "abc"]
    threads[0].start()
    assert blocked.acquire(timeout=LONG)
    for thread in threads[1:]:
        thread.start()

    async def main() -> None:
        (task,) = await _started(results.aawait_any(["d"], None))
        while store.asked[-1] != 4:
            await asyncio.to_thread(blocked.acquire, timeout=LONG)
        store.end(*"abcd")
        await task

    run(main)
    for thread in threads:
        thread.join(LONG)
    assert answers == {id: ["SUCCESS"] for id in "abc"}


def test_an_interrupted_wait_leaves_its_place_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store()
    results = results_of(store)
    store.fail = [KeyboardInterrupt()]  # type: ignore[list-item]  # as a signal handler raises it
    with pytest.raises(KeyboardInterrupt):
        results.await_any(["a"], None)
    store.end("a")
    assert states(results.await_any(["a"], LONG)) == ["SUCCESS"]
    assert store.threads == {threading.get_ident()}


def test_the_thread_ends_when_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "IDLE_FOR", 0.01)
    store = Store()
    store.end("a")
    results = results_of(store)

    async def main() -> None:
        for _ in range(3):
            await results.aawait_any(["a"], LONG)
            thread = results._desk._thread
            assert thread is None or await asyncio.to_thread(thread.join, LONG)
            assert results._desk._thread is None

    run(main)


def test_what_may_have_expired_is_unknown_and_not_pending() -> None:
    clock = FakeClock(1_000_000.0)
    results = StoredResults(Store(), serializer, ("json",), 0.0, clock, ttl=60.0)
    fresh, old = f"{int(clock.now() * 1000):012x}{'0' * 20}", f"{int((clock.now() - 61) * 1000):012x}{'0' * 20}"
    assert [AsyncResult(id, results).state for id in (fresh, old, "mine", "z" * 32)] == [
        "PENDING",
        "UNKNOWN",
        "PENDING",
        "PENDING",
    ]
    for_ever = StoredResults(Store(), serializer, ("json",), 0.0, clock, ttl=0.0)
    assert AsyncResult(old, for_ever).state == "PENDING"
