"""Two type checkers see calls, results and options as their users are told that they are."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FILES = ("passes.py", "fails.py")
MARK = re.compile(r"#\s*refused: (?P<mypy>[\w-]+), (?P<pyright>\w+)$")

#: File, line, rule.
Finding = tuple[str, int, str]


def marked(checker: str) -> set[Finding]:
    """What the files say that a checker is to find in them."""
    return {
        (name, number, mark[checker])
        for name in FILES
        for number, line in enumerate((HERE / name).read_text("utf-8").splitlines(), 1)
        if (mark := MARK.search(line))
    }


def run(*command: str) -> str:
    """What a checker prints. It exits with 1 where it finds something."""
    environment = {**os.environ, "MYPYPATH": os.pathsep.join((str(ROOT), str(ROOT / "adapters")))}
    done = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True, timeout=110)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def by_mypy(cache: Path) -> Iterator[Finding]:
    options = ("--strict", "--output=json", "--config-file=", "--python-version=3.11", f"--cache-dir={cache}")
    for line in run(sys.executable, "-m", "mypy", *options, *FILES).splitlines():
        found = json.loads(line)
        if found["severity"] == "error":
            yield Path(found["file"]).name, found["line"], found["code"]


def by_pyright(program: str) -> Iterator[Finding]:
    report = json.loads(run(program, "--project", "pyrightconfig.json", "--outputjson", *FILES))
    for found in report["generalDiagnostics"]:
        if found["severity"] == "error":
            yield Path(found["file"]).name, found["range"]["start"]["line"] + 1, found["rule"]


def test_the_files_say_what_is_refused() -> None:
    assert len(marked("mypy")) == len(marked("pyright")) == sum(map(count, FILES)) > 30
    assert {name for name, _, _ in marked("mypy")} == {"fails.py"}


def count(name: str) -> int:
    return (HERE / name).read_text("utf-8").count("refused:")


def compare(found: set[Finding], checker: str) -> None:
    """Each line that is marked is refused by that rule, perhaps by another one as well, and no other line is."""
    wanted = marked(checker)
    lines = {(name, number) for name, number, _ in wanted}
    assert {each for each in found if each[:2] not in lines} == set(), "refused, and should not be"
    assert wanted - found == set(), "not refused, or by another rule"


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_mypy_sees_the_types(tmp_path: Path) -> None:
    compare(set(by_mypy(tmp_path)), "mypy")


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_pyright_sees_the_types() -> None:
    # basedpyright is pyright with a runtime of its own; pyright's package fetches one when it is started.
    program = shutil.which("basedpyright", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None and not os.environ.get("CI"):
        pytest.skip("basedpyright is not installed: pip install 'kernelq[dev]'")
    assert program is not None
    compare(set(by_pyright(program)), "pyright")
