"""Finding adapters, pools, serializers and plugins that installed packages offer through entry points.

Ours are found in the same way as everybody else's. An adapter's entry point is named like the scheme of its URLs
and is a callable that takes the URL; a pool's takes the number of slots; a serializer's takes nothing; a plugin's is
the plugin itself, a module or any other object. Nothing is opened here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from kernel.errors import ConfigError, KernelError, MissingExtra, UnknownScheme
from kernel.masking import mask_seal, mask_url
from kernel.serializers.json_ import JsonSerializer

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from kernel.ports import (
        Coordination,
        Outbox,
        Pool,
        ResultStore,
        ScheduleStore,
        Seal,
        Serializer,
        Transaction,
        Transport,
    )

#: The groups of entry points, by what an entry is called in messages.
GROUPS: Mapping[str, str] = MappingProxyType(
    {
        "kernel.transports": "transport",
        "kernel.results": "result store",
        "kernel.coordination": "coordination service",
        "kernel.schedules": "schedule store",
        "kernel.pools": "pool",
        "kernel.serializers": "serializer",
        "kernel.seals": "seal",
        "kernel.outboxes": "outbox",
        "kernel.transactions": "transaction",
        "kernel.plugins": "plugin",
    }
)

#: The extra that brings the client library of a scheme or pool, for all that need one; the one place that knows.
EXTRAS: Mapping[str, str] = MappingProxyType(
    {
        "gevent": "gevent",
        "eventlet": "eventlet",
        **dict.fromkeys(("redis", "rediss", "redis+unix", "redis+sentinel", "rediss+sentinel"), "redis"),
        **dict.fromkeys(("redis+cluster", "rediss+cluster", "valkey", "valkeys"), "redis"),
        **dict.fromkeys(("amqp", "amqps"), "rabbitmq"),
        **dict.fromkeys(("sqs", "sqs+http", "sqs+https"), "sqs"),
        **dict.fromkeys(("ed25519", "hmac", "aes"), "seal"),
        **dict.fromkeys(("postgresql", "postgresql+psycopg", "postgresql+psycopg2"), "sql"),
    }
)

_OURS = "kernelq"


class Installed(NamedTuple):
    """One entry of an installed package."""

    group: str
    name: str
    #: `module:attribute`
    target: str
    distribution: str
    version: str


# -- the ports ---------------------------------------------------------------------------------------------


def transport(url: str) -> Transport:
    """The transport of a URL, not opened. `UnknownScheme`, `MissingExtra` or `ConfigError`, in one line."""
    made: Transport = _adapter("kernel.transports", url)
    return made


def import_transport(url: str) -> None:
    """Import what the transport of a URL needs, which may take a second; errors as for `transport`."""
    _load("kernel.transports", _scheme(url))


def results(url: str) -> ResultStore:
    """The result store of a URL, not opened; errors as for `transport`."""
    made: ResultStore = _adapter("kernel.results", url)
    return made


def coordination(url: str) -> Coordination:
    """The coordination service of a URL, not opened; errors as for `transport`."""
    made: Coordination = _adapter("kernel.coordination", url)
    return made


def schedules(url: str) -> ScheduleStore:
    """The schedule store of a URL, not opened; errors as for `transport`."""
    made: ScheduleStore = _adapter("kernel.schedules", url)
    return made


def seal(url: str) -> Seal:
    """The seal of a URL, with its keys; errors as for `transport`, none of which shows what may be a key."""
    made: Seal = _adapter("kernel.seals", url, mask_seal(url))
    return made


def outbox(place: str) -> Outbox:
    """The outbox of a URL, or of the path of an SQLite file, not opened; errors as for `transport`."""
    made: Outbox = _adapter("kernel.outboxes", place if "://" in place else f"sqlite:///{place}")
    return made


def transaction(thing: object) -> Transaction:
    """How rows are written into this transaction of the user's; `ConfigError` where no installed package knows."""
    group = "kernel.transactions"
    for name in sorted(_entries()[group]):
        found: Transaction | None = _load(group, name)(thing)
        if found is not None:
            return found
    raise ConfigError(
        f"messages cannot be written into a {type(thing).__module__}.{type(thing).__qualname__}: give a connection of "
        f"a database driver (PEP 249), or a Connection or Session of SQLAlchemy"
    )


def pool(name: str, slots: int) -> Pool:
    """The pool of this name, not started; errors as for `transport`."""
    made: Pool = _made("kernel.pools", name, _load("kernel.pools", name), (slots,), f"{slots} slots")
    return made


