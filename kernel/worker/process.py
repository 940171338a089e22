"""The entry of a worker process: from options to a running worker."""

from __future__ import annotations

import os
import sys
from typing import Any

from kernel import logs
from kernel.app import Kernel
from kernel.configuration.config import Config
from kernel.errors import ConfigError, MissingExtra, Unavailable
from kernel.loading import application, load_tasks
from kernel.native import sleep
from kernel.opened import Opened
from kernel.steady import Outage
from kernel.worker.banner import banner
from kernel.worker.native_logging import log_natively
from kernel.worker.seat import Away, Seat
from kernel.worker.worker import Worker

#: Pools for which the standard library is patched.
GREEN = ("gevent", "eventlet")
#: Settings that the supervisor goes by.
SUPERVISED = ("processes", "preload", "grace", "liveness_file", "readiness_file", "health_port", "health_host")


def run_worker(options: dict[str, Any], seat: Seat | None = None) -> int:
    """Run a worker until it is told to stop; returns the exit status.

    `options` has "app" (as `kernel --app` takes it) and "command_line" (configuration keys given there). ConfigError
    for what a restart does not mend.
    """
    pool = prepare(options)
    app = application(options["app"])
    app.close()
    app.command_line = _command_line(options)
    load_tasks(app)
    check_patched(app, pool)
    if seat is not None:
        check_supervised(app, options)
    return work(app, seat)


def prepare(options: dict[str, Any]) -> str:
    """Do what must be done before the application is imported; returns the name of the pool as it is known by then."""
    pool = Config.load(command_line=_command_line(options), environ=os.environ).worker.pool
    patch(pool)
    return pool


def check_supervised(app: Kernel, options: dict[str, Any]) -> None:
    """The supervisor imports no application, so what it needs to know cannot be set in the application's code."""
    seen = Config.load(command_line=_command_line(options), environ=os.environ).worker
    for key in SUPERVISED:
        value = getattr(app.config.worker, key)
        if value != getattr(seen, key):
            raise ConfigError(
                f"{key}={value!r} is set in code, where the supervisor cannot see it: "
                f"put it into kernel.toml, KERNEL_{key.upper()} or on the command line"
            )


def _command_line(options: dict[str, Any]) -> dict[str, Any]:
    return dict(options.get("command_line") or {})


def work(app: Kernel, seat: Seat | None) -> int:
    """Run a worker for an application that is imported and knows its command line."""
    settings = app.config.logging
    logs.setup(settings.log_level, settings.log_file, settings.log_format)
    index = seat.number if seat is not None else 0
    app.hooks.manager.hook.kernel_process_start(index=index)
    open_ports(app, seat)
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


def open_ports(app: Kernel, seat: Seat | None) -> Opened:
    """Open the ports. While a service is away this waits for it: another process would find it away too."""
    outage = Outage("a service of the application", app.clock)
    while True:
        try:
            opened = app.ports.all()
        except Unavailable as error:
            wait = outage.failed(error)
            if seat is not None:
                seat.beat_at = app.clock.monotonic()
                seat.away = Away.SERVICE
            sleep(wait)
        else:
            outage.worked()
            if seat is not None:
                seat.away = Away.NONE
            return opened


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
    if pool in GREEN:
        log_natively()


def check_patched(app: Kernel, pool: str) -> None:
    """A pool named in the application's own code comes too late to patch what it has imported, or to leave it alone."""
    named = app.config.worker.pool
    if named != pool and named in GREEN:
        raise ConfigError(
            f"pool={named!r} must be known before the application is imported: give --pool {named}, or set KERNEL_POOL"
        )
    if named != pool and pool in GREEN:
        raise ConfigError(f"pool={named!r} in code wins over {pool!r}, for which all was patched: remove one of them")
