"""What workflows cost, counted: port calls per batch and not per task, items of ports and kernel calls per task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil
from threading import get_ident
from typing import Any

import pytest
from kernel_memory import MemoryCoordination, MemoryResults, MemoryTransport
from perf.test_calls import BUDGET, Ticking, kernel_calls

from kernel import Kernel, chain, chord
from kernel.task import Task
from kernel.worker.worker import Worker

#: Steps of a chain.
STEPS = 20
#: Kernel calls per task above the adapter, beside those of a plain task.
MORE_OF_A_STEP, MORE_OF_A_MEMBER = 25, 9
#: Messages that a worker takes at once.
BATCH = 1000


@dataclass
class Ports:
    """How often each port was called, and with how many items in all, by the thread that runs the tasks: the others
    look now and then at a clock of their own."""

    calls: Counter[str] = field(default_factory=Counter)
    items: Counter[str] = field(default_factory=Counter)
    thread: int = field(default_factory=get_ident)

    def watch(self, adapter: Any, *methods: str) -> None:
        for name in methods:
            setattr(adapter, name, self._counted(name, getattr(adapter, name)))

    def _counted(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(items: Sequence[Any], *more: Any) -> Any:
            if get_ident() == self.thread:
                self.calls[name] += 1
                self.items[name] += len(items)
            return method(items, *more)

        return call


class Bench:
    """An application with a workflow waiting, and its worker; the last task stops that."""

    def __init__(self, tasks: int, start: Callable[[Task[..., int, Any], Task[..., int, Any]], None]) -> None:
        transport, results, coordination = MemoryTransport(), MemoryResults(), MemoryCoordination()
        self.app = Kernel("perf", pool="solo", prefetch_max=BATCH, clock=Ticking())
        self.app.use(transport=transport, results=results, coordination=coordination)
        self.tasks = self.left = tasks
        start(self.app.task(self.step, name="step"), self.app.task(self.last, name="last"))
        self.ports = Ports()
        self.ports.watch(transport, "receive", "send", "ack", "commit")
        self.ports.watch(results, "get", "put")
        self.ports.watch(coordination, "tally")
        self.worker = Worker(self.app)

    def step(self, *numbers: int) -> int:
        """A step of a chain, or a member of a chord."""
        self._count()
        return numbers[-1]

    def last(self, values: list[int]) -> int:
        """The body of a chord."""
        self._count()
        return len(values)

    def _count(self) -> None:
        self.left -= 1
        if not self.left:
            self.worker.stop()

    def run(self) -> Counter[str]:
        """Kernel calls of the worker, from its start to its end."""
        calls = kernel_calls(self.worker.run)
        self.app.close()
        assert self.left == 0
        return calls


def chains(count: int) -> Bench:
    """So many chains, all at once."""

    def start(step: Task[..., int, Any], last: Task[..., int, Any]) -> None:
        for _ in range(count):
            chain(*(step.s(number) for number in range(STEPS))).delay()

    return Bench(count * STEPS, start)


def a_chord(members: int) -> Bench:
    """One chord."""

    def start(step: Task[..., int, Any], last: Task[..., int, Any]) -> None:
        chord([step.s(number) for number in range(members)], last.s()).delay()

    return Bench(members + 1, start)


@pytest.mark.parametrize("count", [1, 50, 200])
def test_a_batch_of_steps_costs_one_call_of_each_port(count: int) -> None:
    bench = chains(count)
    bench.run()
    calls, items = bench.ports.calls, bench.ports.items
    assert calls["receive"] <= STEPS + 2
    for name in ("get", "put", "commit"):
        assert calls[name] <= STEPS + 2, calls
    assert calls["tally"] == calls["send"] == 0, calls
    assert items["put"] == bench.tasks
    assert items["get"] <= bench.tasks + 2


@pytest.mark.parametrize("members", [10, 1000, 4000])
def test_a_member_of_a_join_costs_one_item_of_each_port(members: int) -> None:
    bench = a_chord(members)
    bench.run()
    calls, items = bench.ports.calls, bench.ports.items
    batches = ceil(members / BATCH) + 1
    assert calls["tally"] <= batches + 1, calls
    assert calls["put"] <= batches + 1, calls
    assert calls["commit"] <= 2, calls
    assert calls["get"] <= 2 * batches + 3, calls  # the body reads what they have left
    assert items["put"] == members + 1
    assert items["tally"] <= members + 1  # whoever sees it full asks again
    assert items["get"] <= 2 * members + 4


def test_a_step_costs_few_kernel_calls() -> None:
    bench = chains(50)
    per_task = bench.run()
    assert per_task.total() / bench.tasks <= BUDGET + MORE_OF_A_STEP, per_task.most_common(40)


def test_a_member_costs_few_kernel_calls() -> None:
    bench = a_chord(2000)
    per_task = bench.run()
    assert per_task.total() / bench.tasks <= BUDGET + MORE_OF_A_MEMBER, per_task.most_common(40)
