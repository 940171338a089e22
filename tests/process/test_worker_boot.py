"""How a worker starts, says what it does, and refuses what cannot work."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from running import LONG, Running
from support import eventually

from kernel.app import Kernel
from kernel.worker.seat import ExitCode

StartWorker = Callable[..., Running]

pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"), pytest.mark.timeout(120)]


# -- what it says ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preload", ["--no-preload", "--preload"])
def test_usr1_prints_what_every_process_does(
    start_worker: StartWorker, sender: Kernel, ledger: Path, tmp_path: Path, preload: str
) -> None:
    gate = tmp_path / "gate"
    run = start_worker(preload, processes=2)
    sender.send_task("gated", [str(ledger), "word", str(gate)])
    eventually(ledger.exists, LONG)
    run.send(signal.SIGUSR1)
    run.expect(r'guarantees\.py", line \d+ in until')
    run.expect(r"stacks of process", 3 if preload == "--preload" else 2)
    run.expect(r'intake\.py", line \d+ in loop', 2)
    run.expect(r'supervisor\.py", line \d+ in run')
    gate.touch()
    assert run.stop() == ExitCode.OK


def test_the_liveness_file_is_touched_while_work_goes_on(start_worker: StartWorker, tmp_path: Path) -> None:
    probe = tmp_path / "alive"
    run = start_worker("--liveness-file", str(probe), processes=2)
    eventually(probe.exists, LONG)
    before = probe.stat().st_mtime_ns
    eventually(lambda: probe.stat().st_mtime_ns > before, LONG, "it is touched again")
    assert run.stop() == ExitCode.OK
    assert not probe.exists()


def test_json_logs_name_the_task(start_worker: StartWorker, sender: Kernel) -> None:
    run = start_worker("--log-format", "json", "--pool", "threads")
    result = sender.send_task("say", ["a word from inside"])
    result.get(timeout=LONG)
    run.expect('"state":"SUCCESS"')
    assert run.stop() == ExitCode.OK
    records = [json.loads(line) for line in run.lines if line.startswith("{")]
    (said,) = [record for record in records if record["message"] == "a word from inside"]
    (done,) = [record for record in records if record.get("state") == "SUCCESS"]
    for record in (said, done):
        assert (record["task_id"], record["task_name"]) == (result.id, "say")
    assert done["runtime"] >= 0
    assert any(record["logger"] == "kernel.supervisor" and record["task_id"] is None for record in records)


def test_a_log_file_takes_what_standard_error_would(start_worker: StartWorker, sender: Kernel, tmp_path: Path) -> None:
    file = tmp_path / "worker.log"
    run = start_worker("--logfile", "worker.log", wait=False)
    sender.send_task("say", ["a word from inside"]).get(timeout=LONG)
    eventually(lambda: "say SUCCESS" in file.read_text(), LONG)
    assert run.stop() == ExitCode.OK
    text = file.read_text()
    assert "a word from inside" in text
    assert "(seat 0) ready" in text
    assert "stopped with exit code 0" in text
    assert not run.find("INFO|WARNING")


# -- what it refuses ------------------------------------------------------------------------------------------


def refused(run: Running) -> str:
    """The one line that a worker which cannot work has on standard error."""
    began = time.monotonic()
    assert run.wait() == ExitCode.CONFIG, run.log
    assert time.monotonic() - began < LONG / 2
    assert not run.find("Traceback")
    assert not run.find("crash loop")
    said = run.find("CRITICAL.*|[Ee]rror: .*")
    assert len(said) == 1, run.log
    return said[0]


@pytest.mark.parametrize("processes", [1, 3])
@pytest.mark.parametrize(
    ("options", "app", "expected"),
    [
        ([], "nothing_here:app", "no module 'nothing_here'"),
        ([], "guarantees:nothing", "nothing"),
        ([], "broken:app", "this application is broken"),
        (["--pool", "swimming"], "guarantees:app", "swimming"),
        (["--queues", "a:b"], "guarantees:app", "queue 'a:b'"),
        (["--transport", "carrier-pigeon://loft"], "guarantees:app", "carrier-pigeon"),
        (["--results", "abacus://beads"], "guarantees:app", "abacus"),
    ],
    ids=["module", "attribute", "broken", "pool", "queue", "transport", "results"],
)
def test_what_cannot_work_is_one_line_and_exit_code_2(
    start_worker: StartWorker, options: list[str], app: str, expected: str, processes: int
) -> None:
    assert expected in refused(start_worker(*options, app=app, processes=processes, wait=False))


def test_a_preloaded_application_that_is_broken_is_one_line_too(start_worker: StartWorker) -> None:
    run = start_worker("--preload", app="broken:app", processes=2, wait=False)
    assert run.wait() == ExitCode.CONFIG
    assert len(run.find("CRITICAL.*this application is broken")) == 1


def test_a_corrupt_database_is_one_line_and_exit_code_2(start_worker: StartWorker, tmp_path: Path) -> None:
    (tmp_path / "corrupt.db").write_bytes(b"this is no database, and never was one" * 1000)
    run = start_worker(transport=f"sqlite:///{tmp_path}/corrupt.db", processes=2, wait=False)
    assert "not a database" in refused(run)


def test_a_directory_that_is_missing_is_one_line_and_exit_code_2(start_worker: StartWorker, tmp_path: Path) -> None:
    run = start_worker(transport=f"sqlite:///{tmp_path}/nowhere/tasks.db", processes=2, wait=False)
    assert "cannot be opened for writing" in refused(run)


def test_a_database_that_is_locked_at_boot_is_said_once_and_waited_for(
    start_worker: StartWorker, sender: Kernel, tmp_path: Path
) -> None:
    result = sender.send_task("add", [1, 2])
    lock = sqlite3.connect(tmp_path / "tasks.db", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    run = start_worker(transport=f"sqlite:///{tmp_path}/tasks.db?lease=1&timeout=0.2", wait=False)
    run.expect("is unavailable")
    lock.execute("ROLLBACK")
    lock.close()
    assert result.get(timeout=LONG) == 3
    assert len(run.find("is unavailable")) == 1
    assert not run.find("Traceback")
    assert run.stop() == ExitCode.OK


def test_a_service_that_stays_away_is_waited_for_without_a_crash_loop_and_term_ends_it(
    start_worker: StartWorker, sender: Kernel, tmp_path: Path
) -> None:
    sender.send_task("noop")
    lock = sqlite3.connect(tmp_path / "tasks.db", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    url = f"sqlite:///{tmp_path}/tasks.db?lease=1&timeout=0.2"
    run = start_worker("--liveness-file", str(tmp_path / "alive"), transport=url, processes=2, wait=False)
    run.expect("is unavailable", 2)
    assert run.stop() == ExitCode.OK
    assert len(run.find("is unavailable")) == 2
    assert not run.find("Traceback")
    lock.close()


def test_the_supervisor_dies_and_its_processes_give_back_and_end(
    start_worker: StartWorker, sender: Kernel, ledger: Path
) -> None:
    run = start_worker("--pool", "threads", processes=2)
    pids = run.ready(2)
    result = sender.send_task("note", [str(ledger), "word", 0.5])
    eventually(ledger.exists, LONG)
    os.kill(run.process.pid, signal.SIGKILL)
    assert result.get(timeout=LONG) == "word"
    eventually(lambda: not set(pids) & set(run.pids()), LONG, "its processes have ended")
