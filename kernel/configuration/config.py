"""Configuration: frozen values per concern, and where each of them came from.

    defaults < added defaults < file < plugins < objects < environment < command line < code

Keys are unique over the concerns and written flat: `Kernel("app", result_expires=60)`, `KERNEL_RESULT_EXPIRES=60`, and
`result_expires = 60` in a file. The file is `kernel.toml`, or the table `[tool.kernel]` of `pyproject.toml`, in the
working directory; parents are not searched, because a file that somebody else left up there would surprise.
`KERNEL_CONFIG` names another file, or `none`. In a file, keys may also stand in tables named like the concern:
`[worker]`, `[tool.kernel.worker]`. Objects are Python modules and others that `config_from_object` names.

A key that nobody knows is an error in a file, in code and on the command line. In the environment `KERNEL_*` is not
ours alone (Jupyter sets such names), so there only a near miss of one of our keys is an error; others are ignored.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from kernel.configuration.settings import CONCERNS, DEFAULTS, HOMES, Application, Logging, Ports, Routing, Tasks, Worker
from kernel.configuration.values import TYPO, closest, plain
from kernel.configuration.values import check as check_value
from kernel.errors import ConfigError
from kernel.masking import masked


class Setting(NamedTuple):
    """One line of `Config.describe`."""

    key: str
    value: Any  #: as set, with the secrets of URLs masked
    #: "default", "added default", "plugin", "command line", "code", or the name of the file, object or variable.
    source: str


_PREFIX = "KERNEL_"
_FILE_VARIABLE = "KERNEL_CONFIG"  # the one variable that is not a key


class Config(msgspec.Struct, frozen=True):
    """All settings, and the source of each that is not a default."""

    ports: Ports = Ports()
    application: Application = Application()
    tasks: Tasks = Tasks()
    routing: Routing = Routing()
    worker: Worker = Worker()
    logging: Logging = Logging()
    #: key -> source, for every key that somebody set.
    sources: Mapping[str, str] = MappingProxyType({})

    @classmethod
    def load(
        cls,
        code: Mapping[str, Any] = MappingProxyType({}),
        command_line: Mapping[str, Any] = MappingProxyType({}),
        environ: Mapping[str, str] = os.environ,
        file: Path | None = None,
        plugins: Mapping[str, Any] = MappingProxyType({}),
        added: Mapping[str, Any] = MappingProxyType({}),
        objects: Sequence[tuple[str, Mapping[str, Any]]] = (),
    ) -> Config:
        """Read all sources now and check every value.

        `file` None looks for one as the module says. On the command line None means that an option was not given,
        and a string is read as in the environment. `added` are defaults of the application, `objects` what Python
        modules and other objects say, each with a name for messages. `ConfigError`, one line naming the source, for
        an unknown key, a wrong type, a value out of bounds or a file that cannot be read.
        """
        values: dict[str, Any] = {}
        sources: dict[str, str] = {}
        for source, key, value in _entries(added, file, plugins, objects, environ, command_line, code):
            values[key] = value
            sources[key] = source
        parts: dict[str, Any] = {
            name: concern(**{key: values[key] for key in concern.__struct_fields__ if key in values})
            for name, concern in CONCERNS.items()
        }
        return cls(**parts, sources=MappingProxyType(sources))

    @staticmethod
    def check(options: Mapping[str, Any]) -> None:
        """`ConfigError` for settings that `load` would refuse in code; reads nothing."""
        for key, value in options.items():
            check_value("code", key, value)

    def describe(self) -> list[Setting]:
        """Every key with its value and source, in the order of the classes above; safe to print."""
        return [
            Setting(key, masked(plain(key, getattr(part, key)), key), self.sources.get(key, "default"))
            for part in (self.ports, self.application, self.tasks, self.routing, self.worker, self.logging)
            for key in part.__struct_fields__
        ]


# -- the sources -------------------------------------------------------------------------------------------

_Entry = tuple[str, str, Any]


def _entries(
    added: Mapping[str, Any],
    file: Path | None,
    plugins: Mapping[str, Any],
    objects: Sequence[tuple[str, Mapping[str, Any]]],
    environ: Mapping[str, str],
    command_line: Mapping[str, Any],
    code: Mapping[str, Any],
) -> Iterator[_Entry]:
    """All checked values as (source, key, value), the strongest last."""
    for key, value in added.items():
        yield "added default", key, check_value("added default", key, value)
    yield from _from_file(file, environ)
    for key, value in plugins.items():
        yield "plugin", key, check_value("plugin", key, value)
    for source, settings in objects:
        for key, value in settings.items():
            yield source, key, check_value(source, key, value)
    yield from _from_environ(environ)
    for key, value in command_line.items():
        if value is not None:
            yield "command line", key, check_value("command line", key, value, text=True)
    for key, value in code.items():
        yield "code", key, check_value("code", key, value)


def _from_file(file: Path | None, environ: Mapping[str, str]) -> Iterator[_Entry]:
    path, table = _find_file(file, environ)
    seen: set[str] = set()
    for name, content in table.items():
        concern = CONCERNS.get(name)
        if concern is None:
            pairs = {name: content}
        elif isinstance(content, dict):
            pairs = content
        else:
            raise ConfigError(f"{path}: [{name}] must be a table")
        for key, value in pairs.items():
            checked = check_value(path, key, value)
            if concern is not None and HOMES[key] != name:
                raise ConfigError(f"{path}: {key!r} belongs in the table [{HOMES[key]}], not in [{name}]")
            if key in seen:
                raise ConfigError(f"{path}: {key!r} is set twice")
            seen.add(key)
            yield path, key, checked


def _find_file(file: Path | None, environ: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """Name and settings of the configuration file; ("", {}) when there is none and none was asked for."""
    named = environ.get(_FILE_VARIABLE, "")
    if file is None and named == "none":
        return "", {}
    if file is None and named:
        file = Path(named)
    if file is not None:
        return str(file), _read_file(file, needed=True)
    for name in ("kernel.toml", "pyproject.toml"):
        if os.path.isfile(name) and (table := _read_file(Path(name), needed=False)):
            return name, table
    return "", {}


def _read_file(path: Path, needed: bool) -> dict[str, Any]:
    import tomllib  # 2 ms, which only a process with a file should pay

    try:
        with path.open("rb") as file:
            table: Any = tomllib.load(file)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {getattr(error, 'strerror', None) or f'not TOML: {error}'}") from None
    tool = table.get("tool")
    found = tool.get("kernel") if isinstance(tool, dict) else None
    if found is None and path.name != "pyproject.toml":
        found = table
    if found is None and needed:
        raise ConfigError(f"{path}: has no table [tool.kernel]")
    if not isinstance(found, dict | None):
        raise ConfigError(f"{path}: [tool.kernel] must be a table")
    return found or {}


def _from_environ(environ: Mapping[str, str]) -> Iterator[_Entry]:
    for name, value in environ.items():
        if not name.startswith(_PREFIX) or name == _FILE_VARIABLE:
            continue
        key = name.removeprefix(_PREFIX).lower()
        if key in DEFAULTS:
            yield name, key, check_value(name, key, value, text=True)
        elif meant := closest(key, TYPO):
            raise ConfigError(f"{name}: unknown variable; did you mean {_PREFIX}{meant.upper()}?")
