"""Somebody else's package, in an environment of its own: found, used by a worker, and held to the contract.

Nothing is on the path but what was installed, so a file that the wheel lacks, or a door that only our own adapters
can use, fails here.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from support import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "kernel", "adapters", "plugins", "conformance")
TASKS = [f"task-{number}" for number in range(20)]


class Environment:
    """A virtual environment, and programs run in it from a directory without our sources."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.work = home / "work"
        self.variables = {
            key: value for key, value in os.environ.items() if not key.startswith(("KERNEL_", "PYTHON", "COV_"))
        }

    def path(self, program: str) -> str:
        return str(self.home / "venv" / "bin" / program)

    def run(self, *command: str, **more: str) -> str:
        done = subprocess.run(
            [self.path(command[0]), *command[1:]],
            cwd=self.work,
            env=self.variables | more,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """kernelq and the third party's package, installed as a user would."""
    made = Environment(tmp_path_factory.mktemp("thirdparty"))
    # A copy, because a build leaves files beside its sources.
    source = made.home / "source"
    source.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(ROOT / name, source / name)
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
    shutil.copytree(ROOT / "tests" / "thirdparty", made.work, ignore=ignored)
    venv.create(made.home / "venv", with_pip=False)
    link(made)
    pip = [sys.executable, "-m", "pip", "--python", made.path("python"), "--quiet", "--disable-pip-version-check"]
    # The backend once, in the environment itself: an isolated build installs it for each package.
    for what in (["setuptools>=77"], ["--no-build-isolation", f"{source}[conformance]", "./"]):
        subprocess.run([*pip, "install", *what], cwd=made.work, env=made.variables, check=True)
    shutil.rmtree(source)
    shutil.rmtree(made.work / "src")
    return made


def link(made: Environment) -> None:
    """What other packages kernelq needs are those of this environment: to install them again takes a minute."""
    (site,) = (made.home / "venv").glob("lib/python*/site-packages")
    left = [Requirement(text) for text in metadata.requires("kernelq") or ()]
    found: set[str] = set()
    while left:
        wanted = left.pop()
        if wanted.marker and not any(wanted.marker.evaluate({"extra": extra}) for extra in ("", "conformance")):
            continue
        if wanted.name in found:
            continue
        found.add(wanted.name)
        package = metadata.distribution(wanted.name)
        left += [Requirement(text) for text in package.requires or ()]
        for top in {file.parts[0] for file in package.files or ()} - {"..", "__pycache__"}:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(package.locate_file(top))))


@contextmanager
def running(command: list[str], work: Path, variables: dict[str, str], log: Path) -> Iterator[None]:
    """A worker while the block runs; then TERM, and it must end in good order."""
    with log.open("wb") as output:
        worker = subprocess.Popen(command, cwd=work, env=variables, stdout=output, stderr=output)
    try:
        yield
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0, log.read_text()
    except AssertionError as error:
        error.add_note(log.read_text())
        raise
    finally:
        worker.kill()
        worker.wait()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"thirdparty://{tmp_path}/queues?lease=10"


def test_it_is_listed(environment: Environment) -> None:
    listed = json.loads(environment.run("kernel", "adapters", "--json"))
    theirs = {(entry["port"], entry["name"]) for entry in listed if entry["distribution"] == "kernel-thirdparty"}
    assert theirs == {("transport", "thirdparty"), ("serializer", "shout"), ("plugin", "thirdparty")}
    ours = {(entry["port"], entry["name"]) for entry in listed if entry["distribution"] == "kernelq"}
    assert {("transport", "sqlite"), ("result store", "sqlite"), ("pool", "solo"), ("serializer", "json")} <= ours


def test_its_command_is_there(environment: Environment) -> None:
    assert environment.run("kernel", "hello-thirdparty") == "hello from a third party\n"


def test_a_typing_error_in_its_scheme_is_helped(environment: Environment) -> None:
    code = "from kernel import Kernel; Kernel('x', transport='thirdpartie://x').ports"
    done = subprocess.run(
        [environment.path("python"), "-c", code], cwd=environment.work, capture_output=True, text=True, check=False
    )
    assert "unknown transport 'thirdpartie', did you mean 'thirdparty'?" in done.stderr


def test_a_worker_runs_tasks_through_it(environment: Environment, url: str, tmp_path: Path) -> None:
    notes, count, log = tmp_path / "notes", tmp_path / "count", tmp_path / "log"
    notes.mkdir()
    variables = environment.variables | {"THIRDPARTY_NOTES": str(notes), "THIRDPARTY_COUNT": str(count)}
    send = f"from tasks import note\nfor name in {TASKS}: note.delay(name)"
    environment.run("python", "-c", send, KERNEL_TRANSPORT=url)
    with running(
        [environment.path("kernel"), "worker", "tasks:app", f"--transport={url}"], environment.work, variables, log
    ):
        eventually(lambda: len(os.listdir(notes)) == len(TASKS), timeout=60.0, what="all tasks have run")
    assert sorted(os.listdir(notes)) == sorted(TASKS)
    assert count.read_text() == f"note SUCCESS {len(TASKS)}\n", log.read_text()
    left = [name for _, _, names in os.walk(tmp_path / "queues") for name in names]
    assert left == []


def test_it_keeps_the_contract(environment: Environment) -> None:
    environment.run("python", "-m", "pytest", "-q", "conformance.py")
