"""The values of settings: read from text, checked, and refused in one line that names their source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from typing import Any

from kernel.configuration.annotations import parse_annotations, plain_annotations
from kernel.configuration.familiar import FAMILIAR
from kernel.configuration.settings import DEFAULTS
from kernel.configuration.zones import parse_zone
from kernel.errors import ConfigError
from kernel.masking import masked
from kernel.options import TaskOptions, check_known
from kernel.routing import parse_queues, parse_routes, plain_queues, plain_routes

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
    "compression": ("", "zlib", "gzip", "bz2", "lzma", "zstd"),
    "unsealed": ("refuse", "accept", "send"),
}
#: Must not be empty.
_NEEDED = frozenset({"transport", "queue", "serializer", "accept", "queues", "pool", "health_host"})
#: Settings with a form of their own: what reads it, and raises ValueError or ConfigError for what it is not; what
#: writes it in plain values.
_FORMS: Mapping[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "routes": (parse_routes, plain_routes),
    "declared_queues": (parse_queues, plain_queues),
    "annotations": (lambda value: parse_annotations(value, _task_options), plain_annotations),
    "timezone": (parse_zone, str),
}
#: How like a key a name must be to count as a misspelling where others are allowed. At 0.8 KERNEL_RELEASE is a `lease`.
TYPO = 0.85
_YES = ("1", "true", "yes", "on")
_NO = ("0", "false", "no", "off")


def closest(key: str, likeness: float = 0.6) -> str:
    """The setting of the name most like this one, "" where none is so like it."""
    import difflib  # 2 ms, for an error only

    return next(iter(difflib.get_close_matches(key, DEFAULTS, 1, likeness)), "")


def _hint(key: Any) -> str:
    """What to write instead of a key that there is not."""
    if not isinstance(key, str):
        return "; settings have names"
    old = key.lower().removeprefix("celery_")
    if old in FAMILIAR:
        return f"; Celery's {old} is {FAMILIAR[old]!r} here"
    meant = closest(key.lower())
    return f"; did you mean {meant!r}?" if meant else "; `kernel config` lists them all"


def check(source: str, key: str, value: Any, text: bool = False) -> Any:
    """The value in the type of its key; with `text`, a string is read as one. `ConfigError` for what does not fit."""
    default = DEFAULTS.get(key)
    if default is None:
        raise ConfigError(f"{source}: unknown setting {key!r}{_hint(key)}")
    if key in _FORMS:
        return _formed(source, key, value, text)
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


def plain(key: str, value: Any) -> Any:
    """The value of a setting as it may be printed: no objects in it."""
    return _FORMS[key][1](value) if key in _FORMS else value


def _task_options(options: Mapping[str, Any]) -> None:
    check_known(options, TaskOptions, "task")


def _formed(source: str, key: str, value: Any, text: bool) -> Any:
    try:
        if text and isinstance(value, str):
            value = _read_form(value, type(DEFAULTS[key]))
        return _FORMS[key][0](value)
    except (ValueError, ConfigError) as error:
        raise ConfigError(f"{source}: {key}: {error}") from None


def _read_form(value: str, kind: type) -> Any:
    """JSON where it looks like it, else what a setting of its kind may be in a text."""
    if value.lstrip()[:1] not in ("{", "["):
        return _read_text(value, kind)
    import json  # for the few who write a mapping into a variable

    return json.loads(value)


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
