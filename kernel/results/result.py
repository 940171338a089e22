"""What a caller holds after a call: the way to its result."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, Protocol, TypeVar

from kernel.errors import ResultMissing, ResultTimeout, Revoked, TaskExpired, TaskFailed
from kernel.outcome import FINAL, Entry
from kernel.results.stream import Stream

T = TypeVar("T")

#: The result of what comes before: an `AsyncResult`, a `kernel.results.groups.GroupResult`, or None.
Parent = Any


class Results(Protocol):
    """Where results come from: the application's side of its result store."""

    def entries(self, ids: list[str]) -> list[Entry | None]:
        """What stands now, None where nothing is known."""

    def await_any(self, ids: list[str], timeout: float | None) -> list[Entry | None]:
        """As `entries`, but waits until at least one is final or `timeout` seconds are over."""

    async def aawait_any(self, ids: list[str], timeout: float | None) -> list[Entry | None]:
        """The same for coroutines, without a thread of its own for each of them."""

    def forget(self, ids: list[str]) -> None:
        """Delete."""

    def load(self, entry: Entry) -> Any:
        """Decode the value of a SUCCESS."""

    def gone(self, id: str) -> bool:
        """Whether a record of this task, of which there is none, may have been there and have expired."""

    def revoke(self, ids: list[str], terminate: bool = False, stamps: Mapping[str, Any] | None = None) -> None:
        """Keep these tasks, what they have started, and all that have one of these stamps from running."""

    def save(self, key: str, value: bytes) -> None:
        """Keep something beside the results, for as long as they are kept."""

    def saved(self, key: str) -> bytes | None:
        """What was kept there."""


