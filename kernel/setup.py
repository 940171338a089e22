"""What an application says in code about its configuration, until the configuration is put together."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from types import ModuleType
from typing import Any, Protocol

import msgspec

from kernel import modules
from kernel.configuration.config import Config
from kernel.configuration.familiar import FAMILIAR
from kernel.configuration.settings import DEFAULTS
from kernel.configuration.values import TYPO, closest
from kernel.errors import ConfigError
from kernel.hooks import Hooks
from kernel.moments import Moment
from kernel.routing import Router

#: Settings, or what returns them when they are needed.
Defaults = Mapping[str, Any] | Callable[[], Mapping[str, Any]]


class Configured(Protocol):
    """What the configuration needs of its application."""

    on_configure: Moment
    command_line: dict[str, Any]

    @property
    def hooks(self) -> Hooks:
        """Its plugins."""


class Search(msgspec.Struct, frozen=True):
    """Packages in which tasks are looked for: what `autodiscover_tasks` was told."""

    where: Iterable[str] | Callable[[], Iterable[str]]
    #: Module of each package that is imported where it is there; None: the package itself, which must be.
    related_name: str | None

    def packages(self, discovered: Callable[[], Iterable[str]]) -> list[str]:
        """Their names; where none was given, `discovered` tells them: the plugins of frameworks."""
        where = self.where() if callable(self.where) else self.where
        return list(where) or list(discovered())


class Source(msgspec.Struct, frozen=True):
    """A place that `config_from_object` named."""

    #: The object, or the name of a module, or "module:attribute".
    place: object
    #: What the names of its settings begin with, "" for nothing.
    namespace: str
    #: A module that is not there is no error.
    silent: bool

    def read(self) -> tuple[str, dict[str, Any]]:
        """A name for messages, and the settings that it has; `ConfigError` for what cannot be one."""
        place = self.place
        if isinstance(place, str):
            try:
                place = modules.find(place)
            except ConfigError as error:
                if self.silent and isinstance(error, modules.NotThere):
                    return str(self.place), {}
                raise
        title = self.place if isinstance(self.place, str) else _title(place)
        listed = isinstance(place, Mapping)
        named = dict(place) if isinstance(place, Mapping) else _attributes(place)
        if self.namespace:
            prefix = f"{self.namespace.rstrip('_').upper()}_"
            return title, {
                name.removeprefix(prefix).lower(): value
                for name, value in named.items()
                if isinstance(name, str) and name.startswith(prefix)
            }
        if listed:
            return title, named
        return title, {name: value for name, value in named.items() if _is_setting(name)}


def _title(place: object) -> str:
    if isinstance(place, ModuleType | type):
        return place.__name__
    return "a mapping" if isinstance(place, Mapping) else type(place).__qualname__


def _attributes(place: object) -> dict[str, Any]:
    return {name: getattr(place, name) for name in dir(place) if not name.startswith("_")}


def _is_setting(name: str) -> bool:
    """Whether an attribute of a module or object is a setting, or must have been meant as one and will be refused.
    Others have a right to be there."""
    if name in DEFAULTS:
        return True
    return name.lower().removeprefix("celery_") in FAMILIAR or bool(closest(name.lower(), TYPO))


class Setup:
    """The layers of settings that code contributes."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        """ConfigError for an option that does not exist or cannot be."""
        Config.check(options)
        #: What code sets, stronger than all else.
        self.code: dict[str, Any] = dict(options)
        self._loading = False
        # Whoever comes while another thread is at it waits: it would miss what `on_configure` is just about to set.
        self._lock = threading.RLock()
        self.defaults: list[Defaults] = []
        self.sources: list[Source] = []

    def add_defaults(self, defaults: Defaults) -> None:
        """Settings that everything else overrides."""
        if not callable(defaults):
            Config.check(defaults)
        self.defaults.append(defaults)

    def configure(self, options: Mapping[str, Any]) -> None:
        """More of what code sets; ConfigError for what cannot be."""
        Config.check(options)
        self.code.update(options)

    def but(self, options: Mapping[str, Any]) -> Setup:
        """The same with more of what code sets, beside this one."""
        other = copy(self)
        other.code = {**self.code, **options}
        return other

    def variable(self, name: str, silent: bool) -> str:
        """The value of an environment variable; ConfigError where it is not set, "" with `silent`."""
        value = os.environ.get(name, "")
        if not value and not silent:
            raise ConfigError(f"the environment variable {name} is not set: it names the module with the settings")
        return value

    def load(self, app: Configured) -> Config:
        """Tell that it begins, and read everything; `ConfigError` for the first thing that cannot be."""
        with self._lock:
            if self._loading:
                raise ConfigError("the configuration is just put together: on_configure and defaults cannot read it")
            self._loading = True
            try:
                app.on_configure.tell(app)
                return self._load(app.hooks.configure(self.code), app.command_line)
            finally:
                self._loading = False

    def forget_parent(self) -> None:
        """In a forked child: a thread of the parent, which is not here, may have been at it."""
        self._lock = threading.RLock()
        self._loading = False

    def _load(self, plugins: Iterable[Mapping[str, Any]], command_line: Mapping[str, Any]) -> Config:
        added: dict[str, Any] = {}
        for defaults in self.defaults:
            added.update(defaults() if callable(defaults) else defaults)
        brought: dict[str, Any] = {}
        for changes in plugins:
            brought.update(changes)
        return Config.load(
            self.code,
            command_line,
            os.environ,
            plugins=brought,
            added=added,
            objects=[source.read() for source in self.sources],
        )


def make_router(config: Config) -> Router:
    """The router of a configuration; "module:function" in its routes is imported now."""
    routing = config.routing
    return Router(
        routing.routes,
        routing.declared_queues,
        config.tasks.queue,
        routing.create_missing_queues,
        routing.inherit_parent_priority,
        modules.find,
    )
