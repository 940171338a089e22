"""The harness of `make bench-peers`, on the embedded adapter: no server, no peer."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.peers import report
from bench.peers.__main__ import chosen, main
from bench.peers.claims import verdicts
from bench.peers.counter import Executions
from bench.peers.environments import DRIVERS, PACKAGES
from bench.peers.record import Recording, Sample
from bench.peers.systems import KERNEL, PLAN, PORTS, PREFORK

linux = pytest.mark.skipif(sys.platform != "linux", reason="the harness reads /proc")


@pytest.fixture
def recording() -> Recording:
    """Three rounds of kernel, a peer and a limit."""
    found = Recording("2026-01-02", "a machine", {"redis": "Redis 7"})
    for number in range(3):
        for system, rate in ((KERNEL, 60_000.0 + number), (PORTS, 100_000.0), (PREFORK, 1000.0)):
            found.samples.append(Sample("kept", "redis", system.name, system.role, number, {"rate": rate, "of": 100.0}))
    found.samples.append(Sample("kept", "redis", "huey", "peer", 0, error="it ended"))
    found.drivers["kernel_"] = {
        "versions": {"kernelq": "1"},
        "variants": {"worker": {"settings": "a | b", "bulk": "", "guarantee": "at least once"}},
    }
    found.variants["redis/kernel"] = ("kernel_", "worker")
    return found


@linux
def test_kernel_and_the_bare_loop_run_every_task_once(tmp_path: Path) -> None:
    store = tmp_path / "run.json"
    command = [sys.executable, "-m", "bench.peers", "--trial", "--only", "kept", "--repeat", "1"]
    done = subprocess.run(
        [*command, "--seconds", "0.05", "--json", str(store)], capture_output=True, text=True, timeout=55
    )
    assert done.returncode == 0, done.stdout + done.stderr
    samples = Recording.load(store).samples
    assert [each.system for each in samples] == [KERNEL.name, PORTS.name]
    for sample in samples:
        assert not sample.error, sample.error
        assert sample.values["twice"] == 0
        assert sample.values["rate"] > 0
    assert "tasks/s" in done.stdout


@linux
def test_workflows_run_every_task_once(tmp_path: Path) -> None:
    store = tmp_path / "run.json"
    command = [sys.executable, "-m", "bench.peers", "--trial", "--only", "chain,sizes", "--repeat", "1"]
    done = subprocess.run(
        [*command, "--seconds", "0.02", "--json", str(store)], capture_output=True, text=True, timeout=55
    )
    assert done.returncode == 0, done.stdout + done.stderr
    chains, sizes = Recording.load(store).samples
    assert not chains.error, chains.error
    assert chains.values["twice"] == 0
    assert chains.values["rate"] > 0
    assert sizes.values["2000"] < sizes.values["2"] + 40 * 2000


def test_tasks_count_themselves(tmp_path: Path) -> None:
    order = {"PEERS_ORDER": json.dumps({"marks": str(tmp_path), "tasks": 4})}
    for numbers in ("0, 1", "1, 2"):
        code = f"import marks; [marks.noop(number) for number in ({numbers})]"
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, **order, "PYTHONPATH": str(DRIVERS)}, check=True
        )
    executions = Executions(tmp_path)
    assert executions.done() == 4
    assert executions.processes == 2
    assert executions.times() == {0: 1, 1: 2, 2: 1}


def test_a_wait_for_executions_ends(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError, match="0 tasks"):
        Executions(tmp_path).wait(lambda done, processes: done > 0, 0.01, lambda: None)


def test_a_report_keeps_what_stands_around_its_marks(tmp_path: Path, recording: Recording) -> None:
    page, stored = tmp_path / "page.md", tmp_path / "run.json"
    page.write_text(f"# Before\n\n{report.BEGIN}\nold\n{report.END}\n\nAfter.\n", "utf-8")
    recording.save(stored)
    for _ in range(2):  # the second time replaces what the first has written
        done = CliRunner().invoke(main, ["--from", str(stored), "--write", str(page)])
        assert done.exit_code == 0, done.output
        text = page.read_text("utf-8")
        assert text.startswith(f"# Before\n\n{report.BEGIN}\n")
        assert text.endswith(f"{report.END}\n\nAfter.\n")
        assert "old" not in text
        assert text.count("### Redis: No-op tasks, results kept") == 1
        assert "| kernel | 60,001 (60,000-60,002) | 1.00 |" in text
        assert "| huey (1 of 1 failed) | - | - |" in text
        assert "a \\| b" in text


def test_a_page_without_marks_is_refused(tmp_path: Path, recording: Recording) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Page\n", "utf-8")
    with pytest.raises(ValueError, match="no marks"):
        report.write(page, recording)
    assert page.read_text("utf-8") == "# Page\n"


def test_the_page_of_the_project_has_the_marks() -> None:
    text = (Path(__file__).parents[2] / "docs/benchmarks.md").read_text("utf-8")
    assert text.index(report.BEGIN) < text.index(report.END)


def test_what_is_wanted_is_compared_round_by_round(recording: Recording) -> None:
    found = {verdict.claim.text: verdict for verdict in verdicts(recording)}
    default = found["Redis, no-op, results kept: against Celery's default"]
    assert default.values == [60.0, 60.001, 60.002]
    assert default.met
    share = found["Redis, no-op, results kept: share of the same port calls"]
    assert share.values == [0.6, 0.60001, 0.60002]
    assert found["Redis, no-op, results kept: against the best peer"].against == PREFORK.name


def test_peers_and_workloads_are_chosen() -> None:
    (row,) = chosen(PLAN, "redis:kept", "celery", False)
    assert (row.workload, row.server) == ("kept", "redis")
    assert {system.environment for system in row.systems if system.role == "peer"} == {"celery"}
    assert any(system.role == "bare" for system in row.systems)
    assert {row.server for row in chosen(PLAN, "rabbitmq", "", False)} == {"rabbitmq"}
    assert len(chosen(PLAN, "", "", True)) < len(chosen(PLAN, "", "", False))


def test_every_environment_is_known() -> None:
    used = {system.environment for row in PLAN for system in row.systems}
    assert used == {*PACKAGES, "kernel"}
