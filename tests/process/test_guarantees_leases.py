"""Who holds a message, and who may write about it: hard limits, stopped processes, tasks that spin."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from process.brokers import spread
from running import LONG, Running
from support import eventually

from kernel.app import Kernel
from kernel.errors import TaskFailed
from kernel.ports import Inspects
from kernel.results.result import AsyncResult

StartWorker = Callable[..., Running]

#: Seconds; in the URL of the fixture.
LEASE = 1.0
#: How much later than promised something may be seen on a machine that does other things too; seconds.
SLACK = 1.0
#: What a zombie would do if it could: return, ask for a retry, become a dead letter.
ENDS = ["gated", "gated_then_fails", "gated_then_dies"]
POOLS = ["threads", "asyncio", "gevent", "eventlet", "solo"]

pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"), pytest.mark.timeout(120)]


def starts(ledger: Path, word: str) -> list[tuple[int, float]]:
    """Process and monotonic time of every start of a task."""
    lines = [line.split() for line in ledger.read_text().splitlines()] if ledger.exists() else []
    return [(int(line[1]), float(line[2])) for line in lines if line[0] == word]


def sizes(app: Kernel, queue: str) -> tuple[int | None, int | None, int | None]:
    transport = app.ports.transport
    assert isinstance(transport, Inspects)
    size = transport.sizes([queue])[0]
    return size.ready, size.delayed, size.in_flight


def settled(app: Kernel) -> bool:
    return sizes(app, "default") == (0, 0, 0)


# -- hard limits ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pool", "task"),
    [
        *spread(["asyncio", "gevent"], ["overrun", "aoverrun"], [("asyncio", "aoverrun"), ("gevent", "overrun")]),
        ("threads", "overrun"),
        pytest.param("eventlet", "overrun", marks=pytest.mark.wide),
    ],
)
def test_a_task_over_its_hard_limit_runs_once_and_its_neighbours_end_well(
    start_worker: StartWorker, sender: Kernel, ledger: Path, pool: str, task: str
) -> None:
    """The limit is one second: see the application."""
    start_worker("--pool", pool, "-c", "10")
    offender = sender.send_task(task, [str(ledger)])
    neighbours: list[AsyncResult[str]] = sender.send_many(
        "long_at_first", [(str(ledger), str(number), 1.5) for number in range(9)]
    )
    with pytest.raises(TaskFailed, match="HardTimeLimitExceeded"):
        offender.get(timeout=LONG)
    ((pid, began_at),) = starts(ledger, "overrun")
    assert time.monotonic() - began_at < 1.0 + 1.0 + LEASE
    assert {starts(ledger, str(number))[0][0] for number in range(9)} == {pid}, "they ran beside it"
    assert [result.get(timeout=LONG) for result in neighbours] == [str(number) for number in range(9)]
    eventually(lambda: settled(sender), LONG)
    assert len(starts(ledger, "overrun")) == 1
    assert offender.state == "FAILURE"
    assert sizes(sender, "default.dead") == (0, 0, 0)


def test_a_pool_that_can_end_a_task_in_place_keeps_its_process(
    start_worker: StartWorker, sender: Kernel, ledger: Path
) -> None:
    run = start_worker("--pool", "gevent")
    with pytest.raises(TaskFailed, match="HardTimeLimitExceeded"):
        sender.send_task("overrun", [str(ledger)]).get(timeout=LONG)
    assert sender.send_task("noop").get(timeout=LONG) == run.ready()[0]
    assert not run.find("ended:")


def test_solo_ends_an_overrun_with_its_process_and_goes_on(
    start_worker: StartWorker, sender: Kernel, ledger: Path
) -> None:
    run = start_worker()
    first = sender.send_task("overrun", [str(ledger)])
    then = sender.send_task("noop")
    with pytest.raises(TaskFailed, match="HardTimeLimitExceeded"):
        first.get(timeout=LONG)
    then.get(timeout=LONG)
    run.expect(r"exit code 82 \(HARD_LIMIT\)")
    eventually(lambda: settled(sender), LONG)
    assert len(starts(ledger, "overrun")) == 1


@pytest.mark.parametrize(
    "pool",
    ["solo", "gevent", *(pytest.param(pool, marks=pytest.mark.wide) for pool in ("threads", "asyncio", "eventlet"))],
)
def test_a_task_that_never_gives_the_interpreter_back_is_killed_from_outside(
    start_worker: StartWorker, sender: Kernel, ledger: Path, pool: str
) -> None:
    """Not a thread of its process can look at the time, so that nobody records its end; it is stopped as poison."""
    run = start_worker("--pool", pool)
    sender.send_task("noop").get(timeout=LONG)
    poison = sender.send_task("seize", [str(ledger)])
    eventually(lambda: bool(starts(ledger, "seize")), LONG)
    run.expect("killed for overrun", timeout=LONG)
    assert time.monotonic() - starts(ledger, "seize")[0][1] < 1.0 + 8.0 + 3.0
    with pytest.raises(TaskFailed, match="WorkerLost"):
        poison.get(timeout=2 * LONG)
    eventually(lambda: settled(sender), LONG)
    assert sender.send_task("noop").get(timeout=LONG), "the worker goes on"
    (letter,) = sender.dead().list()
    assert (letter.task, letter.kind, letter.deliveries) == ("seize", "failed", 3)
    assert "started 2 times and never seen to its end" in letter.reason
    assert "WorkerLost" in letter.error
    assert len(starts(ledger, "seize")) == 2


# -- zombies -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pool", "task"),
    spread(["solo", "threads"], ENDS, [("solo", ENDS[0]), *(("threads", end) for end in ENDS)]),
)
def test_a_process_that_was_stopped_beyond_its_lease_changes_nothing_any_more(
    start_worker: StartWorker, sender: Kernel, ledger: Path, tmp_path: Path, pool: str, task: str
) -> None:
    gate = tmp_path / "gate"
    first = start_worker("--pool", pool, TEST_NAME="first")
    result = sender.send_task(task, [str(ledger), "word", str(gate)])
    eventually(lambda: len(starts(ledger, "word")) == 1, LONG, "it has started")
    zombie = first.ready()[0]
    os.kill(zombie, signal.SIGSTOP)
    try:
        start_worker("--pool", pool, TEST_NAME="second")
        eventually(lambda: len(starts(ledger, "word")) == 2, LONG, "its successor has started")
        gate.touch()
        assert result.get(timeout=LONG) == "word of second"
        eventually(lambda: settled(sender), LONG)
    finally:
        os.kill(zombie, signal.SIGCONT)
    first.expect("taken over by another worker|delivered again before|no longer held")
    assert sender.result(result.id).get(timeout=0) == "word of second"
    assert settled(sender), "it published no retry"
    assert sizes(sender, "default.dead") == (0, 0, 0), "nor a dead letter"
    assert len(starts(ledger, "word")) == 2


@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_a_stopped_process_that_continues_while_its_successor_works_leaves_it_alone(
    start_worker: StartWorker, sender: Kernel, ledger: Path, tmp_path: Path, pool: str
) -> None:
    """The first one comes to its end before the second one has written a result."""
    gate, late = tmp_path / "gate", tmp_path / "late"
    first = start_worker("--pool", pool, TEST_NAME="first", TEST_GATE=str(gate))
    result = sender.send_task("gated_each", [str(ledger), "word"])
    eventually(lambda: len(starts(ledger, "word")) == 1, LONG)
    zombie = first.ready()[0]
    os.kill(zombie, signal.SIGSTOP)
    try:
        start_worker("--pool", pool, TEST_NAME="second", TEST_GATE=str(late))
        eventually(lambda: len(starts(ledger, "word")) == 2, LONG)
    finally:
        os.kill(zombie, signal.SIGCONT)
    gate.touch()
    first.expect("taken over by another worker|delivered again before|no longer held")
    assert result.state == "STARTED"
    late.touch()
    assert result.get(timeout=LONG) == "word of second"
    eventually(lambda: settled(sender), LONG)


# -- spinning ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pool", POOLS)
def test_a_task_that_computes_for_two_leases_is_not_delivered_again(
    start_worker: StartWorker, sender: Kernel, ledger: Path, pool: str
) -> None:
    spinning = start_worker("--pool", pool)
    task = "aspin" if pool == "asyncio" else "spin"
    result = sender.send_task(task, [str(ledger), 2 * LEASE + SLACK / 2])
    eventually(lambda: bool(starts(ledger, "spin")), LONG)
    start_worker("--pool", pool)  # idle, and glad of anything whose lease runs out
    assert result.get(timeout=LONG) == "spun"
    eventually(lambda: settled(sender), LONG)
    assert [pid for pid, _ in starts(ledger, "spin")] == spinning.ready()
