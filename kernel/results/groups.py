"""The results of many calls as one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar, overload

import msgspec

from kernel.current import application
from kernel.errors import ConfigError, DecodeError, ResultTimeout
from kernel.native import monotonic
from kernel.outcome import FINAL, Entry
from kernel.parts import parts
from kernel.results.result import AsyncResult, Completed, Parent, Results

T = TypeVar("T")

#: Results that are looked at together.
LOOK = 1000
#: Before the id of a group, where it is saved.
_SPACE = "group:"
_pack = msgspec.msgpack.encode
_unpack = msgspec.msgpack.Decoder(tuple[str, list[str]]).decode


class Application(Protocol):
    """What a group needs of an application."""

    @property
    def results(self) -> Results:
        """Where results are read."""


class ResultSet(Generic[T]):
    """Results of any calls, in an order."""

    def __init__(self, results: Iterable[AsyncResult[T]], source: Results) -> None:
        """`source` is where all of them are read: `Kernel.results`."""
        self.results: list[AsyncResult[T]] = list(results)
        self.source = source

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self.results)}>"

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[AsyncResult[T]]:
        return iter(self.results)

    @overload
    def __getitem__(self, at: int) -> AsyncResult[T]: ...
    @overload
    def __getitem__(self, at: slice) -> list[AsyncResult[T]]: ...
    def __getitem__(self, at: int | slice) -> AsyncResult[T] | list[AsyncResult[T]]:
        return self.results[at]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ResultSet) and other.results == self.results

    __hash__ = None  # type: ignore[assignment]  # it changes

    # -- which ones ----------------------------------------------------------------------------------------

    def add(self, result: AsyncResult[T]) -> None:
        """Add one, unless it is there."""
        if result not in self.results:
            self.results.append(result)

    def update(self, results: Iterable[AsyncResult[T]]) -> None:
        """Add those that are not there."""
        known = set(self.results)
        self.results += [result for result in dict.fromkeys(results) if result not in known]

    def remove(self, result: AsyncResult[T]) -> None:
        """Remove one; KeyError when it is not there."""
        if result not in self.results:
            raise KeyError(result)
        self.results.remove(result)

    def discard(self, result: AsyncResult[T]) -> None:
        """Remove one if it is there."""
        if result in self.results:
            self.results.remove(result)

    def clear(self) -> None:
        """Remove all."""
        self.results.clear()

    # -- values --------------------------------------------------------------------------------------------

    def get(self, timeout: float | None = None, propagate: bool = True) -> list[T]:
        """The values of all, in order, waiting up to `timeout` seconds (None: as long as it takes).

        Errors as of `AsyncResult.get`: with `propagate` that of the first one that is seen to have failed, without it
        the errors are in the list. `ResultTimeout` when time is over.
        """
        deadline = None if timeout is None else monotonic() + timeout
        for part in self._parts():
            while (late := self._settled(part, propagate)) is not None:
                left = self._left(deadline, timeout)
                self.source.await_any([late.id], left)
        return self._values(propagate)

    join = get

    async def aget(self, timeout: float | None = None, propagate: bool = True) -> list[T]:
        """`get` for coroutines."""
        deadline = None if timeout is None else monotonic() + timeout
        for part in self._parts():
            ids = [result.id for result in part]
            while (late := self._taken(part, await self.source.aawait_any(ids, 0.0), propagate)) is not None:
                await self.source.aawait_any([late.id], self._left(deadline, timeout))
        return self._values(propagate)

    def _values(self, propagate: bool) -> list[T]:
        return [result.get(0.0, propagate) for result in self.results]

    def _parts(self) -> Iterator[Sequence[AsyncResult[T]]]:
        return parts(self.results, LOOK)

    def _left(self, deadline: float | None, timeout: float | None) -> float | None:
        if deadline is None:
            return None
        left = deadline - monotonic()
        if left <= 0.0:
            raise ResultTimeout(f"not all of {len(self.results)} tasks have ended in {timeout:g} s")
        return left

    def _settled(self, part: Sequence[AsyncResult[T]], propagate: bool) -> AsyncResult[T] | None:
        """Look at some; the first that has not ended."""
        return self._taken(part, self.source.entries([result.id for result in part]), propagate)

    def _taken(
        self, part: Sequence[AsyncResult[T]], entries: list[Entry | None], propagate: bool
    ) -> AsyncResult[T] | None:
        late: AsyncResult[T] | None = None
        for result, entry in zip(part, entries, strict=True):
            if entry is not None and entry.state in FINAL:
                result.take(entry)
                if propagate and entry.state != "SUCCESS":
                    result.get(0.0)  # raises
            elif late is None:
                late = result
        return late

    def as_completed(self, timeout: float | None = None) -> Completed[T]:
        """One after the other as they finish, with `for` or `async for`."""
        return Completed(self.results, self.source, timeout, monotonic)

    async def __aiter__(self) -> AsyncIterator[AsyncResult[T]]:
        async for result in self.as_completed():
            yield result

    # -- states --------------------------------------------------------------------------------------------

    def _states(self) -> list[str]:
        states: list[str] = []
        for part in self._parts():
            for result, entry in zip(part, self.source.entries([result.id for result in part]), strict=True):
                states.append("PENDING" if entry is None else entry.state)
                if entry is not None and entry.state in FINAL:
                    result.take(entry)
        return states

    def ready(self) -> bool:
        """Whether all have ended."""
        return all(state in FINAL for state in self._states())

    def successful(self) -> bool:
        """Whether all have ended with a value."""
        return all(state == "SUCCESS" for state in self._states())

    def failed(self) -> bool:
        """Whether one has ended in a failure."""
        return "FAILURE" in self._states()

    def waiting(self) -> bool:
        """Whether one has not ended."""
        return not self.ready()

    def completed_count(self) -> int:
        """How many have ended with a value."""
        return self._states().count("SUCCESS")

    def maybe_throw(self) -> None:
        """Raise the error of the first one that has failed, if there is one."""
        for part in self._parts():
            self._settled(part, propagate=True)

    def revoke(self, terminate: bool = False) -> None:
        """Keep all from running, as `AsyncResult.revoke` does."""
        self.source.revoke([result.id for result in self.results], terminate)

    def forget(self) -> None:
        """Delete what is stored for all."""
        self.source.forget([result.id for result in self.results])


class GroupResult(ResultSet[T]):
    """The results of a group, in the order of its members."""

    def __init__(self, id: str, results: Iterable[AsyncResult[T]], source: Results, parent: Parent = None) -> None:
        super().__init__(results, source)
        self.id = id
        #: The result of what comes before the group in its workflow.
        self.parent = parent

    def __repr__(self) -> str:
        return f"<GroupResult {self.id} of {len(self.results)}>"

    def _values(self, propagate: bool) -> list[T]:
        """With what members have added to the group, as what comes after it is given them."""
        values: list[Any] = []
        for result in self.results:
            value: Any = result.get(0.0, propagate)
            entry = result.entry()
            values += value if entry is not None and entry.spread else [value]
        return values

    def save(self) -> None:
        """Keep which results belong to the group, for `restore`, for as long as results are kept."""
        self.source.save(_SPACE + self.id, _pack((self.id, [result.id for result in self.results])))

    @classmethod
    def restore(cls, id: str, app: Application | None = None) -> GroupResult[Any] | None:
        """A group that was saved, None when nothing of it is kept. `app`: whose results they are, by default the
        application of this process. `DecodeError` when the record is damaged."""
        if app is None and not application:
            raise ConfigError("there is no application in this process: create one with Kernel(...) first")
        source: Results = (app or application[0]).results
        value = source.saved(_SPACE + id)
        if value is None:
            return None
        try:
            _, ids = _unpack(value)
        except (msgspec.MsgspecError, ValueError) as error:
            raise DecodeError(f"the record of group {id} is damaged: {error}") from None
        return GroupResult(id, [AsyncResult(each, source) for each in ids], source)

    def delete(self) -> None:
        """Forget what `save` has kept; the results stay."""
        self.source.forget([_SPACE + self.id])
