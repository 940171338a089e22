"""The values that a task emits while it runs, as its caller gets them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Protocol

from kernel.errors import ResultTimeout
from kernel.outcome import FINAL, Entry, value_key

#: Values that are asked for at a time.
WINDOW = 64

Entries = list[Entry | None]


class Source(Protocol):
    """Where the values are: the `Results` of an application."""

    def entries(self, ids: list[str]) -> Entries:
        """What stands now."""

    def await_any(self, ids: list[str], timeout: float | None) -> Entries:
        """As `entries`, once one is final or time is over."""

    async def aawait_any(self, ids: list[str], timeout: float | None) -> Entries:
        """The same for coroutines."""

    def load(self, entry: Entry) -> Any:
        """Decode a value."""


class Stream:
    """Values in order, each once, until the task has ended; both `for` and `async for` work, each from the start.

    `ResultTimeout` when nothing comes for `timeout` seconds. A task that does not end well ends the stream with what
    `get` raises.
    """

    def __init__(self, id: str, source: Source, timeout: float | None, ended: Callable[[Entry], None]) -> None:
        """`ended` is given the record of the end, and raises where it was none that was wanted."""
        self._id = id
        self._source = source
        self._timeout = timeout
        self._ended = ended

    def __iter__(self) -> Iterator[Any]:
        position = 0
        while True:
            standing, value = self._source.await_any(self._pair(position), self._timeout)
            if value is None and self._over(standing, position):
                return
            for entry in self._next(position):
                yield self._source.load(entry)
                position += 1

    async def __aiter__(self) -> AsyncIterator[Any]:
        position = 0
        while True:
            standing, value = await self._source.aawait_any(self._pair(position), self._timeout)
            if value is None and self._over(standing, position):
                return
            for entry in self._next(position):
                yield self._source.load(entry)
                position += 1

    def _pair(self, position: int) -> list[str]:
        return [self._id, value_key(self._id, position)]

    def _over(self, standing: Entry | None, position: int) -> bool:
        """Whether the task has ended and emitted nothing from this position on."""
        if standing is None or standing.state not in FINAL:
            raise ResultTimeout(f"task {self._id} has neither ended nor emitted value {position} in {self._timeout} s")
        # Written before the end, and perhaps not there yet when it was looked for: the two looks are not one.
        if self._source.entries([value_key(self._id, position)])[0] is not None:
            return False
        self._ended(standing)
        return True

    def _next(self, position: int) -> list[Entry]:
        """The values that are there."""
        found = []
        for entry in self._source.entries([value_key(self._id, position + n) for n in range(WINDOW)]):
            if entry is None:
                break
            found.append(entry)
        return found
