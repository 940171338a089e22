"""A large group is sent in batches, and its memory does not grow with it."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from kernel_memory import MemoryCoordination, MemoryResults

from kernel import Kernel, group, signature
from kernel.canvas.effects import Send
from kernel.canvas.flow import Flow, Signature
from kernel.canvas.lower import BATCH, lower
from kernel.ids import new_id
from kernel.workflows.driver import Driver
from kernel.workflows.flows import Packer, outgoing_of


def _members(count: int) -> Iterator[Signature]:
    return (signature("note", (index,)) for index in range(count))


def _sent(flow: Flow) -> tuple[list[int], int]:
    """How many messages were handed over at a time, and the most memory in bytes that this took."""
    app = Kernel("large", transport="memory://large")
    app.task(name="note")(lambda *_: None)
    results, coordination = MemoryResults(), MemoryCoordination()
    results.open()
    coordination.open()
    parts: list[int] = []

    def post(_: int, sends: list[Send]) -> None:
        parts.append(len([outgoing_of(send, 0.0) for send in sends]))

    driver = Driver(results, coordination, 60.0, app.clock.now)
    packer = Packer(app, "note", lambda _: None)
    tracemalloc.start()
    try:
        ended = driver.drive([lower(flow, new_id, packer)], post)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        app.close()
    assert not ended.errors
    return parts, peak


@pytest.mark.parametrize("joined", [False, True], ids=["group", "chord"])
def test_it_takes_no_more_memory_for_more_members(joined: bool) -> None:
    def flow(count: int) -> Any:
        made = group(_members(count))
        return made | signature("note") if joined else made

    few, small = _sent(flow(2 * BATCH))
    many, large = _sent(flow(8 * BATCH))
    assert max(many) == BATCH == max(few)
    assert sum(many) >= 8 * BATCH
    assert large < small * 1.5
