"""docs/from-celery.md has a row for every name of Celery, and every name in the column "here" is one."""

from __future__ import annotations

import builtins
import importlib
import inspect
import re
import shlex
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, NamedTuple, get_args

import click
import pytest
from docs.celery_names import NAMES
from docs.pages import ROOT

import kernel
from kernel import errors, fixtures
from kernel.cli.main import cli
from kernel.configuration.config import Config
from kernel.hooks import Specs
from kernel.options import CallOptions, TaskOptions
from kernel.outcome import State
from kernel.request import Request

PAGE = ROOT / "docs/from-celery.md"
#: What the column "here" says without a name: nothing, with a reason beside it; nothing so far; what the URL has.
NONE, LATER, IN_URL = "none", "not in this release", "options in the URL"


class Row(NamedTuple):
    """One line of a table."""

    heading: str
    line: int
    cells: list[str]

    def spans(self, column: int) -> list[str]:
        """What is written as code in a cell."""
        return [span.replace("\\|", "|") for span in re.findall(r"`([^`]+)`", self.cells[column])]

    def __str__(self) -> str:
        return f"{PAGE.name}:{self.line}: {self.cells[0]}"


def _rows() -> Iterator[Row]:
    heading, inside = "", False
    for number, line in enumerate(PAGE.read_text("utf-8").splitlines(), 1):
        if line.startswith("## "):
            heading = line.removeprefix("## ")
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if cells and not line.startswith("|---") and inside:
            yield Row(heading, number, cells)
        inside = bool(cells)


ROWS = list(_rows())
#: Headings of tables with what is there on the left and what is here beside it.
TRANSLATED = [*NAMES, "Command line and workers"]


# -- what a name in the column "here" can be -----------------------------------------------------------------


@cache
def _owners() -> dict[str, Any]:
    """What stands before a dot: objects of the kind, because some attributes are made with them."""
    app = kernel.Kernel("page", transport="memory://from-celery")
    task = app.task(name="page.task")(lambda: None)
    signature = importlib.import_module("kernel.canvas").signature("page.task")
    owners: dict[str, Any] = {"app": app, "Task": task, "AsyncResult": app.result("1"), "Signature": signature}
    for name in ("GroupResult", "ResultSet", "EagerResult"):
        owners[name] = getattr(kernel, name, None)
    return {**owners, "request": Request, "kernel": kernel}


def _members(owner: Any) -> set[str]:
    kind = owner if isinstance(owner, type) else type(owner)
    made = inspect.signature(kind).parameters if isinstance(owner, type) else ()
    return {*dir(owner), *getattr(kind, "__annotations__", ()), *made}


def _settings() -> set[str]:
    return {setting.key for setting in Config().describe()}


def _words() -> set[str]:
    """Names that need no owner: settings, options, hooks, fixtures, states, errors."""
    given = {name for name in (*vars(Specs), *vars(fixtures)) if name.startswith("kernel_")}
    options = {
        *TaskOptions.__annotations__,
        *CallOptions.__annotations__,
        *inspect.signature(kernel.Kernel.task).parameters,
    }
    return {*given, *options, *_settings(), *get_args(State), *dir(errors)} - {*dir(builtins)}


def _settled(path: str) -> Any:
    """What a dotted path leads to; raises where it leads nowhere."""
    first, *rest = path.split(".")
    found = _owners()[first]
    for at, name in enumerate(rest, 1):
        if inspect.ismodule(found):
            found = getattr(found, name, None) or importlib.import_module(".".join([first, *rest[:at]]))
        elif name not in _members(found):
            raise AttributeError(path)
        else:  # a property may do more than can be done here
            found = inspect.getattr_static(found, name, None)
    return found


def _takes(function: Any, keywords: list[str]) -> bool:
    parameters = inspect.signature(function).parameters
    return all(keyword in parameters for keyword in keywords)


def _commanded(words: list[str]) -> bool:
    """Whether a command, and each of its options, is there; options alone are those of any command."""
    group: click.Command | None = cli
    while words and not words[0].startswith("-"):
        if not isinstance(group, click.Group):
            return False
        group = group.get_command(click.Context(group), words.pop(0))
    commands = [group] if group is not cli else [cli.get_command(click.Context(cli), "worker")]
    known = {option for command in commands if command for each in command.params for option in each.opts}
    return group is not None and all(word in known for word in words if word.startswith("-"))


def is_there(span: str) -> bool:
    """Whether what is written as code in the column "here" is a name that this release has."""
    if adapter := re.fullmatch(r"(redis|amqp|sqs)://\?(.+)=", span):
        page = {"redis": "redis.md", "amqp": "rabbitmq.md", "sqs": "sqs.md"}[adapter[1]]
        table = re.findall(r"^\| (`.*?) \|", (ROOT / "docs" / page).read_text("utf-8"), re.M)
        return any(f"`{adapter[2]}`" in cell for cell in table)
    if span.startswith(("kernel ", "-")):
        return _commanded(shlex.split(span.removeprefix("kernel ")))
    if span.startswith("KERNEL_"):
        return span == "KERNEL_CONFIG" or span.removeprefix("KERNEL_").lower() in _settings()
    name, _, given = span.partition("(")
    if "." not in name:
        return name.partition("=")[0] in _words()
    try:
        found = _settled(name)
        return not given.rstrip(")") or _takes(found, re.findall(r"(\w+)=", given))
    except (AttributeError, ImportError, KeyError):
        return False


# -- the page ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("heading", NAMES)
def test_every_name_of_celery_has_a_row(heading: str) -> None:
    written = [span for row in ROWS if row.heading == heading for span in row.spans(0)]
    patterns = [span for span in written if "*" in span]
    missing = [
        name
        for name in NAMES[heading].split()
        if name not in written and not any(fnmatchcase(name, pattern) for pattern in patterns)
    ]
    assert not missing
    assert not [span for span in written if written.count(span) > 1], "two rows say what becomes of it"


@pytest.mark.parametrize("heading", TRANSLATED)
def test_what_is_here_is_here(heading: str) -> None:
    for row in ROWS:
        if row.heading == heading:
            here = row.spans(1)
            assert here or row.cells[1] in (NONE, LATER, IN_URL), f"{row}: says nothing that could be looked up"
            missing = [span for span in here if not is_there(span)]
            assert not missing, str(row)
            # A setting of Celery that is another thing here says so.
            others = set(here) - _settings() if heading == "Settings" else set()
            assert all("?" in span or re.search("option|hook", row.cells[2]) for span in others), row


#: What stands before a name of Celery where it would be looked for here.
OWNERS = {"Settings": "", "Options of a task": "", "Options of a call": "", "Tasks": "Task.", "The request": "request."}


def test_what_is_not_here_is_not_here() -> None:
    """A row that has become too modest is to say what is here."""
    for row in ROWS:
        if row.cells[1] in (NONE, LATER) and row.heading in {*OWNERS, "Result objects"}:
            there = [span for span in row.spans(0) if is_there(OWNERS.get(row.heading, "") + span)]
            assert not there, str(row)


def test_known_pains_are_complete_and_shown() -> None:
    pains = [row for row in ROWS if row.heading == "Known pains"]
    assert [row.cells[0] for row in pains] == [str(number) for number in range(1, 44)]
    for row in pains:
        paths = row.spans(3)
        assert row.cells[2] == LATER or paths or "](" in row.cells[3], f"{row}: shown by nothing"
        assert all((ROOT / path).exists() for path in paths), str(row)
