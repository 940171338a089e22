"""Values that are written while somebody looks for them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kernel.errors import ResultTimeout
from kernel.outcome import Entry
from kernel.results.stream import WINDOW, Entries, Stream

END, VALUE = Entry("SUCCESS", "json", b"0"), Entry("SUCCESS", "json", b"1")


class Late:
    """A store whose answers to one question are not of one moment: the end was there before the values before it."""

    def __init__(self, values: int, ends: bool = True) -> None:
        self.left = values
        self.ends = ends
        self.asked = 0

    def await_any(self, ids: list[str], timeout: float | None) -> Entries:
        return [END if self.ends else None, None]

    async def aawait_any(self, ids: list[str], timeout: float | None) -> Entries:
        return self.await_any(ids, timeout)

    def entries(self, ids: list[str]) -> Entries:
        self.asked = max(self.asked, len(ids))
        places = [int(id.rpartition(":")[2]) for id in ids]
        return [VALUE if place < self.left else None for place in places]

    def load(self, entry: Entry) -> Any:
        return entry.body


def _stream(source: Late, ended: list[Entry]) -> Stream:
    return Stream("id", source, 0.1, ended.append)


def test_a_value_that_was_not_seen_beside_the_end_is_not_lost() -> None:
    source, ended = Late(3), list[Entry]()
    assert list(_stream(source, ended)) == [b"1"] * 3
    assert ended == [END]

    async def listen() -> list[Any]:
        return [value async for value in _stream(Late(2), ended)]

    assert asyncio.run(listen()) == [b"1"] * 2


def test_values_are_asked_for_in_parts() -> None:
    source = Late(1000)
    assert len(list(_stream(source, []))) == 1000
    assert source.asked == WINDOW


def test_silence_is_an_error() -> None:
    with pytest.raises(ResultTimeout, match=r"neither ended nor emitted value 0 in 0\.1 s"):
        next(iter(_stream(Late(5, ends=False), [])))