class AsyncResult(Generic[T]):
    """The result of one call, there or still to come."""

    __slots__ = ("_entry", "_results", "id", "parent")

    def __init__(self, id: str, results: Results, parent: Parent = None) -> None:
        """`parent` is the result of what comes before in its workflow."""
        self.id = id
        self.parent = parent
        self._results = results
        self._entry: Entry | None = None

    def __repr__(self) -> str:
        return f"<AsyncResult {self.id}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AsyncResult) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def get(self, timeout: float | None = None, propagate: bool = True) -> T:
        """The return value of the task, waiting up to `timeout` seconds (None: as long as it takes).

        With `propagate` a failure is raised: `TaskFailed` with the remote traceback, `TaskExpired`, `Revoked`;
        without it the error is returned. `ResultTimeout` when time is over, `ResultMissing` without a store.
        """
        if self._entry is None:
            self._settle(self._results.await_any([self.id], timeout)[0], timeout)
        return self._value(propagate)

    async def aget(self, timeout: float | None = None, propagate: bool = True) -> T:
        """`get` for coroutines."""
        if self._entry is None:
            self._settle((await self._results.aawait_any([self.id], timeout))[0], timeout)
        return self._value(propagate)

    def _settle(self, entry: Entry | None, timeout: float | None) -> None:
        if entry is None or entry.state not in FINAL:
            state = "PENDING" if entry is None else entry.state
            raise ResultTimeout(f"task {self.id} is still {state} after {timeout:g} s")
        self._entry = entry

    def _value(self, propagate: bool) -> T:
        entry = self._entry
        assert entry is not None
        if entry.state == "SUCCESS":
            value: T = self._results.load(entry)
            return value
        error = self._error(entry)
        if propagate:
            raise error
        return error  # type: ignore[return-value]  # documented: without propagate the error is the value

    def _error(self, entry: Entry) -> Exception:
        if entry.state == "EXPIRED":
            return TaskExpired(f"task {self.id} expired before it was started")
        if entry.state == "REVOKED":
            return Revoked(f"task {self.id} was revoked")
        error = entry.error
        if error is None:
            return TaskFailed(self.id, "Exception", entry.reason)
        return TaskFailed(self.id, error.type, error.message, error.traceback)

    def entry(self) -> Entry | None:
        """The whole record that stands now, None when nothing is known. Final ones are read once."""
        if self._entry is not None:
            return self._entry
        entry = self._results.entries([self.id])[0]
        if entry is not None and entry.state in FINAL:
            self._entry = entry
        return entry

    @property
    def source(self) -> Results:
        """Where it is read."""
        return self._results

    def take(self, entry: Entry) -> None:
        """Note a final record that somebody has read for it."""
        self._entry = entry

    @property
    def children(self) -> list[AsyncResult[Any]]:
        """The results of what the task has sent while it ran; known when it has ended."""
        entry = self.entry()
        return [] if entry is None else [AsyncResult(id, self._results) for id in entry.children]

    @property
    def state(self) -> str:
        """PENDING (nothing known yet), UNKNOWN (nothing known, and its id is older than results are kept), STARTED,
        RETRY, REPLACED, SUCCESS, FAILURE, REVOKED, EXPIRED, or one that the task tells of itself while it runs, such as
        PROGRESS."""
        entry = self.entry()
        if entry is None:
            return "UNKNOWN" if self._results.gone(self.id) else "PENDING"
        return entry.state

    status = state

    @property
    def info(self) -> Any:
        """What is known now, without waiting: the value of a task that has ended, the error of one that failed or waits
        for a retry, what one that runs says of its state; None where nothing is."""
        entry = self.entry()
        if entry is None or entry.state == "STARTED":
            return None
        return self._results.load(entry) if entry.codec else self._error(entry)

    result = info

    def stream(self, timeout: float | None = None) -> Stream:
        """The values that the task emits while it runs, in order and each once, with `for` or `async for`; ends when
        the task has ended, and raises as `get` when it failed. `timeout`: seconds to wait for the next one."""
        return Stream(self.id, self._results, timeout, self._concluded)

    def _concluded(self, entry: Entry) -> None:
        self._entry = entry
        if entry.state != "SUCCESS":
            raise self._error(entry)

    @property
    def traceback(self) -> str | None:
        """The remote traceback of a failure or of the last retry."""
        entry = self.entry()
        return None if entry is None or entry.error is None else entry.error.traceback

    def ready(self) -> bool:
        """Whether the task has ended."""
        return self.state in FINAL

    def successful(self) -> bool:
        """Whether it has ended with a value."""
        return self.state == "SUCCESS"

    def failed(self) -> bool:
        """Whether it has ended in a failure."""
        return self.state == "FAILURE"

    def revoke(self, terminate: bool = False) -> None:
        """Keep the task from running, and with it all tasks of the workflow whose end it is, or that it has started,
        error callbacks among them.

        It ends as REVOKED. Workers hear of it within a second; with `terminate` they end it also where it runs, as a
        soft time limit does. What has ended stays as it is. `ResultMissing` without a store.
        """
        self._results.revoke([self.id], terminate)

    def forget(self) -> None:
        """Delete what is stored; afterwards the task is PENDING to everybody."""
        self._entry = None
        self._results.forget([self.id])


class Completed(Generic[T]):
    """Many results in the order in which they finish; both `for` and `async for` work."""

    def __init__(
        self, awaited: Iterable[AsyncResult[T]], results: Results, timeout: float | None, now: Callable[[], float]
    ) -> None:
        self._left = {result.id: result for result in awaited}
        self._results = results
        self._timeout = timeout
        self._now = now

    def _finished(self, ids: list[str], entries: list[Entry | None]) -> Iterator[AsyncResult[T]]:
        """One by one, so that a loop that is left early leaves the others to the next one."""
        for id, entry in zip(ids, entries, strict=True):
            if entry is not None and entry.state in FINAL:
                result = self._left.pop(id)
                result.take(entry)
                yield result

    def _remaining(self, deadline: float | None) -> float | None:
        if deadline is None:
            return None
        left = deadline - self._now()
        if left <= 0:
            raise ResultTimeout(f"{len(self._left)} tasks have not ended in {self._timeout:g} s")
        return left

    def __iter__(self) -> Iterator[AsyncResult[T]]:
        deadline = None if self._timeout is None else self._now() + self._timeout
        while self._left:
            ids = list(self._left)
            yield from self._finished(ids, self._results.await_any(ids, self._remaining(deadline)))

    async def __aiter__(self) -> AsyncIterator[AsyncResult[T]]:
        deadline = None if self._timeout is None else self._now() + self._timeout
        while self._left:
            ids = list(self._left)
            for result in self._finished(ids, await self._results.aawait_any(ids, self._remaining(deadline))):
                yield result


