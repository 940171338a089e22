"""Options that every command has, and the application that they name."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, TypeVar

import click

from kernel.app import Kernel
from kernel.loading import application, load_tasks, obvious

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Context:
    """Which application is meant, and what the command line says about its ports."""

    app: str | None = None
    transport: str | None = None
    results: str | None = None
    config: str | None = None

    @property
    def command_line(self) -> dict[str, Any]:
        """Configuration keys that were given."""
        given = {"transport": self.transport, "results": self.results}
        return {key: value for key, value in given.items() if value is not None}

    def read_config_file(self) -> None:
        """Make the file named with --config the one that is read, in worker processes too."""
        if self.config is not None:
            os.environ["KERNEL_CONFIG"] = os.path.abspath(self.config) if self.config != "none" else "none"

    def path(self) -> str:
        """The application's path: named, else the obvious one of the working directory. `ConfigError` without."""
        return self.named or obvious()

    @property
    def named(self) -> str:
        """The application that somebody named, "" for none. Not an `envvar` of the option: a variable would beat
        an option given before the command."""
        return self.app or os.environ.get("KERNEL_APP", "")

    def load(self) -> Kernel:
        """The application; where none is named and none is obvious, an empty one on the configured ports.

        `--transport` alone is enough to look into queues, so then no module is imported unasked.
        """
        self.read_config_file()
        path = self.named or ("" if self.transport else obvious(needed=False))
        app = application(path) if path else Kernel("cli")
        app.close()  # its module may have read the configuration, or sent something, without the command line
        app.command_line.update(self.command_line)
        return app

    def load_all(self) -> Kernel:
        """The same, with the modules that it names beside its own, for who needs to know all its tasks."""
        app = self.load()
        load_tasks(app)
        return app


_OPTIONS = (
    click.option("-A", "--app", metavar="MODULE:APP",
                 help="The application, such as shop.tasks:app or shop.tasks. Default: KERNEL_APP, else the one of "
                 "kernel_app.py, app.py and tasks.py that is in the working directory."),
    click.option("--transport", metavar="URL", help="Where messages are, such as sqlite:///jobs.db."),
    click.option("--results", metavar="URL", help="Where results are, or none. Default: the transport's URL."),
    click.option("--config", metavar="FILE", help="Configuration file in place of kernel.toml or pyproject.toml."),
)  # fmt: skip


def ports(command: F) -> F:
    """Give a command the options that name an application and its ports, as its first argument `context`.

    They may also stand before the command, as in `kernel -A shop.tasks worker`; the later one wins.
    """

    @wraps(command)
    @click.pass_context
    def run(
        context: click.Context,
        /,
        app: str | None,
        transport: str | None,
        results: str | None,
        config: str | None,
        **options: Any,
    ) -> Any:
        given = {"app": app, "transport": transport, "results": results, "config": config}
        before = context.obj if isinstance(context.obj, Context) else Context()
        context.obj = replace(before, **{key: value for key, value in given.items() if value is not None})
        return context.invoke(command, context.obj, **options)

    for option in reversed(_OPTIONS):
        run = option(run)
    return run  # type: ignore[return-value]  # wraps and the options keep it callable as click calls it


def json_option(command: F) -> F:
    """Give a command `--json`, as the argument `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)
