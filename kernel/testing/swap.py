"""One application, for a while with other ports, another clock and other settings: the only place that reaches inside
of it. A method of the application was rejected: nobody but a test may do this."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kernel.app import Kernel
from kernel.clock import Clock
from kernel.configuration.config import Config
from kernel.current import application
from kernel.errors import ConfigError
from kernel.opened import Given
from kernel.sending.connection import Connection

#: Settings that have no place in a test: what they name is not there, or is replaced.
REPLACED: dict[str, Any] = {"transport": "memory://", "outbox": "", "seal": "", "replay_window": 0.0}

#: Applications that are in test mode.
_lent: list[Kernel] = []


@contextmanager
def swapped(app: Kernel, clock: Clock, given: Given, plugin: object, options: dict[str, Any]) -> Iterator[None]:
    """Have `app` work with these, and then be as it was, with the ports that it had open. ConfigError for a setting
    that does not exist, and for an application that is in test mode already."""
    Config.check(options)
    if any(each is app for each in _lent):
        raise ConfigError(f"{app!r} is in test mode already")
    app.config  # noqa: B018  # now, because what it tells of is told once: what is set on that occasion is to stay
    _lent.append(app)
    attributes, announce, current = vars(app).copy(), app._registry.announce, application[:]
    app._forget()
    app.clock = clock
    app._connection = Connection(lambda: app.config, clock)
    app._connection.use(given)
    app._plugins = (*app._plugins, plugin)
    app._setup = app._setup.but({**REPLACED, **options})
    application[:] = [app]
    try:
        yield
    finally:
        app.close()
        vars(app).update(attributes)
        app._registry.announce = announce
        application[:] = current
        _lent[:] = [each for each in _lent if each is not app]
