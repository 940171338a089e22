"""Two processes and a few long tasks among many short ones: nobody waits behind a long one while somebody is idle.

Arrivals are steady: one long task (a second) in a hundred and short ones (a millisecond) make 11 ms of work per task on
average, so at 145 tasks a second two servers are busy for 80 % of their time, and at 73 for 40 %, where both are seldom
at work on a long one. All at once would measure the length of the queue and not its discipline. Waits are compared with
those of an ideal queue: the same arrivals and runtimes, first come first served, two servers, no cost of its own.
"""

from __future__ import annotations

import heapq
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from running import LONG, Running
from support import PAUSE, eventually, slowness

from kernel.app import Kernel
from kernel.ports import Inspects

StartWorker = Callable[..., Running]

SHORT, LENGTHY = 0.001, 1.0
#: Tasks of one run.
COUNT = 1000
#: What the guarantee allows beyond the ideal queue, in seconds of an undisturbed machine.
ALLOWED = 0.05

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
    pytest.mark.timeout(180),
]


def ideal(arrivals: list[float], runtimes: list[float], servers: int) -> list[float]:
    """Waits in a queue without cost, first come first served."""
    free = [0.0] * servers
    waits = []
    for arrival, runtime in zip(arrivals, runtimes, strict=True):
        start = max(arrival, heapq.heappop(free))
        waits.append(start - arrival)
        heapq.heappush(free, start + runtime)
    return waits


def percentile(waits: list[float], part: float) -> float:
    return sorted(waits)[int(len(waits) * part)]


def in_flight(app: Kernel) -> int | None:
    transport = app.ports.transport
    assert isinstance(transport, Inspects)
    return transport.sizes(["default"])[0].in_flight


def starts(ledger: Path) -> dict[int, tuple[int, float]]:
    lines = [line.split() for line in ledger.read_text().splitlines()] if ledger.exists() else []
    return {int(word): (int(pid), float(at)) for word, pid, at in lines}


@pytest.mark.parametrize("rate", [73.0, 145.0])
def test_short_tasks_wait_hardly_longer_than_in_an_ideal_queue(
    start_worker: StartWorker, sender: Kernel, ledger: Path, rate: float
) -> None:
    """Up to three runs: what else a machine does can only add to the waits, so one that keeps the bound shows it."""
    start_worker(processes=2)
    runs = []
    for number in range(3):
        before = slowness()
        reached, best = one_run(sender, ledger.with_name(f"ledger{number}"), rate)
        slow = max(before, slowness())
        runs.append(f"p99 wait {reached:.3f} s, ideal {best:.3f} s, machine {slow:.1f} times slower than promised for")
        print(runs[-1])
        if reached <= best + ALLOWED * slow:
            return
    pytest.fail("; ".join(runs))


def one_run(sender: Kernel, ledger: Path, rate: float) -> tuple[float, float]:
    """The 99th percentile of the waits of short tasks, in seconds, and what it is in the ideal queue."""
    chance = random.Random(7)
    long_ones = set(chance.sample(range(COUNT), COUNT // 100))
    runtimes = [LENGTHY if number in long_ones else SHORT for number in range(COUNT)]
    for number in range(20):  # both know how long these tasks take, as a worker in service does
        sender.send_task("timed", [f"{ledger}.warm", number, SHORT])
    eventually(lambda: len(starts(Path(f"{ledger}.warm"))) == 20, LONG)
    arrivals = []
    began = time.monotonic()
    for number, runtime in enumerate(runtimes):
        PAUSE.wait(max(0.0, began + number / rate - time.monotonic()))
        arrivals.append(time.monotonic())
        sender.send_task("timed", [str(ledger), number, runtime])
    eventually(lambda: len(starts(ledger)) == COUNT, 2 * LONG)
    found = starts(ledger)
    best = ideal(arrivals, runtimes, 2)
    real = [found[number][1] - arrivals[number] for number in range(COUNT)]
    short = [number for number in range(COUNT) if number not in long_ones]
    waits = percentile([real[number] for number in short], 0.99), percentile([best[number] for number in short], 0.99)
    eventually(lambda: in_flight(sender) == 0, LONG, "the long ones end before the next run")
    return waits


def started(ledger: Path, count: int) -> None:
    eventually(lambda: len(starts(ledger)) == count, LONG)


def test_an_idle_process_takes_what_a_busy_one_has_not_started(
    start_worker: StartWorker, sender: Kernel, ledger: Path
) -> None:
    """Ten rounds: a long task and nine short ones in one batch, so that the first process to look takes several."""
    start_worker(processes=2)
    late = []
    for round_ in range(10):
        first = round_ * 10
        for number in range(20):
            sender.send_task("timed", [f"{ledger}.warm{round_}", number, SHORT])
        warm = Path(f"{ledger}.warm{round_}")
        started(warm, 20)
        with sender.batch():
            sender.send_task("timed", [str(ledger), first, 0.5])
            for number in range(first + 1, first + 10):
                sender.send_task("timed", [str(ledger), number, SHORT])
        sent = time.monotonic()
        started(ledger, first + 10)
        late.append(max(starts(ledger)[number][1] for number in range(first + 1, first + 10)) - sent)
        eventually(lambda: in_flight(sender) == 0, LONG, "the long one ends before the next round")
    print("last short start after", [f"{wait:.3f}" for wait in sorted(late)])
    assert sorted(late)[-2] <= 0.1, "one of ten may be the fault of the machine"
