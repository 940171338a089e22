"""The entry of a worker process: from options to a running worker."""

from __future__ import annotations

import os
import sys
from typing import Any

from kernel import logs
from kernel.app import Kernel
from kernel.config import Config
from kernel.errors import ConfigError, MissingExtra
from kernel.loading import application
from kernel.worker.banner import banner
from kernel.worker.seat import Seat
from kernel.worker.worker import Worker


def run_worker(options: dict[str, Any], seat: Seat | None = None) -> int:
    """Run a worker until it is told to stop; returns the exit status.

    `options` has "app" (as `kernel --app` takes it) and "command_line" (configuration keys given there). ConfigError
    for what a restart does not mend.
    """
    command_line = dict(options.get("command_line") or {})
    patch(Config.load(command_line=command_line, environ=os.environ).worker.pool)
    app = application(options["app"])
    return work(app, command_line, seat)


def work(app: Kernel, command_line: dict[str, Any], seat: Seat | None) -> int:
    """Run a worker for an application that is imported already."""
    app.close()
    app.command_line = command_line
    settings = app.config.logging
    logs.setup(settings.log_level, settings.log_file, settings.log_format)
    index = seat.number if seat is not None else 0
    app.hooks.manager.hook.kernel_process_start(index=index)
    worker = Worker(app, seat, supervised=seat is not None)
    worker.handle_signals()
    if index == 0 and not worker.seat.introduced:
        worker.seat.introduced = 1
        sys.stderr.write(banner(app, worker) + "\n")
        sys.stderr.flush()
    status = worker.run()
    if worker.abandoned:
        # Their threads cannot be stopped; without this the interpreter would wait for some of them at its end.
        sys.stderr.flush()
        os._exit(status)
    app.hooks.manager.hook.kernel_process_stop(index=index)
    return status


def patch(pool: str) -> None:
    """Patch the standard library for a green pool, before the application is imported; MissingExtra without it."""
    try:
        if pool == "gevent":
            from gevent import monkey

            monkey.patch_all()
        elif pool == "eventlet":
            import eventlet

            eventlet.monkey_patch()
    except ImportError as error:
        raise MissingExtra(f"the {pool} pool needs {pool}: pip install 'kernelq[{pool}]'") from error


def check_patched(app: Kernel, pool: str) -> None:
    """A green pool named in the application's own code comes too late to patch what it has imported."""
    if app.config.worker.pool in ("gevent", "eventlet") and app.config.worker.pool != pool:
        raise ConfigError(
            f"pool={app.config.worker.pool!r} must be known before the application is imported: "
            f"give --pool {app.config.worker.pool}, or set KERNEL_POOL"
        )
