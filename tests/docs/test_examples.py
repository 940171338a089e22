"""The documentation is true: every example is run, every command is one, and every link leads somewhere."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import click
import pytest
from cli.reference import commands
from click.testing import CliRunner
from docs.configuration import DOCUMENT, MARK, rendered
from docs.pages import PAGES, ROOT, Block, blocks, title

from docs import figures
from kernel.cli.main import cli
from kernel.configuration.config import Config
from kernel.hooks import Specs
from kernel.options import CallOptions, TaskOptions
from kernel.outcome import State
from kernel.request import Request

#: What becomes of a block, by its language: run, parsed, or read by people only because it is output or a grammar.
CHECKED = {"python", "console", "toml", "ini", "dockerfile"}
SHOWN = {"text", "json", "yaml"}
#: First words of commands that are not ours to try.
FOREIGN = {"pip", "make", "git", "systemctl", "docker", "pytest", "kill", "rabbitmqadmin"}
#: Pages whose commands are run for real, in the order in which a reader meets them.
FIRST_PAGES = [ROOT / "README.md", ROOT / "docs/guide/first-steps.md"]
BIN = Path(sys.executable).parent
#: Seconds that one page may take.
PATIENCE = 50

#: Pages whose Python is that of files which other tests run; what compares the two must name the page.
ELSEWHERE = {ROOT / "docs/write-an-adapter.md": ROOT / "tests/conformance/test_docs.py"}
WITH_PYTHON = [page for page in PAGES if any(block.language == "python" for block in blocks(page))]


def pages(*languages: str) -> list[tuple[Path, Block]]:
    """Every block in one of these languages that is not excused, with its page."""
    return [(page, each) for page in PAGES for each in blocks(page) if each.language in languages and not each.excuse]


def environment() -> dict[str, str]:
    """For a program that a page starts: our `kernel` and `python` come first, no settings of this machine."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("KERNEL_")}
    path = os.pathsep.join([str(BIN), ours.get("PATH", "")])
    places = os.pathsep.join(str(ROOT / place) for place in (".", "adapters", "tests"))
    return {**ours, "PATH": path, "PYTHONPATH": places, "COLUMNS": "100"}


# -- blocks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [page for page in WITH_PYTHON if page not in ELSEWHERE], ids=title)
def test_the_python_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", str(ROOT / "tests/docs/read_along.py"), str(page)]
    given = {**environment(), "KERNEL_TRANSPORT": "memory://docs"}
    done = subprocess.run(command, cwd=tmp_path, env=given, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("page", "block"), pages("toml"), ids=lambda each: title(each) if each in PAGES else "")
def test_a_configuration_is_one(page: Path, block: Block, tmp_path: Path) -> None:
    table = tomllib.loads(block.text)
    if "project" not in table:  # what packages say of themselves is no configuration of ours
        file = tmp_path / ("pyproject.toml" if "tool" in table else "kernel.toml")
        file.write_text(block.text, "utf-8")
        assert Config.load(environ={}, file=file).sources


def lines(block: Block) -> list[list[str]]:
    """The commands of a block as words, environment variables before them left out."""
    text = block.text.replace("\\\n", " ")
    if block.language == "console":
        found = [shlex.split(line, comments=True) for line in text.splitlines()]
    elif block.language == "ini":
        found = [shlex.split(line) for line in re.findall(r"^Exec\w*=(.*)$", text, re.M)]
    else:
        found = [json.loads(words) for words in re.findall(r"^(?:CMD|ENTRYPOINT) (\[.*\])$", text, re.M)]
    found = [[word for word in words if not re.match(r"[A-Z_]+=", word)] for words in found]
    return [[words[0].rpartition("/")[2], *words[1:]] for words in found if words]


