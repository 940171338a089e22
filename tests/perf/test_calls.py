"""The budgets of design section "Budgets", counted. The clock of the worker moves by its reads only, so that a loaded
machine changes nothing."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from math import ceil
from pathlib import Path
from typing import Any

import pytest
from kernel_memory import MemoryResults, MemoryTransport

import kernel
from kernel import Kernel
from kernel.clock import FakeClock
from kernel.worker.worker import Worker

KERNEL = str(Path(kernel.__file__).parent)
TASKS = 2000
#: Kernel calls per task above the adapter.
BUDGET = 12


class Ticking(FakeClock):
    """A microsecond for each read: every task is as fast as a healthy machine makes it."""

    def _read(self) -> float:
        self._at += 1e-6
        return self._at


class Counting:
    """A port with every method call counted, by wrapping the methods of one adapter object."""

    def __init__(self, adapter: Any, methods: Sequence[str]) -> None:
        self.calls: Counter[str] = Counter()
        for name in methods:
            setattr(adapter, name, self._counted(name, getattr(adapter, name)))

    def _counted(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            self.calls[name] += 1
            return method(*args)

        return call


def kernel_calls(work: Callable[[], object]) -> Counter[str]:
    """Python calls of functions that kernel defines, made on this thread while `work` runs."""
    calls: Counter[str] = Counter()

    def note(frame: Any, event: str, _argument: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(KERNEL):
            calls[f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_qualname}"] += 1

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


def application(tasks: int) -> tuple[Kernel, Worker, MemoryTransport, MemoryResults]:
    """An application with so many no-op tasks waiting, the last of which stops the worker."""
    transport, results = MemoryTransport(), MemoryResults()
    app = Kernel("perf", pool="solo", prefetch_max=1000, clock=Ticking())
    app.use(transport=transport, results=results)
    workers: list[Worker] = []

    @app.task
    def noop(number: int) -> int:
        if number == tasks - 1:
            workers[0].stop()
        return number

    app.send_many(noop, [(number,) for number in range(tasks)])
    workers.append(Worker(app))
    return app, workers[0], transport, results


def test_a_task_costs_at_most_twelve_kernel_calls() -> None:
    app, worker, _, _ = application(TASKS)
    calls = kernel_calls(worker.run)
    per_task = calls.total() / TASKS
    app.close()
    assert per_task <= BUDGET, f"{per_task:.1f} calls per task: {calls.most_common(20)}"
    assert calls["runner.Runner.run"] == TASKS


def test_sending_many_costs_few_calls_per_task() -> None:
    app = Kernel("perf")
    app.use(transport=MemoryTransport(), results=MemoryResults())

    @app.task
    def noop(number: int) -> int:
        return number

    noop.delay(0)
    calls = kernel_calls(lambda: app.send_many(noop, [(number,) for number in range(TASKS)]))
    app.close()
    assert calls.total() / TASKS <= 9.1, calls.most_common(20)


@pytest.mark.parametrize("tasks", [1, 1000, 5000])
def test_port_calls_grow_with_batches_not_with_tasks(tasks: int) -> None:
    app, worker, transport, results = application(tasks)
    port = Counting(transport, ["receive", "ack", "send", "release", "extend", "commit"])
    store = Counting(results, ["put", "get"])
    worker.run()
    app.close()
    limit = 2 + ceil(tasks / 1000)
    for name, count in (port.calls + store.calls).items():
        assert count <= limit, (
            f"{name}: {count} calls for {tasks} tasks, at most {limit}; all: {port.calls + store.calls}"
        )
    assert store.calls["put"] >= 1
    assert port.calls["ack"] >= 1


def test_enqueueing_many_costs_one_send_per_batch() -> None:
    transport = MemoryTransport()
    app = Kernel("perf")
    app.use(transport=transport, results=MemoryResults())

    @app.task
    def noop(number: int) -> int:
        return number

    port = Counting(transport, ["send"])
    most = transport.features.max_batch
    app.send_many(noop, ((number,) for number in range(3 * most)))
    app.close()
    assert port.calls["send"] <= 2 + 3
