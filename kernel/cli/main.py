"""`kernel`: the commands, loaded when they are used, and the exit status of each error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import click

from kernel.cli.context import Context
from kernel.cli.output import INTERRUPTED, Fault, fault
from kernel.errors import KernelError
from kernel.hooks import Hooks


class Lazy(NamedTuple):
    """A command that is not imported yet."""

    #: One line for `kernel --help`.
    help: str
    load: Callable[[], click.Command]


# Imports inside of functions, which the house avoids: `kernel --help` and shell completion need none of the commands,
# and each command needs only itself. By function and not by dotted string, so that type checkers and the import
# contracts see them.


def _worker() -> click.Command:
    from kernel.cli.worker import worker

    return worker


def _call() -> click.Command:
    from kernel.cli.call import call

    return call


def _result() -> click.Command:
    from kernel.cli.call import result

    return result


def _queues() -> click.Command:
    from kernel.cli.queues import queues

    return queues


def _dead() -> click.Command:
    from kernel.cli.dead import dead

    return dead


def _health() -> click.Command:
    from kernel.cli.health import health

    return health


def _relay() -> click.Command:
    from kernel.cli.relay import relay

    return relay


def _outbox() -> click.Command:
    from kernel.cli.relay import outbox

    return outbox


def _adapters() -> click.Command:
    from kernel.cli.adapters import adapters

    return adapters


def _config() -> click.Command:
    from kernel.cli.settings import config

    return config


def _report() -> click.Command:
    from kernel.cli.report import report

    return report


def _demo() -> click.Command:
    from kernel.cli.demo import demo

    return demo


COMMANDS = {
    "worker": Lazy("Run tasks.", _worker),
    "call": Lazy("Send one call of a task.", _call),
    "result": Lazy("Show or await the result of a call.", _result),
    "queues": Lazy("Show how full queues are; peek into, purge and move them.", _queues),
    "dead": Lazy("List, show, requeue and purge dead letters.", _dead),
    "health": Lazy("Ask a worker whether it is alive, or ready.", _health),
    "relay": Lazy("Send what is in an outbox.", _relay),
    "outbox": Lazy("Show what is in an outbox; print or make its tables.", _outbox),
    "adapters": Lazy("List what is installed: adapters, pools, serializers, plugins.", _adapters),
    "config": Lazy("Show every setting and where its value comes from.", _config),
    "report": Lazy("Print versions, plugins and settings, for a report of a fault.", _report),
    "demo": Lazy("Hash a directory tree with two worker processes and check the result.", _demo),
}

EPILOG = """\
\b
Exit status:
  0    done
  1    what was asked for failed: a task failed, nothing was found
  2    wrong usage or configuration
  3    a service is unavailable
  4    not in time: the result is not there yet
  130  interrupted
  81   worker: start after start failed
  83   worker: told to stop, and had to kill a process whose deadlines passed

\b
Examples:
  kernel worker shop.tasks -c 8 --pool prefork
  kernel call shop.tasks.resize --args '["cat.png", 200]' --wait 10
  kernel dead requeue --task shop.tasks.resize
"""


class Commands(click.Group):
    """Our commands, imported when they run, and those of plugins."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Ours in the order of importance, then those of plugins."""
        return [*COMMANDS, *sorted(_plugin_commands(self._debug(ctx)).keys() - COMMANDS.keys())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name; a plugin cannot replace one of ours."""
        if cmd_name in COMMANDS:
            return COMMANDS[cmd_name].load()
        return _plugin_commands(self._debug(ctx)).get(cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing ours."""
        plugins = _plugin_commands(self._debug(ctx))
        rows = [(name, lazy.help) for name, lazy in COMMANDS.items()]
        rows += [(name, plugins[name].get_short_help_str(80)) for name in sorted(plugins.keys() - COMMANDS.keys())]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> Any:
        """Run; an error of kernel becomes one line and a status."""
        try:
            return super().invoke(ctx)
        except KernelError as error:
            if self._debug(ctx):
                raise
            raise fault(error) from error
        except KeyboardInterrupt:
            raise Fault("interrupted", INTERRUPTED) from None

    def _debug(self, ctx: click.Context) -> bool:
        return bool(ctx.params.get("traceback"))


def _plugin_commands(debug: bool) -> dict[str, click.Command]:
    """Commands of installed plugins, by name. A broken plugin must not take the other commands with it."""
    try:
        hook = Hooks.load().manager.hook
        return {command.name or "": command for commands in hook.kernel_cli_commands() for command in commands}
    except Exception as error:  # foreign code
        if debug:
            raise
        cause = str(error) if isinstance(error, KernelError) else f"{type(error).__name__}: {error}"
        click.echo(f"warning: commands of plugins are missing: {cause}", err=True)
        return {}


@click.group(
    cls=Commands,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110, "show_default": True},
)
@click.option("-A", "--app", metavar="MODULE:APP", help="The application; as the option of each command.")
@click.option("--traceback", is_flag=True, envvar="KERNEL_DEBUG", help="Show tracebacks of errors. Or KERNEL_DEBUG=1.")
@click.version_option(package_name="kernelq", prog_name="kernel")
@click.pass_context
def cli(ctx: click.Context, app: str | None, traceback: bool) -> None:
    """A distributed task queue: run workers, send calls, look after queues."""
    ctx.obj = Context(app=app)


def main() -> None:
    """The program; does not return."""
    cli(prog_name="kernel")


if __name__ == "__main__":
    main()
