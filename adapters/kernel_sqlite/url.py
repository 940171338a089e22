"""What an SQLite URL says: `sqlite:///relative.db`, `sqlite:////absolute.db`, and a few options.

One URL serves all four ports, so every port accepts every option.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from kernel.errors import ConfigError

Synchronous = Literal["full", "normal"]

KNOWN = "known are synchronous=full|normal, timeout=seconds and lease=seconds"


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """A database file and how to use it."""

    path: str
    #: "full": a commit is on the disk when it returns. "normal": a loss of power may take the last commits.
    synchronous: Synchronous = "full"
    #: Seconds to wait for another writer before `Unavailable`.
    timeout: float = 5.0
    #: Seconds for which a received message stays hidden.
    lease: float = 60.0


def parse(url: str) -> Location:
    """Read an SQLite URL; `ConfigError` names what is wrong with it."""
    parts = urlsplit(url)
    path = unquote(parts.path)[1:]
    if parts.scheme != "sqlite" or parts.netloc or parts.fragment or not path or path == ":memory:":
        raise ConfigError(f"{url}: write sqlite:///relative.db or sqlite:////absolute.db (a file, not :memory:)")
    synchronous: Synchronous = "full"
    seconds = {"timeout": 5.0, "lease": 60.0}
    for key, text in parse_qsl(parts.query, keep_blank_values=True):
        if key == "synchronous":
            synchronous = _synchronous(url, text)
        elif key in seconds:
            seconds[key] = _seconds(url, key, text)
        else:
            raise ConfigError(f"{url}: unknown option {key!r}; {KNOWN}")
    if not seconds["lease"]:
        raise ConfigError(f"{url}: lease must be above 0")
    return Location(path=path, synchronous=synchronous, timeout=seconds["timeout"], lease=seconds["lease"])


def _synchronous(url: str, text: str) -> Synchronous:
    if text == "full":
        return "full"
    if text == "normal":
        return "normal"
    raise ConfigError(f"{url}: synchronous is full or normal, not {text!r}")


def _seconds(url: str, key: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if 0 <= value < math.inf:
        return value
    raise ConfigError(f"{url}: {key} is a number of seconds, not {text!r}")
