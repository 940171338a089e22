"""The program as a whole: help, errors, exit statuses, and what it does not import."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from cli.shop import Shop
from click.testing import CliRunner

from kernel import hooks
from kernel.cli.main import COMMANDS, cli
from kernel.cli.output import fault, printable
from kernel.errors import ConfigError, KernelError, PartialSend, Rejected, ResultTimeout, Unavailable

Write = Callable[[str, str], Path]


def all_commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    """Every command with its path."""
    found: list[tuple[tuple[str, ...], click.Command]] = []
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        found.append(((*path, name), command))
        if isinstance(command, click.Group):
            found += all_commands(command, (*path, name))
    return found


@pytest.mark.parametrize(
    ("path", "command"), all_commands(cli), ids=lambda value: "-".join(value) if isinstance(value, tuple) else ""
)
def test_every_command_has_help_worth_reading(path: tuple[str, ...], command: click.Command) -> None:
    result = CliRunner().invoke(cli, [*path, "--help"])
    assert result.exit_code == 0
    assert command.help
    for parameter in command.params:
        assert not isinstance(parameter, click.Option) or parameter.help, f"{path} {parameter.name}"


def test_help_lists_commands_and_exit_statuses() -> None:
    output = CliRunner().invoke(cli, ["--help"]).output
    assert all(f"  {name}  " in output for name in COMMANDS)
    for line in ("0    done", "1    what was asked for failed", "2    wrong usage", "3    a service is unavailable"):
        assert line in output


def test_help_imports_no_command() -> None:
    program = (
        "import sys\nfrom kernel.cli.main import cli\n"
        "try: cli(['--help'])\nexcept SystemExit: pass\n"
        "print([name for name in ('kernel.cli.worker', 'kernel.cli.demo', 'rich', 'asyncio', 'kernel.worker') "
        "if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize(
    ("error", "line", "status"),
    [
        (ConfigError("no such thing"), "no such thing", 2),
        (Unavailable("away\n  for\nnow"), "away for now", 3),
        (PartialSend({0: Unavailable("full")}), "1 messages not sent: full", 3),
        (PartialSend({0: Rejected("large")}), "1 messages not sent: large", 1),
        (ResultTimeout("still PENDING"), "still PENDING", 4),
        (KernelError(), "KernelError", 1),
    ],
)
def test_an_error_is_one_line_and_a_status(error: KernelError, line: str, status: int) -> None:
    found = fault(error)
    assert (found.message, found.exit_code) == (line, status)


def test_an_error_goes_to_stderr_without_a_traceback(shop: Shop) -> None:
    result = CliRunner().invoke(cli, ["queues", "--transport", "nosuch://here"])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: unknown transport 'nosuch'")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("how", [["--traceback"], []])
def test_a_traceback_is_there_for_who_asks(shop: Shop, how: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    if not how:
        monkeypatch.setenv("KERNEL_DEBUG", "1")
    result = CliRunner().invoke(cli, [*how, "queues", "--transport", "nosuch://here"])
    assert isinstance(result.exception, ConfigError)


def test_a_service_that_is_away_is_status_3(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "no.db").mkdir()
    result = CliRunner().invoke(cli, ["queues", "--transport", "sqlite:///no.db"])
    assert result.exit_code in (2, 3)
    assert result.stderr.startswith("error: ")


def test_wrong_usage_is_status_2() -> None:
    assert CliRunner().invoke(cli, ["queues", "--nosuch"]).exit_code == 2
    assert CliRunner().invoke(cli, ["nosuch"]).exit_code == 2


def test_the_application_may_stand_before_or_behind_the_command(shop: Shop, written: Write) -> None:
    written("first_app1.py", f"from kernel import Kernel\napp = Kernel('a', transport={shop.url!r}, queue='one')\n")
    written("second_app1.py", f"from kernel import Kernel\napp = Kernel('b', transport={shop.url!r}, queue='two')\n")
    for arguments in (["-A", "second_app1", "queues"], ["-A", "first_app1", "queues", "-A", "second_app1"]):
        result = CliRunner().invoke(cli, arguments)
        assert "two" in result.output, result.output


def test_the_application_of_the_environment_gives_way(
    shop: Shop, written: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    written("third_app1.py", f"from kernel import Kernel\napp = Kernel('c', transport={shop.url!r}, queue='three')\n")
    monkeypatch.setenv("KERNEL_APP", "third_app1")
    assert "three" in CliRunner().invoke(cli, ["queues"]).output
    assert CliRunner().invoke(cli, ["-A", "no_such_app1", "queues"]).exit_code == 2


def test_the_command_line_wins_over_what_a_module_read_while_it_was_imported(shop: Shop, written: Write) -> None:
    written("eager_app1.py", "from kernel import Kernel\napp = Kernel('eager')\nassert app.config\n")
    found = json.loads(shop.run("-A", "eager_app1", "config", "--json").stdout)
    assert found["transport"] == {"value": shop.url, "source": "command line"}


def test_a_module_that_fails_shows_its_last_lines(shop: Shop, written: Write) -> None:
    written("broken_app1.py", "def connect():\n    raise OSError('no database')\nconnect()\n")
    result = CliRunner().invoke(cli, ["-A", "broken_app1", "queues"])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: broken_app1 cannot be imported: OSError: no database\n")
    assert "connect()" in result.stderr


def test_a_configuration_file_by_name(shop: Shop, written: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERNEL_CONFIG", "none")  # restored after the test, because the command sets it
    written("other.toml", f"transport = {shop.url!r}\nqueue = 'filed'\n")
    assert "filed" in CliRunner().invoke(cli, ["queues", "--config", "other.toml"]).output
    assert CliRunner().invoke(cli, ["queues", "--config", "missing.toml"]).exit_code == 2


def test_settings_are_shown_with_their_source(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERNEL_RESULT_EXPIRES", "60")
    found = shop.json("config")
    assert found["transport"] == {"value": shop.url, "source": "command line"}
    assert found["result_expires"] == {"value": 60.0, "source": "KERNEL_RESULT_EXPIRES"}
    assert found["lease"]["source"] == "default"
    assert "KERNEL_RESULT_EXPIRES" in shop.run("config").output


def test_settings_with_a_structure_are_shown_as_they_are_written(shop: Shop, written: Write) -> None:
    written(
        "kernel.toml",
        """
        declared_queues = ["mail", { name = "all", broadcast = true }]
        routes = { "shop.*" = { queue = "mail", priority = 5 }, "re:x" = "mail" }
        annotations = { "shop.pay" = { priority = 9 } }
        """,
    )
    shown = shop.run("config").output
    assert '["shop.*", {"queue": "mail", "priority": 5}], ["re:x", {"queue": "mail"}]' in shown
    assert '{"shop.pay": {"priority": 9}}' in shown
    assert shop.json("config")["declared_queues"]["value"] == [{"name": "mail"}, {"name": "all", "broadcast": True}]
    assert {queue["queue"] for queue in shop.json("queues")} >= {"mail", "all", "default"}


def test_a_report_says_what_was_set_and_no_secret(shop: Shop) -> None:
    report = shop.run("report", "--results", "redis://me:secret@here").output
    assert "setting" in report
    assert "redis://me:***@here" in report
    assert "secret" not in report


def test_secrets_of_urls_are_masked(shop: Shop) -> None:
    result = CliRunner().invoke(cli, ["config", "--transport", shop.url, "--results", "redis://me:secret@here"])
    assert "redis://me:***@here" in result.output


def test_plugins_bring_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command(help="Say hello.")
    def greet() -> None:
        click.echo("hello")

    @click.command()
    def worker() -> None:
        """Takes no name that is ours."""

    class Plugin:
        @hooks.hookimpl
        def kernel_cli_commands(self) -> list[click.Command]:
            return [greet, worker]

    load = hooks.Hooks.load
    monkeypatch.setattr(hooks.Hooks, "load", classmethod(lambda cls, *given: load([Plugin()])))
    assert "greet     Say hello." in CliRunner().invoke(cli, ["--help"]).output
    assert CliRunner().invoke(cli, ["greet"]).output == "hello\n"
    assert "MODULE:APP" in CliRunner().invoke(cli, ["worker", "--help"]).output


def test_a_broken_plugin_takes_no_other_command_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> hooks.Hooks:
        raise ConfigError("plugin 'x' does not fit")

    monkeypatch.setattr(hooks.Hooks, "load", broken)
    result = CliRunner().invoke(cli, ["--help"])
    assert result.exit_code == 0
    assert "warning: commands of plugins are missing: plugin 'x' does not fit" in result.stderr


def test_a_plugin_that_fails_takes_no_other_command_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Plugin:
        @hooks.hookimpl
        def kernel_cli_commands(self) -> list[click.Command]:
            raise LookupError("no commands today")

    load = hooks.Hooks.load
    monkeypatch.setattr(hooks.Hooks, "load", classmethod(lambda cls, *given: load([Plugin()])))
    result = CliRunner().invoke(cli, ["--help"])
    assert result.exit_code == 0
    assert "warning: commands of plugins are missing: LookupError: no commands today" in result.stderr


def test_adapters_are_listed_with_features_and_remedies(shop: Shop) -> None:
    # In a process of its own, because it imports every client library that is installed.
    command = [sys.executable, "-m", "kernel.cli.main", "adapters"]
    shown = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    found = json.loads(shown.stdout)
    rows = {(row["port"], row["name"]): row for row in found}
    assert rows["transport", "memory"]["features"]["survives"] == "process"
    assert rows["transport", "sqlite"]["features"]["lease"] == 60.0
    assert rows["pool", "solo"]["distribution"] == "kernelq"
    assert rows["pool", "solo"]["error"] is None
    without = "import sys; sys.modules['gevent'] = None; from kernel.cli.main import main; main()"
    table = subprocess.run([sys.executable, "-c", without, "adapters"], capture_output=True, text=True, check=True)
    assert "pip install 'kernelq[gevent]'" in table.stdout
    assert shown.stderr == table.stderr == ""


def test_what_a_stranger_sent_cannot_steer_the_terminal() -> None:
    assert printable("a\x1b[2Jb\u202e\r\udcff\n") == "a\\x1b[2Jb\\u202e\\r\\udcff\n"
