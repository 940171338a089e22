"""docs/cli.md says what the program does: its reference is the help, and its examples are commands."""

from __future__ import annotations

import re
import shlex

import click
import pytest
from cli.reference import DOCUMENT, MARK, commands, rendered
from click.testing import CliRunner

from kernel.cli.main import cli

TEXT = DOCUMENT.read_text("utf-8")
EXAMPLES = sorted(set(re.findall(r"^ *(kernel [a-z].*)$", TEXT.partition(MARK)[0], re.M))) + sorted(
    {line for _, command in commands(cli) for line in re.findall(r"^ *(kernel .*)$", command.help or "", re.M)}
)


def test_the_reference_is_the_help() -> None:
    assert TEXT.partition(MARK)[2] == rendered(), "run: python tests/cli/reference.py"


@pytest.fixture
def harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands are parsed and not run."""
    everything: list[click.Command] = [cli, *(command for _, command in commands(cli))]
    for command in everything:
        monkeypatch.setattr(command, "callback", lambda **_: None)


@pytest.mark.usefixtures("harmless")
@pytest.mark.parametrize("line", EXAMPLES)
def test_an_example_is_a_command(line: str) -> None:
    result = CliRunner().invoke(cli, shlex.split(line)[1:])
    assert result.exit_code == 0, result.output


def test_there_are_examples_to_check() -> None:
    assert len(EXAMPLES) > 20