@cache
def serializer(name: str) -> Serializer:
    """The serializer of this name; errors as for `transport`."""
    if name == JsonSerializer.name:
        return JsonSerializer()  # without a scan of the installed packages, which a producer then never pays
    made: Serializer = _made("kernel.serializers", name, _load("kernel.serializers", name), (), "no arguments")
    return made


_OPENERS: Mapping[Callable[[str], Any], str] = MappingProxyType(
    {
        transport: "kernel.transports",
        results: "kernel.results",
        coordination: "kernel.coordination",
        schedules: "kernel.schedules",
    }
)


def offers(find: Callable[[str], Any], url: str) -> bool:
    """Whether the scheme of `url` has the port that `find` (one of the four functions above) constructs."""
    return _scheme(url) in _entries()[_OPENERS[find]]


def plugins() -> list[tuple[str, Any]]:
    """Name and object of every installed plugin, by name. `ConfigError` for one that cannot be loaded."""
    return [(name, _load("kernel.plugins", name)) for name in sorted(_entries()["kernel.plugins"])]


def installed() -> list[Installed]:
    """Every entry of every group, loaded or not, sorted by group and name."""
    return [
        Installed(group, name, entry.value, _distribution(entry), entry.dist.version if entry.dist else "")
        for group in GROUPS
        for name, found in sorted(_entries()[group].items())
        for entry in found
    ]


# -- how -----------------------------------------------------------------------------------------------------


@cache
def _entries() -> Mapping[str, Mapping[str, list[EntryPoint]]]:
    """group -> name -> entries; more than one where packages compete for a name. Read once per process."""
    # Costs as much as the rest of `import kernel` (email, zipfile, ...), so only who looks something up pays it.
    from importlib.metadata import entry_points

    found: dict[str, dict[str, list[EntryPoint]]] = {group: {} for group in GROUPS}
    everything = entry_points()
    for group, names in found.items():
        for entry in everything.select(group=group):
            names.setdefault(entry.name.lower(), []).append(entry)
    return found


def _scheme(url: str) -> str:
    return url.partition("://")[0].lower()


def _adapter(group: str, url: str, shown: str = "") -> Any:
    shown = shown or mask_url(url)
    if "://" not in url:
        raise ConfigError(f"{shown!r} is no URL of a {GROUPS[group]}: write scheme://..., as in sqlite:///kernel.db")
    scheme = _scheme(url)
    return _made(group, scheme, _load(group, scheme), (url,), shown)


def _load(group: str, name: str) -> Any:
    """The object behind an entry point."""
    found = _entries()[group].get(name, [])
    if not found:
        raise UnknownScheme(_unknown(group, name))
    if len(found) > 1:
        owners = " and ".join(sorted(_distribution(entry) for entry in found))
        raise ConfigError(f"{owners} both provide a {GROUPS[group]} {name!r}; uninstall one of them")
    try:
        return found[0].load()
    except Exception as error:  # importing a package runs any code
        raise _broken(group, name, found[0], "load", error) from error


def _made(group: str, name: str, factory: Callable[..., Any], arguments: tuple[Any, ...], shown: str) -> Any:
    """What the factory makes; its errors become ours, because it is foreign code that runs at boot."""
    try:
        return factory(*arguments)
    except KernelError:
        raise
    except Exception as error:
        raise _broken(group, name, _entries()[group][name][0], f"construct from {shown}", error) from error


def _broken(group: str, name: str, entry: EntryPoint, doing: str, error: Exception) -> ConfigError:
    owner = _distribution(entry)
    cause = f"{type(error).__name__}: {error}".replace("\n", " ")
    missing = (error.name or "") if isinstance(error, ImportError) else ""
    if missing and missing.partition(".")[0] not in {"kernel", entry.module.partition(".")[0]}:
        remedy = _remedy(name) if owner == _OURS else f"install what {owner} asks for"
        return MissingExtra(f"the {GROUPS[group]} {name!r} needs {missing!r}: {remedy} ({cause})")
    return ConfigError(f"cannot {doing} the {GROUPS[group]} {name!r} of {owner}: {cause}")


def _unknown(group: str, name: str) -> str:
    import difflib  # 2 ms, for an error only

    known = sorted(_entries()[group])
    text = f"unknown {GROUPS[group]} {name!r}"
    if meant := difflib.get_close_matches(name, known, 1):
        text += f", did you mean {meant[0]!r}?"
    return f"{text}; installed: {', '.join(known) or 'none'}"


def _remedy(name: str) -> str:
    extra = EXTRAS.get(name)
    return f"pip install '{_OURS}[{extra}]'" if extra else f"reinstall {_OURS}"


def _distribution(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else "an unknown distribution"
