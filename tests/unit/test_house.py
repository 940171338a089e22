"""The rules of the house that no other tool checks."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import grimp
import pytest
from contracts import AllowedContract

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ROOMS = ("kernel", "adapters", "plugins", "conformance")
MOST_LINES = 400
LONGEST_FUNCTION = 60
#: Files and `file:function`s that may be longer, each with its reason.
LONGER: dict[str, str] = {}

TEXT = {".py", ".md", ".toml", ".ini", ".cfg", ".yml", ".yaml", ".txt", ".sh", ""}
SKIPPED = {".git", ".venv", ".tox", "build", "dist", "node_modules", "__pycache__"}
#: A path of somebody's machine, or a package index other than the default one. Written so that this line is none.
MACHINE = re.compile(r"(?<![\w.])/(?:root|home|Users|work)/\w|index[-]url|trusted[-]host|find[-]links|/[s]imple/")


def sources() -> Iterator[Path]:
    for room in ROOMS:
        yield from sorted((ROOT / room).rglob("*.py"))


def texts() -> Iterator[Path]:
    for folder, folders, files in os.walk(ROOT):
        folders[:] = sorted(
            name
            for name in folders
            if name not in SKIPPED and not name.endswith(("_cache", ".egg-info", ".hypothesis"))
        )
        for name in sorted(files):
            path = Path(folder, name)
            # Where the repository has several working trees, `.git` is a file.
            if name not in SKIPPED and path.suffix in TEXT and path.stat().st_size < 1_000_000:
                yield path


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def packages() -> list[Path]:
    found = [ROOT / "kernel"]
    for room in ROOMS[1:]:
        found += sorted(init.parent for init in (ROOT / room).glob("*/__init__.py"))
    return found


# -- size and content --------------------------------------------------------------------------------------


def test_no_file_is_too_long() -> None:
    sizes = {relative(path): path.read_text(encoding="utf-8").count("\n") for path in sources()}
    assert {name: size for name, size in sizes.items() if size > MOST_LINES and name not in LONGER} == {}


def test_no_function_is_too_long() -> None:
    found = {}
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                size = (node.end_lineno or node.lineno) - node.lineno + 1
                name = f"{relative(path)}:{node.name}"
                if size > LONGEST_FUNCTION and name not in LONGER:
                    found[name] = size
    assert found == {}


def test_no_exception_is_left_over() -> None:
    assert [name for name in LONGER if not (ROOT / name.split(":")[0]).exists()] == []


def test_no_file_names_a_machine() -> None:
    found = []
    for path in texts():
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        found += [f"{relative(path)}:{at}: {line[:100]}" for at, line in enumerate(lines, 1) if MACHINE.search(line)]
    assert found == []


@pytest.mark.parametrize("line", ["cd /home/" + "me/kernel", "--index-" + "url x", "https://host/" + "simple/ x"])
def test_the_pattern_for_machines_finds_some(line: str) -> None:
    assert MACHINE.search(line)


# -- packaging ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("package", packages(), ids=relative)
def test_every_package_is_typed(package: Path) -> None:
    assert (package / "py.typed").is_file()


def entry_points() -> Iterator[Any]:
    groups = {"console_scripts": PROJECT["project"]["scripts"], **PROJECT["project"]["entry-points"]}
    for group, entries in groups.items():
        for name, value in entries.items():
            yield pytest.param(EntryPoint(name, value, group), id=f"{group}:{name}")


@pytest.mark.parametrize("entry", list(entry_points()))
def test_every_entry_point_resolves(entry: EntryPoint) -> None:
    assert entry.load() is not None


def test_every_adapter_is_under_contract() -> None:
    roots = set(PROJECT["tool"]["importlinter"]["root_packages"])
    assert {package.name for package in packages()} <= roots


def test_a_changelog_fragment_is_named_after_its_issue_and_kind() -> None:
    kinds = "|".join(kind["directory"] for kind in PROJECT["tool"]["towncrier"]["type"])
    names = {path.name for path in (ROOT / "changelog").iterdir()} - {"template.md"}
    assert [name for name in sorted(names) if not re.fullmatch(rf"\d+\.({kinds})(\.\d+)?\.md", name)] == []


# -- commands ----------------------------------------------------------------------------------------------


def test_the_readme_names_the_commands() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [command for command in ("make demo", "make test") if command not in readme] == []


def test_ci_runs_the_documented_commands() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    lines = script.read_text(encoding="utf-8").splitlines()
    tests = next(at for at, line in enumerate(lines) if line.startswith("make test"))
    checks = next(at for at, line in enumerate(lines) if line.startswith("make check"))
    assert tests < checks
    assert "export CI=true" in lines[:tests]


def test_make_lists_its_targets_when_asked_for_nothing() -> None:
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, timeout=20, check=True)
    listed = set(re.findall(r"^make (\w+)", done.stdout, re.MULTILINE))
    assert listed >= {"demo", "test", "check", "bench", "help"}


def test_tox_has_no_commands_of_its_own() -> None:
    lines = (ROOT / "tox.ini").read_text(encoding="utf-8").splitlines()
    commands = [line for line in lines if line.startswith("commands")]
    assert len(commands) > 1
    assert [line for line in commands if not line.startswith("commands = make BIN={env_bin_dir}/ ")] == []


# -- the contract type of our own --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("importer", "imported", "kept"),
    [
        ("kernel.pools.solo", "kernel.ports.pool", True),
        ("kernel.pools.solo", "kernel.pools.loop", True),
        ("kernel.pools.solo", "gevent", True),
        ("kernel.pools.solo", "kernel.app", False),
        ("kernel.pools.solo", "kernel.portsmouth", False),
        ("kernel.poolside", "kernel.app", True),
    ],
)
def test_an_allow_list_allows_what_it_names(importer: str, imported: str, kept: bool) -> None:
    graph = grimp.ImportGraph()
    graph.add_module(importer)
    graph.add_module(imported)
    graph.add_import(importer=importer, imported=imported, line_number=1, line_contents="")
    options = {"sources": ["kernel.pools"], "among": ["kernel"], "allowed": ["kernel.ports"]}
    contract = AllowedContract(name="pools", session_options={}, contract_options=options)
    assert contract.check(graph, verbose=False).kept is kept
