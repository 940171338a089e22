"""`kernel worker` as a real program."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from support import eventually

from kernel import Kernel
from kernel.cli.main import cli
from kernel.cli.worker import _importable, _keys
from kernel.errors import ConfigError

Write = Callable[[str, str], Path]
Start = Callable[..., "subprocess.Popen[str]"]

TASKS = """
import os
from kernel import Kernel, get_task_logger
app = Kernel("jobs")
log = get_task_logger(__name__)

@app.task
def add(a, b):
    log.info("adding")
    print("printed")
    return a + b

@app.task
def pid():
    return os.getpid()
"""

ERRORS = "errors.txt"

pytestmark = pytest.mark.usefixtures("shop")


@pytest.fixture
def start(written: Write, tmp_path: Path) -> Iterator[Start]:
    """Starts `kernel worker` on jobs.py and jobs.db; ends it after the test."""
    written("jobs.py", TASKS)
    running: list[subprocess.Popen[str]] = []

    def run(*arguments: str, module: str = "jobs") -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "kernel.cli.main", "worker", *filter(None, [module]), *arguments]
        environment = {**os.environ, "KERNEL_TRANSPORT": "sqlite:///jobs.db"}
        # Errors go to a file, so that a test can wait for something to be said.
        with (tmp_path / ERRORS).open("w") as errors:
            program = subprocess.Popen(
                command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        running.append(program)
        return program

    yield run
    for program in running:
        program.kill()
        program.communicate()


def stopped(program: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Status, output and errors of a worker that is told to stop."""
    program.send_signal(signal.SIGTERM)
    return ended(program)


def ended(program: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Status, output and errors of a worker that ends by itself."""
    out, _ = program.communicate(timeout=20)
    return program.returncode, out, Path(ERRORS).read_text()


def test_a_worker_runs_tasks_and_stops(start: Start, tmp_path: Path) -> None:
    program = start("-P", "2", "-Q", "mail:5,default:1")
    eventually(lambda: Path(ERRORS).read_text().count(" ready after ") == 2, 15.0, "both processes are ready")
    with Kernel("caller", transport=f"sqlite:///{tmp_path}/jobs.db") as app:
        assert app.send_task("jobs.add", (1, 2)).get(15) == 3
        assert app.send_task("jobs.add", (1, 2), queue="mail").get(15) == 3
    status, out, err = stopped(program)
    assert status == 0
    assert out == "printed\n" * 2, "standard output is the tasks' own"
    for text in (
        "application jobs",
        "sqlite:///jobs.db",
        "mail:5, default:1 (fair turns)",
        "each of 2 processes",
        "2: jobs.add, jobs.pid",
    ):
        assert text in err
    assert err.count("application jobs") == 1, "one process introduces all"
    assert "jobs.add adding" in err
    assert "jobs.add SUCCESS in " in err


def test_json_logs_go_to_a_file(start: Start, tmp_path: Path) -> None:
    program = start("--log-format", "json", "--logfile", "worker.log")
    with Kernel("caller", transport=f"sqlite:///{tmp_path}/jobs.db") as app:
        result = app.send_task("jobs.add", (1, 2))
        assert result.get(15) == 3
    stopped(program)
    records = [json.loads(line) for line in (tmp_path / "worker.log").read_text().splitlines()]
    mine = [record for record in records if record["task_id"] == result.id]
    assert [record["logger"] for record in mine] == ["kernel.task.jobs", "kernel.worker"]
    assert mine[1]["state"] == "SUCCESS"


def test_the_obvious_application_and_preload(start: Start, tmp_path: Path) -> None:
    (tmp_path / "jobs.py").rename(tmp_path / "tasks.py")
    program = start("--preload", "--pool", "prefork", "-c", "2", module="")
    with Kernel("caller", transport=f"sqlite:///{tmp_path}/jobs.db") as app:
        assert app.send_task("tasks.pid").get(15) != program.pid
    assert stopped(program)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["nosuch_jobs"], "no module 'nosuch_jobs'"),
        (["jobs:nothing"], "jobs has no attribute 'nothing'"),
        (["jobs", "--transport", "nosuch://x"], "unknown transport 'nosuch'"),
        (["jobs", "--pool", "thread"], "did you mean 'threads'?"),
        (["jobs", "-Q", "a:0"], "whole weight from 1"),
    ],
)
def test_what_cannot_be_is_said_once_and_is_status_2(start: Start, arguments: list[str], text: str) -> None:
    program = start(*arguments[1:], "-P", "2", module=arguments[0])
    status, _, err = ended(program)
    assert status == 2
    assert err.count(text) == 1, err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--grace", "x"], "not a valid float"),
        (["--lease", "0"], "command line: lease must be 0.1 or more"),
        (["--log-format", "xml"], "log_format must be one of text, json"),
        (["--pool", "prefork", "-P", "2"], "leave out --processes"),
        (["--preload", "-A", "else/where.py"], "write module:attribute"),
    ],
)
def test_options_are_checked_before_anything_starts(arguments: list[str], text: str) -> None:
    result = CliRunner().invoke(cli, ["worker", "-A", "jobs", *arguments])
    assert result.exit_code == 2
    assert text in result.stderr


def test_a_worker_without_an_application() -> None:
    result = CliRunner().invoke(cli, ["worker"])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: no application: name one with --app")


def test_prefork_is_solo_in_many_processes() -> None:
    assert _keys({"pool": "prefork", "concurrency": 8, "processes": None}) == {"pool": "solo", "processes": 8}
    assert _keys({"pool": "prefork"}) == {"pool": "solo", "processes": os.cpu_count()}
    assert _keys({"pool": "threads", "concurrency": 8}) == {"pool": "threads", "concurrency": 8}


def test_what_a_template_imports(written: Write) -> None:
    written("local.py", "")
    assert _importable("shop.tasks:app") == "shop.tasks:app"
    assert _importable("shop.tasks") == "shop.tasks:__name__"
    assert _importable("local.py:app") == "local:app"
    with pytest.raises(ConfigError):
        _importable("src/local.py")


def test_a_worker_survives_the_death_of_a_process(start: Start, tmp_path: Path) -> None:
    program = start()
    with Kernel("caller", transport=f"sqlite:///{tmp_path}/jobs.db") as app:
        first = app.send_task("jobs.pid").get(15)
        os.kill(first, signal.SIGKILL)
        second = app.send_task("jobs.pid").get(15)
    assert second != first
    eventually(lambda: program.poll() is None, what="the worker runs")
    assert stopped(program)[0] == 0
