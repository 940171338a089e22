"""Doing what workflows ask for: what the store holds may be damaged."""

from __future__ import annotations

from kernel_memory import MemoryResults

from kernel.canvas.effects import Decide, Request, Requests, Verdict
from kernel.outcome import MOST, Error
from kernel.parts import parts
from kernel.ports import Record
from kernel.workflows.driver import Driver


def test_a_record_that_cannot_be_read_ends_nobody() -> None:
    store = MemoryResults()
    store.open()
    store.put([Record("broken", b"\xc1", True, (0, MOST, MOST))], 0.0)
    heard: list[object] = []

    def work(id: str) -> Requests:
        request: Request = Decide([Verdict(id, "cause", 0, Error("ValueError", "bad"))])
        heard.append((id, (yield request)))

    ended = Driver(store, None, 60.0, lambda: 1.0).drive([work("broken"), work("fine")], lambda index, sends: None)
    assert ended.errors == {}
    assert heard == [("broken", [True]), ("fine", [True])]


def test_parts_are_all_of_it_in_order() -> None:
    assert [list(part) for part in parts([1, 2, 3, 4, 5], 2)] == [[1, 2], [3, 4], [5]]
    assert list(parts([], 2)) == []
