"""Configuration: frozen values per concern, and where each of them came from.

    defaults < file < plugins < environment < command line < code

Keys are unique over the concerns and written flat: `Kernel("app", result_expires=60)`, `KERNEL_RESULT_EXPIRES=60`, and
`result_expires = 60` in a file. The file is `kernel.toml`, or the table `[tool.kernel]` of `pyproject.toml`, in the
working directory; parents are not searched, because a file that somebody else left up there would surprise.
`KERNEL_CONFIG` names another file, or `none`. In a file, keys may also stand in tables named like the concern:
`[worker]`, `[tool.kernel.worker]`.

A key that nobody knows is an error in a file, in code and on the command line. In the environment `KERNEL_*` is not
ours alone (Jupyter sets such names), so there only a near miss of one of our keys is an error; others are ignored.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from math import inf
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from kernel.errors import ConfigError
from kernel.masking import masked


class Ports(msgspec.Struct, frozen=True):
    """Which adapters are used, as URLs.

    "" stands for the transport's own URL where its scheme offers that port too, else for none; "none" for none.
    """

    #: URL of the transport, which carries the messages.
    transport: str = "sqlite:///kernel.db"
    #: URL of the result store.
    results: str = ""
    #: URL of the coordination service: unique tasks, joins, limits.
    coordination: str = ""
    #: URL of the schedule store: long delays, parked messages, periodic entries.
    schedules: str = ""
    #: URL of the keys that seal messages and results; "" for none.
    seal: str = ""
    #: Messages without a seal: refuse; accept; or send, which accepts them and seals nothing yet.
    unsealed: str = "refuse"
    #: Seconds for which a copy of a sealed message may come again; 0.0: no limit.
    replay_window: float = 0.0

    def __repr__(self) -> str:
        return f"Ports({', '.join(f'{name}={masked(getattr(self, name), name)!r}' for name in self.__struct_fields__)})"


class Tasks(msgspec.Struct, frozen=True):
    """What holds for every task that does not say otherwise itself."""

    #: Queue that a task is sent to.
    queue: str = "default"
    #: Name of the serializer for arguments and results.
    serializer: str = "json"
    #: Names of the serializers that are decoded; safe ones always are, an unsafe one such as pickle must be named.
    accept: tuple[str, ...] = ("json",)
    #: Keep no results.
    ignore_result: bool = False
    #: Seconds for which a result is kept; 0.0: for ever.
    result_expires: float = 86400.0
    #: Retries after the first run; -1: no limit.
    max_retries: int = 3
    #: Seconds before the first retry.
    default_retry_delay: float = 3.0
    #: Factor by which the delay grows with each retry, 1.0 or more.
    retry_backoff: float = 2.0
    #: Longest delay before a retry, in seconds.
    retry_backoff_max: float = 600.0
    #: Spread retries at random, so that failures of one moment do not come back in one moment.
    retry_jitter: bool = True
    #: Seconds after which `SoftTimeLimitExceeded` is raised inside of a task; 0.0: no limit.
    soft_time_limit: float = 0.0
    #: Seconds after which a task is stopped from outside; 0.0: no limit.
    time_limit: float = 0.0
    #: Seconds after its sending from which a task is not started any more; 0.0: never expires.
    expires: float = 0.0
    #: 0 to 9, 9 the most urgent.
    priority: int = 0
    #: Acknowledge after the run; False: just before its start, so that a crash loses the task.
    acks_late: bool = True
    #: Recorded starts before a message that ends its worker goes to the dead letters.
    max_deliveries: int = 3
    #: Largest message that is sent, in bytes.
    max_payload: int = 4 * 1024 * 1024
    #: Seconds for which a send is tried before its error reaches the caller.
    send_timeout: float = 5.0
    #: File, or URL of an outbox, that takes what the transport does not answer for in that time; "" for none.
    outbox: str = ""
    #: Record the start of every task in the result store.
    track_started: bool = False


class Worker(msgspec.Struct, frozen=True):
    """How one worker works."""

    #: Queues it receives from, in order of preference.
    queues: tuple[str, ...] = ("default",)
    #: An earlier queue always comes first; False: fair turns.
    strict: bool = False
    #: Name of the pool.
    pool: str = "solo"
    #: Tasks at a time in each process; 0: as the pool sees fit.
    concurrency: int = 0
    #: Worker processes.
    processes: int = 1
    #: Seconds for which a received message is hidden between renewals.
    lease: float = 60.0
    #: Seconds that running tasks have to end in when the worker stops.
    grace: float = 30.0
    #: Seconds of work that are fetched ahead.
    prefetch_for: float = 0.05
    #: Most messages that are fetched ahead.
    prefetch_max: int = 1000
    #: Tasks after which a process is replaced; 0: no limit.
    max_tasks: int = 0
    #: Memory in MiB above which a process is replaced; 0.0: no limit.
    max_memory: float = 0.0
    #: Seconds for which a message of an unknown task or version is sent on before it goes to the dead letters.
    unknown_for: float = 600.0
    #: Import the application once and fork the processes from there.
    preload: bool = False
    #: File whose modification time shows that the worker makes progress; "" for none.
    liveness_file: str = ""
    #: File that is there, and touched, while the worker takes in work; "" for none.
    readiness_file: str = ""
    #: TCP port that answers HTTP requests for /live and /ready; 0 for none.
    health_port: int = 0
    #: Address at which it does; 0.0.0.0 for all of the machine.
    health_host: str = "127.0.0.1"
    #: Seconds between two looks at the worker's own health.
    health_interval: float = 1.0


class Logging(msgspec.Struct, frozen=True):
    """What the command line sets up; a program that embeds kernel sets up its own."""

    #: debug, info, warning, error or critical.
    log_level: str = "info"
    #: File to write to; "" for standard error.
    log_file: str = ""
    #: text or json.
    log_format: str = "text"


class Setting(NamedTuple):
    """One line of `Config.describe`."""

    key: str
    value: Any  #: as set, with the secrets of URLs masked
    source: str  #: "default", "plugin", "command line", "code", or the name of the file or environment variable


def defaults(concern: type[msgspec.Struct]) -> dict[str, Any]:
    """Key and default of every setting of one concern."""
    return dict(zip(concern.__struct_fields__, concern.__struct_defaults__, strict=True))


_CONCERNS: Mapping[str, type[msgspec.Struct]] = {"ports": Ports, "tasks": Tasks, "worker": Worker, "logging": Logging}
_HOMES: Mapping[str, str] = {key: name for name, concern in _CONCERNS.items() for key in concern.__struct_fields__}
_DEFAULTS: Mapping[str, Any] = {key: value for part in _CONCERNS.values() for key, value in defaults(part).items()}
#: Bounds of numbers, both included; every other number is 0 or more.
_BOUNDS: Mapping[str, tuple[float, float]] = {
    "max_retries": (-1, inf),
    "retry_backoff": (1, inf),
    "priority": (0, 9),
    "max_deliveries": (1, inf),
    "max_payload": (1, inf),
    "lease": (0.1, inf),
    "processes": (1, inf),
    "prefetch_max": (1, inf),
    "health_interval": (0.01, inf),
    "health_port": (0, 65535),
}
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "log_level": ("debug", "info", "warning", "error", "critical"),
    "log_format": ("text", "json"),
    "unsealed": ("refuse", "accept", "send"),
}
#: Must not be empty.
_NEEDED = frozenset({"transport", "queue", "serializer", "accept", "queues", "pool", "health_host"})
_YES = ("1", "true", "yes", "on")
_NO = ("0", "false", "no", "off")
_PREFIX = "KERNEL_"
_FILE_VARIABLE = "KERNEL_CONFIG"  # the one variable that is not a key
#: How like a key an unknown KERNEL_* variable must be to count as a misspelling. At 0.8 KERNEL_RELEASE is a `lease`.
_TYPO = 0.85


class Config(msgspec.Struct, frozen=True):
    """All settings, and the source of each that is not a default."""

    ports: Ports = Ports()
    tasks: Tasks = Tasks()
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
    ) -> Config:
        """Read all sources now and check every value.

        `file` None looks for one as the module says. On the command line None means that an option was not given,
        and a string is read as in the environment. `ConfigError`, one line naming the source, for an unknown key,
        a wrong type, a value out of bounds or a file that cannot be read.
        """
        values: dict[str, Any] = {}
        sources: dict[str, str] = {}
        for source, key, value in _entries(file, plugins, environ, command_line, code):
            values[key] = value
            sources[key] = source
        parts: dict[str, Any] = {
            name: concern(**{key: values[key] for key in concern.__struct_fields__ if key in values})
            for name, concern in _CONCERNS.items()
        }
        return cls(**parts, sources=MappingProxyType(sources))

    @staticmethod
    def check(options: Mapping[str, Any]) -> None:
        """`ConfigError` for settings that `load` would refuse in code; reads nothing."""
        for key, value in options.items():
            _check("code", key, value)

    def describe(self) -> list[Setting]:
        """Every key with its value and source, in the order of the classes above; safe to print."""
        return [
            Setting(key, masked(getattr(part, key), key), self.sources.get(key, "default"))
            for part in (self.ports, self.tasks, self.worker, self.logging)
            for key in part.__struct_fields__
        ]


# -- the sources -------------------------------------------------------------------------------------------

_Entry = tuple[str, str, Any]


def _entries(
    file: Path | None,
    plugins: Mapping[str, Any],
    environ: Mapping[str, str],
    command_line: Mapping[str, Any],
    code: Mapping[str, Any],
) -> Iterator[_Entry]:
    """All checked values as (source, key, value), the strongest last."""
    yield from _from_file(file, environ)
    for key, value in plugins.items():
        yield "plugin", key, _check("plugin", key, value)
    yield from _from_environ(environ)
    for key, value in command_line.items():
        if value is not None:
            yield "command line", key, _check("command line", key, value, text=True)
    for key, value in code.items():
        yield "code", key, _check("code", key, value)


def _from_file(file: Path | None, environ: Mapping[str, str]) -> Iterator[_Entry]:
    path, table = _find_file(file, environ)
    seen: set[str] = set()
    for name, content in table.items():
        concern = _CONCERNS.get(name)
        if concern is None:
            pairs = {name: content}
        elif isinstance(content, dict):
            pairs = content
        else:
            raise ConfigError(f"{path}: [{name}] must be a table")
        for key, value in pairs.items():
            checked = _check(path, key, value)
            if concern is not None and _HOMES[key] != name:
                raise ConfigError(f"{path}: {key!r} belongs in the table [{_HOMES[key]}], not in [{name}]")
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
        if key in _DEFAULTS:
            yield name, key, _check(name, key, value, text=True)
        elif meant := _closest(key, _TYPO):
            raise ConfigError(f"{name}: unknown variable; did you mean {_PREFIX}{meant.upper()}?")


# -- the values --------------------------------------------------------------------------------------------


def _closest(key: str, likeness: float = 0.6) -> str:
    import difflib  # 2 ms, for an error only

    return next(iter(difflib.get_close_matches(key, _DEFAULTS, 1, likeness)), "")


def _check(source: str, key: str, value: Any, text: bool = False) -> Any:
    """The value in the type of its key; with `text`, a string is read as one. `ConfigError` for what does not fit."""
    default = _DEFAULTS.get(key)
    if default is None:
        meant = _closest(key)
        hint = f"; did you mean {meant!r}?" if meant else "; `kernel config` lists them all"
        raise ConfigError(f"{source}: unknown setting {key!r}{hint}")
    read = _read_text(value, type(default)) if text and isinstance(value, str) else value
    wanted, fits = _fit(read, type(default))
    if fits is None:
        raise ConfigError(f"{source}: {key} must be {wanted}, not {_shown(value, key)}")
    if key in _CHOICES and fits not in _CHOICES[key]:
        raise ConfigError(f"{source}: {key} must be one of {', '.join(_CHOICES[key])}, not {_shown(value)}")
    if key in _NEEDED and not fits:
        raise ConfigError(f"{source}: {key} must not be empty")
    if isinstance(fits, int | float) and not isinstance(fits, bool):
        low, high = _BOUNDS.get(key, (0, inf))
        if not low <= fits <= high:
            bound = f"{low:g} or more" if high == inf else f"from {low:g} to {high:g}"
            raise ConfigError(f"{source}: {key} must be {bound}, not {fits!r}")
    return fits


def _read_text(value: str, kind: type) -> Any:
    """A string as `kind`; the string itself where it is not one, for `_fit` to refuse."""
    word = value.strip()
    if kind is bool:
        return True if word.lower() in _YES else False if word.lower() in _NO else value
    if kind is tuple:
        return tuple(part.strip() for part in word.split(",") if part.strip())
    try:
        return kind(word) if kind in (int, float) else value
    except ValueError:
        return value


def _fit(value: Any, kind: type) -> tuple[str, Any]:
    """What `kind` is called, and the value as one of it or None. No guessing: True is no number, "1" neither."""
    if kind is tuple:
        listed = isinstance(value, list | tuple) and all(isinstance(item, str) and item for item in value)
        return "a list of names", tuple(value) if listed else None
    if kind is float:
        # The bound refuses not-a-number and integers that no float can hold.
        number = type(value) in (int, float) and (abs(value) < 1e300 or value == inf)
        return "a number", float(value) if number else None
    called = {bool: "true or false", int: "a whole number", str: "a string"}[kind]
    return called, value if type(value) is kind else None


def _shown(value: Any, key: str = "") -> str:
    return repr(masked(value, key))[:80]