@pytest.fixture
def harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands are parsed and not run."""
    everything: list[click.Command] = [cli, *(command for _, command in commands(cli))]
    for command in everything:
        monkeypatch.setattr(command, "callback", lambda **_: None)


@pytest.mark.usefixtures("harmless")
@pytest.mark.parametrize("page", PAGES, ids=title)
def test_the_commands_of_a_page_are_commands(page: Path) -> None:
    for block in blocks(page):
        for words in lines(block) if block.language in CHECKED - {"python", "toml"} and not block.excuse else ():
            if words[0] == "kernel":
                result = CliRunner().invoke(cli, words[1:])
                assert result.exit_code == 0, f"{page}:{block.line}: {shlex.join(words)}\n{result.output}"
            else:
                assert words[0] in FOREIGN | {"python"}, f"{page}:{block.line}: what is {words[0]}?"


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[tuple[Path, list[subprocess.Popen[bytes]]]]:
    """An empty directory, and the workers that were started in it."""
    workers: list[subprocess.Popen[bytes]] = []
    yield tmp_path, workers
    for worker in workers:
        worker.terminate()
    for worker in workers:
        worker.wait(20)


@pytest.mark.parametrize("page", FIRST_PAGES, ids=title)
def test_the_first_pages_work_as_written(page: Path, shell: tuple[Path, list[subprocess.Popen[bytes]]]) -> None:
    place, workers = shell
    for block in blocks(page):
        if block.file:
            (place / block.file).write_text(block.text, "utf-8")
        for words in lines(block) if block.language == "console" else ():
            if words[:2] == ["kernel", "worker"]:
                workers.append(subprocess.Popen(words, cwd=place, env=environment(), stderr=subprocess.DEVNULL))
            elif words[0] not in FOREIGN:
                done = subprocess.run(words, cwd=place, env=environment(), capture_output=True, text=True, timeout=30)
                assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}{done.stderr}"
    assert workers, "the page starts no worker"


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent.name in ("guide", ROOT.name)], ids=title)
def test_every_block_is_checked_or_says_why_not(page: Path) -> None:
    for block in blocks(page):
        assert block.excuse or block.language in CHECKED | SHOWN, f"{page}:{block.line}: a block in no known language"
        assert not block.excuse or block.language in CHECKED, f"{page}:{block.line}: this is not run anyway"
    assert any(block.language in CHECKED and not block.excuse for block in blocks(page)), "nothing here is checked"


# -- pages ---------------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """What `#...` may follow the name of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text("utf-8"), flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        other = (page.parent / name).resolve() if name else page
        assert other.exists(), f"{target}: no such file"
        assert not anchor or anchor in anchors(other), f"{target}: no such heading"


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("tasks.md", {*TaskOptions.__annotations__, *(name for name in vars(Request) if name[0] != "_"), "bind"}),
        ("calling.md", set(CallOptions.__annotations__)),
        ("plugins.md", {name for name in vars(Specs) if name.startswith("kernel_")}),
        ("results.md", set(get_args(State))),
    ],
)
def test_nothing_is_left_out(page: str, names: set[str]) -> None:
    text = (ROOT / "docs/guide" / page).read_text("utf-8")
    assert not {name for name in names if not re.search(rf"\b{name}\b", text)}


def test_what_is_not_run_here_is_compared_elsewhere() -> None:
    assert all(page in PAGES and page.name in test.read_text("utf-8") for page, test in ELSEWHERE.items())


def test_every_page_of_the_guide_is_in_the_index() -> None:
    index = (ROOT / "docs/index.md").read_text("utf-8")
    for page in (ROOT / "docs/guide").glob("*.md"):
        assert f"(guide/{page.name})" in index


def test_the_table_of_settings_is_the_code() -> None:
    table = DOCUMENT.read_text("utf-8").partition(MARK)[2]
    assert table == rendered(), "run: python tests/docs/configuration.py"
    assert table.count("\n| `") == len(Config().describe())


def test_the_figures_are_those_that_were_measured() -> None:
    text = figures.DOCUMENT.read_text("utf-8")
    table = text.partition(figures.BEGIN)[2].partition(figures.END)[0]
    assert table.strip() == figures.rendered().strip(), "run: python tests/docs/figures.py"
    assert not re.search(r"^\| [^|]+ \|  \|", table, re.M), "a table of the benchmarks has another name now"
