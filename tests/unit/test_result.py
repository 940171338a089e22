"""The caller's side of a result: value or error, state, and many in the order in which they end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from kernel.clock import FakeClock
from kernel.errors import KernelError, ResultMissing, ResultTimeout, Revoked, TaskExpired, TaskFailed
from kernel.outcome import FINAL, Entry, Error, State
from kernel.results.result import IGNORED, NO_STORE, AsyncResult, Completed, NoResults

BOOM = Error("ValueError", "boom", "Traceback: far away")


class Fake:
    """Results that change as planned: `then` is what happens in the next waits, one each, for `pause` seconds."""

    def __init__(self) -> None:
        self.known: dict[str, Entry] = {}
        self.then: list[dict[str, Entry]] = []
        self.clock = FakeClock()
        self.pause = 1.0
        self.reads = 0
        self.timeouts: list[float | None] = []

    def entries(self, ids: list[str]) -> list[Entry | None]:
        self.reads += 1
        return [self.known.get(id) for id in ids]

    def await_any(self, ids: list[str], timeout: float | None) -> list[Entry | None]:
        self.timeouts.append(timeout)
        if self.then:
            self.known.update(self.then.pop(0))
            self.clock.advance(self.pause)
        elif timeout is not None:
            self.clock.advance(timeout)
        return self.entries(ids)

    async def aawait_any(self, ids: list[str], timeout: float | None) -> list[Entry | None]:
        return self.await_any(ids, timeout)

    def gone(self, id: str) -> bool:
        return False

    def forget(self, ids: list[str]) -> None:
        for id in ids:
            self.known.pop(id, None)

    def load(self, entry: Entry) -> Any:
        return int(entry.body)


def success(value: int) -> Entry:
    return Entry("SUCCESS", "json", str(value).encode())


Get = Callable[..., Any]


def _aget(result: AsyncResult[Any], *args: Any, **kwargs: Any) -> Any:
    return asyncio.run(_awaited(result.aget(*args, **kwargs)))


async def _awaited(coroutine: Awaitable[Any]) -> Any:
    return await coroutine


@pytest.fixture(params=["get", "aget"])
def get(request: pytest.FixtureRequest) -> Get:
    """Both ways to a value."""
    return AsyncResult.get if request.param == "get" else _aget


def test_a_value_is_awaited_and_read_once(get: Get) -> None:
    fake = Fake()
    fake.then = [{"a": success(7)}]
    result: AsyncResult[int] = AsyncResult("a", fake)
    assert [get(result, 3.0), get(result), result.state, result.ready(), result.successful()] == [
        7,
        7,
        "SUCCESS",
        True,
        True,
    ]
    assert (fake.timeouts, fake.reads) == ([3.0], 1)


@pytest.mark.parametrize(
    ("entry", "kind", "text"),
    [
        (Entry("FAILURE", error=BOOM), TaskFailed, "ValueError: boom"),
        (Entry("FAILURE", error=Error("ValueError", "")), TaskFailed, "ValueError"),
        (Entry("FAILURE", reason="why"), TaskFailed, "Exception: why"),
        (Entry("EXPIRED"), TaskExpired, "task a expired before it was started"),
        (Entry("REVOKED"), Revoked, "task a was revoked"),
    ],
)
def test_an_end_without_value_is_raised_or_returned(get: Get, entry: Entry, kind: type[KernelError], text: str) -> None:
    fake = Fake()
    fake.known["a"] = entry
    with pytest.raises(kind) as caught:
        get(AsyncResult("a", fake))
    assert str(caught.value) == text
    returned = get(AsyncResult("a", fake), propagate=False)
    assert type(returned) is kind
    assert str(returned) == text


def test_a_failure_carries_the_remote_traceback() -> None:
    fake = Fake()
    fake.known["a"] = Entry("FAILURE", error=BOOM)
    result: AsyncResult[int] = AsyncResult("a", fake)
    error: Any = result.get(propagate=False)
    assert (error.task_id, error.type, error.message, error.traceback) == ("a", "ValueError", "boom", BOOM.traceback)
    assert "far away" in error.__notes__[0]
    assert (result.traceback, result.failed(), result.successful()) == (BOOM.traceback, True, False)


@pytest.mark.parametrize(
    ("entry", "state"), [(None, "PENDING"), (Entry("STARTED"), "STARTED"), (Entry("RETRY"), "RETRY")]
)
def test_time_that_is_over_is_a_timeout_error_that_names_the_state(get: Get, entry: Entry | None, state: str) -> None:
    fake = Fake()
    if entry is not None:
        fake.known["a"] = entry
    result: AsyncResult[int] = AsyncResult("a", fake)
    with pytest.raises(ResultTimeout, match=f"task a is still {state} after 2.5 s") as caught:
        get(result, 2.5)
    assert isinstance(caught.value, TimeoutError)
    fake.known["a"] = success(1)
    assert get(result, 0.0) == 1, "a wait that was over is not remembered"


@pytest.mark.parametrize("state", ["PENDING", "STARTED", "RETRY", "SUCCESS", "FAILURE", "REVOKED", "EXPIRED"])
def test_states(state: State) -> None:
    fake = Fake()
    if state != "PENDING":
        fake.known["a"] = Entry(state, body=b"1", error=BOOM if state == "RETRY" else None)
    result: AsyncResult[int] = AsyncResult("a", fake)
    assert (result.state, result.status) == (state, state)
    assert result.ready() == (state in FINAL)
    assert result.successful() == (state == "SUCCESS")
    assert result.failed() == (state == "FAILURE")
    assert result.traceback == (BOOM.traceback if state == "RETRY" else None)
    fake.reads = 0
    assert result.entry() == fake.known.get("a")
    assert fake.reads == (0 if state in FINAL else 1), "a final record is read once"


def test_what_is_forgotten_is_pending_to_everybody() -> None:
    fake = Fake()
    fake.known["a"] = success(1)
    result: AsyncResult[int] = AsyncResult("a", fake)
    assert result.get() == 1
    result.forget()
    assert result.state == "PENDING"


def test_results_of_one_task_are_equal() -> None:
    one, same, other = (AsyncResult[int](id, Fake()) for id in ("a", "a", "b"))
    assert {one, same, other} == {one, other}
    assert one != "a"
    assert repr(one) == "<AsyncResult a>"


@pytest.mark.parametrize(("results", "advice"), [(NO_STORE, "no result store"), (IGNORED, "ignore_result")])
def test_who_waits_for_what_nobody_keeps_is_told_so(get: Get, results: NoResults, advice: str) -> None:
    result: AsyncResult[int] = AsyncResult("a", results)
    with pytest.raises(ResultMissing, match=advice):
        get(result, 1.0)
    with pytest.raises(ResultMissing, match=advice):
        results.load(success(1))
    assert (result.state, result.traceback) == ("PENDING", None)
    result.forget()


# -- many --------------------------------------------------------------------------------------------------


def _listed(completed: Completed[int], into: list[str]) -> None:
    into.extend(result.id for result in completed)


def _alisted(completed: Completed[int], into: list[str]) -> None:
    async def main() -> None:
        async for result in completed:
            into.append(result.id)

    asyncio.run(main())


@pytest.fixture(params=[_listed, _alisted])
def listed(request: pytest.FixtureRequest) -> Callable[[Completed[int], list[str]], None]:
    """Both ways through many results."""
    way: Callable[[Completed[int], list[str]], None] = request.param
    return way


def completed(fake: Fake, ids: str, timeout: float | None = None) -> Completed[int]:
    return Completed([AsyncResult[int](id, fake) for id in ids], fake, timeout, fake.clock.monotonic)


def test_many_come_in_the_order_in_which_they_end(listed: Any) -> None:
    fake = Fake()
    fake.then = [{"c": success(3)}, {"b": Entry("STARTED")}, {"b": Entry("FAILURE", error=BOOM), "a": success(1)}]
    order: list[str] = []
    listed(completed(fake, "abc"), order)
    assert order == ["c", "a", "b"]
    assert fake.timeouts == [None] * 3


def test_what_has_come_is_not_read_again() -> None:
    fake = Fake()
    fake.known = {"a": success(1), "b": success(2)}
    results = list(completed(fake, "ab"))
    fake.reads = 0
    assert [result.get() for result in results] == [1, 2]
    assert fake.reads == 0


def test_the_same_result_twice_comes_once_and_none_is_none(listed: Any) -> None:
    fake = Fake()
    fake.known = {"a": success(1)}
    order: list[str] = []
    listed(completed(fake, "aa"), order)
    listed(completed(fake, ""), order)
    assert order == ["a"]


def test_the_time_is_for_all_together(listed: Any) -> None:
    fake = Fake()
    fake.then = [{"a": success(1)}, {}, {}]
    order: list[str] = []
    with pytest.raises(ResultTimeout, match=r"2 tasks have not ended in 2\.5 s"):
        listed(completed(fake, "abc", 2.5), order)
    assert order == ["a"]
    assert fake.timeouts == [2.5, 1.5, 0.5]


def test_a_loop_that_was_left_goes_on_with_the_rest() -> None:
    fake = Fake()
    fake.known = {id: success(1) for id in "abc"}
    many = completed(fake, "abc")
    for result in many:
        assert result.id == "a"
        break
    assert [result.id for result in many] == ["b", "c"]
