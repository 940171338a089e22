"""How a worker ends and how its processes are replaced: drain, cancel, deadlines, recycling, preload and roll."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from running import LONG, Running
from support import eventually

from kernel.app import Kernel
from kernel.errors import TaskFailed
from kernel.ports import Inspects
from kernel.results.result import AsyncResult
from kernel.worker.seat import ExitCode

StartWorker = Callable[..., Running]

pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"), pytest.mark.timeout(120)]

#: A task that lasts, for each pool; in the threads pool one that comes back to Python now and then.
LASTING = [("solo", "sleep"), ("threads", "gated"), ("asyncio", "asleep"), ("gevent", "sleep"), ("eventlet", "sleep"),
           ("solo", "asleep"), ("gevent", "asleep")]  # fmt: skip


def lines(ledger: Path) -> list[list[str]]:
    return [line.split() for line in ledger.read_text().splitlines()] if ledger.exists() else []


def arguments(task: str, ledger: Path, gate: Path) -> list[object]:
    return [str(ledger), "word", str(gate)] if task == "gated" else [str(ledger), 60.0]


def sizes(app: Kernel) -> tuple[int | None, int | None, int | None]:
    transport = app.ports.transport
    assert isinstance(transport, Inspects)
    size = transport.sizes(["default"])[0]
    return size.ready, size.delayed, size.in_flight


# -- draining ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pool", ["solo", "threads", "asyncio", "gevent", "eventlet"])
def test_term_lets_what_runs_end_and_takes_nothing_more(
    start_worker: StartWorker, sender: Kernel, ledger: Path, tmp_path: Path, pool: str
) -> None:
    gate = tmp_path / "gate"
    run = start_worker("--pool", pool, "-c", "1")
    running = sender.send_task("gated", [str(ledger), "running", str(gate)])
    eventually(lambda: bool(lines(ledger)), LONG)
    waiting = sender.send_task("note", [str(ledger), "waiting"])
    taken = (1, 0, 1) if pool == "solo" else (0, 0, 2)  # what is taken beforehand tells when the process has the signal
    eventually(lambda: sizes(sender) == taken, LONG, "both are where they wait")
    run.send(signal.SIGTERM)
    eventually(lambda: sizes(sender) == (1, 0, 1) and bool(run.find("SIGTERM: drain")), LONG, "one is given back")
    gate.touch()
    assert run.wait() == ExitCode.OK
    assert running.get(timeout=0) == "running of "
    assert [words[0] for words in lines(ledger)] == ["running"]
    assert waiting.state == "PENDING"
    assert sizes(sender) == (1, 0, 0)


@pytest.mark.parametrize(("pool", "task"), LASTING)
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGQUIT])
def test_a_second_term_cancels_and_gives_back(
    start_worker: StartWorker,
    sender: Kernel,
    ledger: Path,
    tmp_path: Path,
    pool: str,
    task: str,
    second: signal.Signals,
) -> None:
    gate = tmp_path / "gate"
    run = start_worker("--pool", pool, "--grace", "60")
    result = sender.send_task(task, arguments(task, ledger, gate))
    eventually(lambda: bool(lines(ledger)), LONG)
    run.send(signal.SIGTERM)
    run.expect("SIGTERM: drain")
    began = time.monotonic()
    assert run.stop(second) == ExitCode.OK
    assert time.monotonic() - began < 10.0
    transport = sender.ports.transport
    (delivery,) = transport.receive(["default"], 10, 0.0)
    assert delivery.redelivered == 0, "what was given back does not count as a delivery"
    transport.release([delivery])
    gate.touch()
    start_worker("--pool", pool)
    assert result.get(timeout=LONG) in ("slept", "word of ")
    assert len(lines(ledger)) == 2


def test_an_order_to_cancel_that_comes_right_after_the_one_to_drain_is_heard(
    start_worker: StartWorker, sender: Kernel, ledger: Path
) -> None:
    """Both wait for a process that the system lets run late: the second one may go to a thread that wakes nobody."""
    run = start_worker("--grace", "60")
    (pid,) = run.ready()
    sender.send_task("sleep", [str(ledger), 60.0])
    eventually(lambda: bool(lines(ledger)), LONG)
    os.kill(pid, signal.SIGSTOP)
    run.send(signal.SIGTERM)
    run.expect("SIGTERM: drain")
    run.send(signal.SIGTERM)
    run.expect("SIGTERM: cancel")
    os.kill(pid, signal.SIGCONT)
    assert run.wait() == ExitCode.OK
    assert sizes(sender) == (1, 0, 0)


def test_quit_cancels_at_once(start_worker: StartWorker, sender: Kernel, ledger: Path) -> None:
    run = start_worker("--grace", "60", processes=2)
    results = [sender.send_task("sleep", [f"{ledger}{number}", 60.0]) for number in range(2)]
    eventually(lambda: all(Path(f"{ledger}{number}").exists() for number in range(2)), LONG)
    assert run.stop(signal.SIGQUIT) == ExitCode.OK
    assert sizes(sender) == (2, 0, 0)
    assert [result.state for result in results] == ["PENDING", "PENDING"]


def test_a_cancelled_task_that_was_acknowledged_early_fails_because_nobody_can_run_it_again(
    start_worker: StartWorker, sender: Kernel, ledger: Path, tmp_path: Path
) -> None:
    run = start_worker("--grace", "60")
    result = sender.send_task("gated_early", [str(ledger), "word", str(tmp_path / "gate")])
    eventually(lambda: bool(lines(ledger)), LONG)
    assert run.stop(signal.SIGQUIT) == ExitCode.OK
    with pytest.raises(TaskFailed, match="WorkerLost"):
        result.get(timeout=0)
    assert sizes(sender) == (0, 0, 0)


@pytest.mark.parametrize(
    ("pool", "task"),
    [("threads", "deaf"), ("gevent", "deaf"), ("eventlet", "deaf"), ("asyncio", "adeaf"), ("asyncio", "deaf")],
)
def test_a_task_that_hears_nothing_does_not_hold_up_the_end(
    start_worker: StartWorker, sender: Kernel, ledger: Path, pool: str, task: str
) -> None:
    run = start_worker("--pool", pool, "--grace", "0.3")
    sender.send_task(task, [str(ledger), 60.0])
    eventually(lambda: bool(lines(ledger)), LONG)
    began = time.monotonic()
    assert run.stop() == ExitCode.OK
    assert time.monotonic() - began < 10.0
    assert run.find("1 tasks? did not end in time")
    assert sizes(sender) == (1, 0, 0)


@pytest.mark.slow
def test_a_main_thread_that_hears_nothing_is_killed_and_the_exit_code_says_so(
    start_worker: StartWorker, sender: Kernel, ledger: Path
) -> None:
    run = start_worker("--grace", "0.3")
    sender.send_task("deaf", [str(ledger), 60.0])
    eventually(lambda: bool(lines(ledger)), LONG)
    began = time.monotonic()
    assert run.stop() == ExitCode.FORCED
    assert time.monotonic() - began < 20.0
    assert run.find("has not ended in time: kill")


# -- recycling -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_max_tasks_replaces_processes_and_loses_nothing(
    start_worker: StartWorker, sender: Kernel, ledger: Path, pool: str
) -> None:
    run = start_worker("--max-tasks", "100", "--pool", pool, processes=2)
    sent = 0
    # A process ends what it has taken in, which may be some hundreds: of the first thousand two may take all.
    while sent < 5000 and len({words[1] for words in lines(ledger)}) < 3:
        results: list[AsyncResult[str]] = sender.send_many(
            "note", [(str(ledger), str(number), 0.001) for number in range(sent, sent + 1000)]
        )
        sent += 1000
        assert len({result.get() for result in sender.as_completed(results, 60)}) == 1000
    started = Counter(words[0] for words in lines(ledger))
    assert set(started.values()) == {1}
    assert len(started) == sent
    assert len({words[1] for words in lines(ledger)}) >= 3
    run.expect(r"exit code 80 \(RECYCLE\)", 2)


def test_max_memory_replaces_processes_and_loses_nothing(
    start_worker: StartWorker, sender: Kernel, ledger: Path
) -> None:
    run = start_worker("--max-memory", "120", "--health-interval", "0.02")
    results: list[AsyncResult[str]] = sender.send_many(
        "eat", [(str(ledger), str(number), 4 << 20) for number in range(60)]
    )
    assert len({result.get() for result in sender.as_completed(results, 60)}) == 60
    started = Counter(words[0] for words in lines(ledger))
    assert set(started.values()) == {1}
    assert len(started) == 60
    run.expect("MiB of memory are more than max_memory", 2)
    run.expect(r"exit code 80 \(RECYCLE\)", 2)


# -- preload and roll ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("preload", [True, False])
def test_hup_rolls_while_work_goes_on(start_worker: StartWorker, sender: Kernel, ledger: Path, preload: bool) -> None:
    run = start_worker("--preload" if preload else "--no-preload", processes=2)
    old = set(run.ready(2))
    assert len(run.find("application imported")) == (1 if preload else 2)
    results: list[AsyncResult[str]] = sender.send_many(
        "note", [(str(ledger), str(number), 0.005) for number in range(500)]
    )
    eventually(lambda: len(lines(ledger)) > 20, LONG)
    run.send(signal.SIGHUP)
    run.expect("rolling restart done")
    sender.send_task("noop").get(timeout=LONG)
    assert len({result.get() for result in sender.as_completed(results, 60)}) == 500
    assert set(Counter(words[0] for words in lines(ledger)).values()) == {1}
    assert len(set(run.ready(4)) - old) == 2
    assert len(run.find("application imported")) == (2 if preload else 4)
    assert run.stop() == ExitCode.OK
    assert not run.find("crash|Traceback")


def test_the_banner_is_printed_once_however_often_processes_are_replaced(
    start_worker: StartWorker, sender: Kernel
) -> None:
    run = start_worker("--max-tasks", "1")
    for _ in range(3):
        sender.send_task("noop").get(timeout=LONG)
    run.expect(r"\(seat 0\) started", 4)
    run.send(signal.SIGHUP)
    run.expect("rolling restart done")
    assert run.stop() == ExitCode.OK
    assert len(run.find("application guarantees")) == 1


def test_a_preloaded_worker_prints_the_banner_once(start_worker: StartWorker) -> None:
    run = start_worker("--preload", processes=2)
    run.send(signal.SIGHUP)
    run.expect("rolling restart done")
    assert run.stop() == ExitCode.OK
    assert len(run.find("application guarantees")) == 1
