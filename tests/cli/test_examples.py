"""Each example, run as its own first lines say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
Run = Callable[..., str]

pytestmark = pytest.mark.usefixtures("shop")


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Runs `kernel worker EXAMPLE` and `python EXAMPLE` in an empty directory; returns what the latter prints."""
    workers: list[subprocess.Popen[bytes]] = []

    def both(name: str, *arguments: str, worker: tuple[str, ...] = ()) -> str:
        file = str(EXAMPLES / name)
        command = [sys.executable, "-m", "kernel.cli.main", "worker", file, *worker, "--logfile", "worker.log"]
        workers.append(subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL))
        program = [sys.executable, file, *arguments]
        done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False)
        assert done.returncode == 0, done.stderr + (tmp_path / "worker.log").read_text()
        return done.stdout

    yield both
    for program in workers:
        program.send_signal(signal.SIGTERM)
        try:
            program.wait(20)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()
            raise


def test_hello(run: Run) -> None:
    assert run("hello.py") == "Hello, world!\n"


def test_retries(run: Run, tmp_path: Path) -> None:
    assert run("retries.py").splitlines() == [
        "fetch:  order 7 after 2 retries",
        "charge: retries.GatewayDown: no answer for order 8",
    ]
    assert kernel(tmp_path, "dead", "list", "-A", str(EXAMPLES / "retries.py")).count("retries.charge") == 1
    command = ("dead", "requeue", "-A", str(EXAMPLES / "retries.py"), "--task", "retries.charge")
    assert kernel(tmp_path, *command) == "requeued 1 letter\n"


def kernel(place: Path, *arguments: str) -> str:
    """What a command prints when it succeeds."""
    command = [sys.executable, "-m", "kernel.cli.main", *arguments]
    return subprocess.run(command, cwd=place, env=os.environ, capture_output=True, text=True, check=True).stdout


def test_fan_out(run: Run) -> None:
    assert run("fan_out.py", "100", worker=("--pool", "asyncio")) == "100 look-ups, sum of squares 328350\n"


def test_word_count(run: Run, tmp_path: Path) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    for number in range(50):
        (texts / f"{number}.txt").write_text("the quick fox, the end\n")
    lines = run("word_count.py", "texts", worker=("--processes", "2")).splitlines()
    assert lines[0] == "50 files in 3 tasks, 250 words, 4 different"
    assert lines[1].split() == ["100", "the"]


def test_every_example_is_run() -> None:
    source = Path(__file__).read_text()
    assert all(f'run("{example.name}"' in source for example in EXAMPLES.glob("*.py"))
