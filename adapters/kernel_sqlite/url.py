"""What an SQLite URL says: `sqlite:///relative.db`, `sqlite:////absolute.db`, and a few options.

One URL serves all four ports, so every port accepts every option.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote, urlsplit

from kernel.ports.query import Query

Synchronous = Literal["full", "normal"]

_SYNCHRONOUS: dict[str, Synchronous] = {"full": "full", "normal": "normal"}


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
    options = Query(url, parts.query)
    if parts.scheme != "sqlite" or parts.netloc or parts.fragment or not path or path == ":memory:":
        raise options.wrong("write sqlite:///relative.db or sqlite:////absolute.db (a file, not :memory:)")
    location = Location(
        path=path,
        synchronous=options.choice("synchronous", "full", _SYNCHRONOUS),
        timeout=options.seconds("timeout", 5.0, least=0.0),
        lease=options.seconds("lease", 60.0),
    )
    options.finish()
    return location