class LaterResults:
    """Results of a store that is opened when the first of them is asked for."""

    __slots__ = ("_find", "_found")

    def __init__(self, find: Callable[[], Results], found: Callable[[], Results | None]) -> None:
        """`found`: those that `find` has found, once they are there."""
        self._find = find
        self._found = found

    def entries(self, ids: list[str]) -> list[Entry | None]:
        """What stands now."""
        return self._find().entries(ids)

    def await_any(self, ids: list[str], timeout: float | None) -> list[Entry | None]:
        """Wait for the first final one."""
        return self._find().await_any(ids, timeout)

    async def aawait_any(self, ids: list[str], timeout: float | None) -> list[Entry | None]:
        """The same for coroutines."""
        results = self._found()
        if results is None:  # opening takes a round trip, or many
            from asyncio import to_thread  # already imported by whoever awaits; `import kernel` must not load it

            results = await to_thread(self._find)
        return await results.aawait_any(ids, timeout)

    def forget(self, ids: list[str]) -> None:
        """Delete."""
        self._find().forget(ids)

    def load(self, entry: Entry) -> Any:
        """Decode a value."""
        return self._find().load(entry)

    def gone(self, id: str) -> bool:
        """Whether its record may have expired."""
        return self._find().gone(id)

    def revoke(self, ids: list[str], terminate: bool = False, stamps: Mapping[str, Any] | None = None) -> None:
        """Keep tasks from running."""
        self._find().revoke(ids, terminate, stamps)

    def save(self, key: str, value: bytes) -> None:
        """Keep something."""
        self._find().save(key, value)

    def saved(self, key: str) -> bytes | None:
        """What was kept."""
        return self._find().saved(key)


class NoResults:
    """Results that nobody keeps: whoever waits for one, or wants it decoded, is told so by `ResultMissing`.

    Nothing is known of such a call, so its state is PENDING, and there is nothing to forget.
    """

    __slots__ = ("_advice",)

    def __init__(self, advice: str) -> None:
        self._advice = advice

    def entries(self, ids: list[str]) -> list[Entry | None]:
        """Nothing."""
        return [None] * len(ids)

    def await_any(self, ids: list[str], timeout: float | None) -> list[Entry | None]:
        """Refuses: it would wait for ever."""
        raise ResultMissing(self._advice)

    async def aawait_any(self, ids: list[str], timeout: float | None) -> list[Entry | None]:
        """Refuses: it would wait for ever."""
        raise ResultMissing(self._advice)

    def forget(self, ids: list[str]) -> None:
        """Nothing to do."""

    def load(self, entry: Entry) -> Any:
        """Refuses."""
        raise ResultMissing(self._advice)

    def gone(self, id: str) -> bool:
        """Nothing expires here."""
        return False

    def revoke(self, ids: list[str], terminate: bool = False, stamps: Mapping[str, Any] | None = None) -> None:
        """Refuses: nobody could look it up."""
        raise ResultMissing(self._advice)

    def save(self, key: str, value: bytes) -> None:
        """Refuses."""
        raise ResultMissing(self._advice)

    def saved(self, key: str) -> bytes | None:
        """Refuses."""
        raise ResultMissing(self._advice)


#: The results of an application without a store.
NO_STORE = NoResults("no result store is configured: pass results='sqlite:///...' to Kernel, or set KERNEL_RESULTS")
#: The results of a unique call that was not sent.
DROPPED = NoResults("this call was not sent: another one has its key, and on_conflict is 'drop'")
#: The results of a call that keeps none.
IGNORED = NoResults("this call keeps no result: its task, its options or the configuration say ignore_result")
