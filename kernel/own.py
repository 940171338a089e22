"""The application of this process."""

from __future__ import annotations

from kernel.app import Kernel
from kernel.current import application
from kernel.errors import ConfigError


def current_app() -> Kernel:
    """The application of this process: a worker's own, else the first created; `ConfigError` when there is none."""
    if not application:
        raise ConfigError("there is no application in this process: create one with Kernel(...) first")
    app: Kernel = application[0]
    return app


def set_current_app(app: Kernel) -> None:
    """Make `app` what `current_app` returns in this process."""
    application[:] = [app]
