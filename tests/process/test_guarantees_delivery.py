"""Nothing is lost and nothing is kept for ever: poison, kills, give-backs, early acks and half a sender."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from running import APPS, LONG, Running
from support import eventually

from kernel.app import Kernel
from kernel.envelope import decode_dead
from kernel.ports import Extends, Inspects
from kernel.results.result import AsyncResult

StartWorker = Callable[..., Running]

pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"), pytest.mark.timeout(120)]


def words(ledger: Path) -> Counter[str]:
    """How often each task started."""
    lines = ledger.read_text().splitlines() if ledger.exists() else []
    return Counter(line.split()[0] for line in lines)


def left(app: Kernel, *queues: str) -> list[tuple[int | None, int | None, int | None]]:
    transport = app.ports.transport
    assert isinstance(transport, Inspects)
    return [(size.ready, size.delayed, size.in_flight) for size in transport.sizes(queues or ("default",))]


def all_settled(app: Kernel) -> bool:
    return left(app) == [(0, 0, 0)]


def test_a_task_that_ends_its_process_takes_no_neighbour_along(
    start_worker: StartWorker, sender: Kernel, ledger: Path
) -> None:
    noops: list[AsyncResult[int]] = sender.send_many("noop", [()] * 500)
    poison = sender.send_task("die", [str(ledger)])
    noops += sender.send_many("noop", [()] * 499)
    start_worker("--prefetch-max", "200")
    assert len([result.get(timeout=60) for result in sender.as_completed(noops, 60)]) == 999
    eventually(lambda: all_settled(sender), LONG, "the queue is empty")
    transport = sender.ports.transport
    assert isinstance(transport, Inspects)
    (letter,) = transport.peek("default.dead", 10)
    dead = decode_dead(letter)
    assert dead is not None
    assert dead.kind == "failed"
    assert "never seen to its end" in dead.reason
    assert poison.state == "FAILURE"
    # Its first start was not on record, because nothing said that it might kill; the two allowed ones were.
    assert words(ledger)["die"] == 3


def test_a_message_given_back_a_hundred_times_still_runs(
    start_worker: StartWorker, sender: Kernel, ledger: Path
) -> None:
    start_worker(processes=2)
    assert sender.send_task("boomerang", [str(ledger), 100]).get(timeout=60) == "at last"
    assert words(ledger)["start"] == 101
    eventually(lambda: all_settled(sender), LONG)
    assert left(sender, "default.dead") == [(0, 0, 0)]


def test_a_message_that_was_held_and_never_started_a_hundred_times_still_runs(
    start_worker: StartWorker, sender: Kernel
) -> None:
    result = sender.send_task("add", [20, 3])
    transport = sender.ports.transport
    assert isinstance(transport, Extends)
    for number in range(100):
        (delivery,) = transport.receive(["default"], 1, LONG)
        assert delivery.redelivered == number
        transport.extend([delivery], 0.001)
    start_worker()
    assert result.get(timeout=LONG) == 23
    eventually(lambda: all_settled(sender), LONG)
    assert left(sender, "default.dead") == [(0, 0, 0)]


def test_early_ack_never_acks_what_has_not_started(start_worker: StartWorker, sender: Kernel, ledger: Path) -> None:
    def calls(start: int, stop: int) -> list[tuple[str, str]]:
        return [(str(ledger), str(number)) for number in range(start, stop)]

    sender.send_many("note_early", calls(0, 300))
    killed = sender.send_task("die_early", [str(ledger), "killed"])
    sender.send_many("note_early", calls(301, 600))
    run = start_worker()
    run.expect("killed by SIGKILL")
    eventually(lambda: all_settled(sender), LONG, "all others ran")
    started = words(ledger)
    assert started == Counter([str(number) for number in range(600) if number != 300] + ["killed"])
    # It is lost, and only it: nobody runs it again.
    assert killed.state == "PENDING"


def test_a_killed_process_costs_no_result(start_worker: StartWorker, sender: Kernel, ledger: Path) -> None:
    run = start_worker(processes=2)
    pids = run.ready(2)
    results: list[AsyncResult[str]] = sender.send_many(
        "note", [(str(ledger), str(number), 0.001) for number in range(2000)]
    )
    eventually(lambda: len(words(ledger)) > 500, LONG, "the work has begun")
    os.kill(pids[0], signal.SIGKILL)
    assert sorted(int(result.get()) for result in sender.as_completed(results, 60)) == list(range(2000))
    started = words(ledger)
    again = {word for word, times in started.items() if times > 1}
    touched = {line.split()[0] for line in ledger.read_text().splitlines() if line.split()[1] == str(pids[0])}
    assert again <= touched, "only what the killed process had started may start again"
    assert len(again) <= 100, "what it had started and not settled is the work of some milliseconds"
    assert max(started.values()) <= 2
    eventually(lambda: all_settled(sender), LONG)


SENDER = """
import sys
from kernel.app import Kernel
app = Kernel("sender", transport=sys.argv[1])
for number in range(100000):
    with app.batch():
        for part in range(50):
            app.send_task("note", [sys.argv[2], f"{number}:{part}"])
    print(number, flush=True)
"""


def test_a_sender_that_is_killed_has_sent_whole_batches(
    start_worker: StartWorker, sender: Kernel, database: str, ledger: Path, tmp_path: Path
) -> None:
    root = APPS.parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", SENDER, database, str(ledger)],
        stdout=subprocess.PIPE,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'adapters'}", "KERNEL_CONFIG": "none"},
        text=True,
    )
    told = 0
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            told = int(line) + 1
            if told > 20:
                process.kill()
        process.wait()

    start_worker()
    eventually(lambda: all_settled(sender), LONG)
    batches = Counter(word.partition(":")[0] for word in words(ledger))
    assert set(batches.values()) == {50}
    assert len(batches) >= told, "what the sender was told to be sent is there"
