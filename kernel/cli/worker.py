"""`kernel worker`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from kernel import logs
from kernel.cli.context import Context, ports
from kernel.configuration.config import Config
from kernel.configuration.settings import Logging, Worker, defaults
from kernel.errors import ConfigError
from kernel.supervisor.spec import SupervisorSpec

#: The pool of other systems: processes that run one task each. Here processes are no pool, so it is a manner of
#: speaking for `--pool solo --processes N`.
PREFORK = "prefork"

F = TypeVar("F", bound=Callable[..., Any])


_DEFAULTS = {**defaults(Worker), **defaults(Logging)}


def _key(key: str, *names: str, **attributes: Any) -> Callable[[F], F]:
    """An option that is a configuration key: without it the key's own value stands, from wherever it comes."""
    default = _DEFAULTS[key]
    shown = (
        ",".join(default) if isinstance(default, tuple) else f"{default:g}" if isinstance(default, float) else default
    )
    text = attributes.pop("help")
    if isinstance(default, bool):
        shown = names[0].lstrip("-").split("/--")[0 if default else 1]
    elif isinstance(default, int | float):
        shown = f"{default:g}"
        attributes.setdefault("type", type(default))
    if shown != "":
        text = f"{text}  [default: {shown}]"
    return click.option(*names, key, default=None, help=text, **attributes)


@click.command()
@click.argument("module", required=False, metavar="[MODULE:APP]")
@_key("queues", "-Q", "--queues", metavar="A,B", help="Queues in order of preference, with weights as in a:5,b:1.")
@_key("exclude_queues", "-X", "--exclude-queues", metavar="A,B", help="Leave these of the queues out.")
@_key("strict", "--strict/--fair", help="An earlier queue always comes first; or turns, by weight.")
@_key("processes", "-P", "--processes", help="Worker processes.")
@_key("pool", "--pool", help="solo, threads, asyncio, gevent, eventlet; or prefork: solo in many processes.")
@_key("concurrency", "-c", "--concurrency", help="Tasks at a time in each process; with prefork, processes.")
@_key("preload", "--preload/--no-preload", help="Import the application once and fork the processes from there.")
@_key("max_tasks", "--max-tasks", help="Replace a process after so many tasks; 0: never.")
@_key("max_memory", "--max-memory", metavar="MIB", help="Replace a process that takes more; 0: never.")
@_key("grace", "--grace", metavar="SECONDS", help="Time for running tasks when the worker stops.")
@_key("lease", "--lease", metavar="SECONDS", help="How long a message is hidden between renewals.")
@_key("prefetch_for", "--prefetch-for", metavar="SECONDS", help="Fetch so much work ahead.")
@_key("prefetch_max", "--prefetch-max", help="Fetch at most so many messages ahead.")
@_key("unknown_for", "--unknown-for", metavar="SECONDS", help="After so long a call of an unknown task is dead.")
@_key("liveness_file", "--liveness-file", metavar="FILE", help="Touch this file while the worker makes progress.")
@_key("readiness_file", "--readiness-file", metavar="FILE", help="Keep this file while the worker takes in work.")
@_key("health_port", "--health-port", metavar="PORT", help="Answer HTTP requests for /live and /ready; 0: no.")
@_key("health_host", "--health-host", metavar="ADDRESS", help="Listen there; 0.0.0.0: on all addresses.")
@_key("health_interval", "--health-interval", metavar="SECONDS", help="Time between looks at its own health.")
@_key("log_level", "-l", "--loglevel", "--log-level", metavar="LEVEL", help="debug, info, warning, error, critical.")
@_key("log_file", "-f", "--logfile", "--log-file", metavar="FILE", help="Log there and not to standard error.")
@_key("log_format", "--log-format", metavar="FORMAT", help="text or json.")
@ports
def worker(context: Context, module: str | None, **given: Any) -> None:
    """Run the tasks of an application until told to stop.

    TERM or Ctrl-C lets running tasks end for --grace seconds, a second one gives them back; HUP restarts one process
    after the other; USR1 prints what every process is doing.

    \b
    Examples:
      kernel worker shop.tasks
      kernel worker shop.tasks:app -Q mail:5,reports:1 --pool threads -c 20
      kernel worker shop.tasks --pool prefork -c 8 --max-tasks 10000
    """
    context.read_config_file()
    command_line = {**context.command_line, **_keys(given)}
    path = module or context.path()
    # Without the application's code, which only the worker processes import: what a task does to its process must not
    # reach the one that watches it.
    config = Config.load(command_line=command_line, environ=os.environ)
    if config.worker.pool == PREFORK:
        raise ConfigError("prefork is known on the command line only: set pool = solo and processes = N instead")
    options = {"app": path, "command_line": command_line}
    sys.exit(_supervised(config, options) if os.name == "posix" else _alone(config, options))


def _keys(given: dict[str, Any]) -> dict[str, Any]:
    """Configuration keys from the options that were given."""
    keys = {key: value for key, value in given.items() if value is not None}
    for key in ("log_file", "liveness_file", "readiness_file"):
        if keys.get(key):
            keys[key] = os.path.abspath(keys[key])
    if keys.get("pool") == PREFORK:
        if "processes" in keys:
            raise ConfigError("--pool prefork -c N is --pool solo --processes N: leave out --processes")
        keys["pool"] = "solo"
        keys["processes"] = keys.pop("concurrency", 0) or os.cpu_count() or 1
    return keys


def _supervised(config: Config, options: dict[str, Any]) -> int:
    from kernel.supervisor.supervisor import Supervisor  # does not exist on Windows: signals, fork

    settings, logging = config.worker, config.logging
    spec = SupervisorSpec(
        processes=settings.processes,
        worker=options,
        preload=_importable(options["app"]) if settings.preload else "",
        grace=settings.grace,
        liveness_file=settings.liveness_file,
        readiness_file=settings.readiness_file,
        health_port=settings.health_port,
        health_host=settings.health_host,
    )
    logs.setup(logging.log_level, logging.log_file, logging.log_format)
    return Supervisor(spec).run()


def _importable(path: str) -> str:
    """The `module:attribute` that a template imports; a module's own name stands for an application left unnamed."""
    name, _, attribute = path.partition(":")
    if name.endswith(".py"):
        file = Path(name)
        if file.parent != Path() or not file.is_file():
            raise ConfigError(f"--preload imports by name: write module:attribute in place of {path}")
        name = file.stem
    return f"{name}:{attribute or '__name__'}"


def _alone(config: Config, options: dict[str, Any]) -> int:
    """One process without a supervisor, which needs signals and process groups."""
    settings = config.worker
    if settings.processes > 1 or settings.preload:
        raise ConfigError("more than one process, and --preload, need a POSIX system; start several workers instead")
    if settings.health_port or settings.liveness_file or settings.readiness_file:
        raise ConfigError("--health-port, --liveness-file and --readiness-file need a POSIX system: its supervisor")
    if settings.pool not in ("solo", "threads", "asyncio"):
        raise ConfigError(f"the pool {settings.pool!r} needs a POSIX system; use solo, threads or asyncio")
    from kernel.worker.process import run_worker  # the supervisor imports none of the worker's code

    return run_worker(options, None)
