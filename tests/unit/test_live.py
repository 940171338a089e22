"""How often progress is written, and what a store that is away costs."""

from __future__ import annotations

from typing import Any

import pytest
from kernel_memory import MemoryResults

from kernel import Kernel
from kernel.clock import FakeClock
from kernel.configuration.settings import Tasks
from kernel.current import Direct
from kernel.errors import Unavailable
from kernel.ports import Record
from kernel.results.live import PROGRESS_EVERY, Live


class Counted:
    """A store that counts, and is away on demand."""

    def __init__(self) -> None:
        self.inner = MemoryResults()
        self.inner.open()
        self.features = self.inner.features
        self.puts = 0
        self.away = False

    def put(self, items: list[Record], ttl: float) -> Any:
        if self.away:
            raise Unavailable("away")
        self.puts += len(items)
        return self.inner.put(items, ttl)


def live(store: Any, clock: FakeClock) -> Live:
    task = Kernel("unit").task(name="unit")(lambda: None)
    return Live(Direct(task, "id", 60.0), store, Tasks(send_timeout=0.01), clock)


def test_a_tight_loop_writes_twice_a_second_and_at_the_end() -> None:
    store, clock = Counted(), FakeClock(1000.0)
    told = live(store, clock)
    for done in range(1001):
        told.progress(done, 1000, "")
        clock.advance(PROGRESS_EVERY / 100)
    assert store.puts == pytest.approx(1000 / 100 + 1, abs=1)
    for _ in range(100):
        told.progress(1000, 1000, "")
    assert store.puts == pytest.approx(1000 / 100 + 1, abs=1)


@pytest.mark.parametrize(("done", "total", "percent"), [(1, 3, 33.3), (0, 0, 100), (5, 4, 100), (-1, 4, 0)])
def test_a_percentage_is_one(done: int, total: int, percent: float, monkeypatch: pytest.MonkeyPatch) -> None:
    told = live(Counted(), FakeClock(1000.0))
    seen: list[Any] = []
    monkeypatch.setattr(Live, "state", lambda self, state, meta: seen.append(meta))
    told.progress(done, total, "m")
    assert seen[0]["percent"] == pytest.approx(percent, abs=0.1)


def test_a_store_that_is_away_costs_a_state_but_no_value() -> None:
    store = Counted()
    told = live(store, FakeClock(1000.0))
    store.away = True
    assert not told.state("X", None)
    with pytest.raises(Unavailable):
        told.emit(1)
    store.away = False
    assert told.emit(1)
    assert told.values == 1
