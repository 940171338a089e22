"""What a Redis URL says. One URL serves all four ports, so every port accepts every option.

redis://[user:password@]host[:port][/database]            rediss:// with TLS; valkey:// and valkeys:// are the same
redis+unix:///path/of/the.sock?database=1
redis+sentinel://[user:password@]host[:port],host[:port]/service[/database]         rediss+sentinel://
redis+cluster://[user:password@]host[:port],host[:port]                              rediss+cluster://
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote, urlsplit

from kernel.errors import ConfigError
from kernel.ports.query import Query

Kind = Literal["server", "unix", "sentinel", "cluster"]
Address = tuple[str, int]

#: Scheme to kind and whether it speaks TLS.
_SCHEMES: dict[str, tuple[Kind, bool]] = {
    "redis": ("server", False),
    "rediss": ("server", True),
    "valkey": ("server", False),
    "valkeys": ("server", True),
    "redis+unix": ("unix", False),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """A Redis and how to use it."""

    kind: Kind = "server"
    tls: bool = False
    addresses: tuple[Address, ...] = (("localhost", 6379),)
    #: Path of a Unix socket.
    path: str = ""
    #: Name of the master that Sentinel knows.
    service: str = ""
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    sentinel_user: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    #: First part of every key.
    prefix: str = "kernel"
    #: Seconds for which a received message stays hidden.
    lease: float = 60.0
    #: Seconds to wait for an answer, or for a connection.
    timeout: float = 5.0
    #: Seconds of waiting that count as one level of priority.
    aging: float = 30.0
    cafile: str | None = None
    certfile: str | None = None
    keyfile: str | None = None
    verify: bool = True

    @property
    def shown(self) -> str:
        """How messages name it: without anything secret."""
        return self.path or ",".join(f"{host}:{port}" for host, port in self.addresses)

    @property
    def unreadable(self) -> str:
        """The option that names a file which cannot be read; "" when there is none."""
        files = {"cafile": self.cafile, "certfile": self.certfile, "keyfile": self.keyfile}
        return next((f"{key}={path}" for key, path in files.items() if path and not os.access(path, os.R_OK)), "")


def parse(url: str) -> Location:
    """Read a Redis URL; `ConfigError` names what is wrong with it, and never the password."""
    scheme, _, rest = url.partition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if authority and "@" in rest[len(authority) :]:  # what stands before it may be a part of a password
        raise ConfigError(f"{scheme}://...: write @ as %40, and / ? # in a user or password as %2F %3F %23")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ConfigError(f"{scheme}://{authority.rpartition('@')[2]}: no host is named like this") from None
    shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    if parts.scheme not in _SCHEMES or parts.fragment:
        raise ConfigError(f"{shown}: write redis://host:port/database")
    kind, tls = _SCHEMES[parts.scheme]
    options = Query(shown, parts.query)
    credentials, _, hosts = parts.netloc.rpartition("@")
    username, _, password = credentials.partition(":")
    path = [unquote(part) for part in parts.path.split("/") if part]
    service = ""
    if kind == "unix":
        if hosts or not path:
            raise ConfigError(f"{shown}: write redis+unix:///path/of/the.sock")
        path = []
    elif kind == "sentinel":
        if not path:
            raise ConfigError(f"{shown}: name the service, as in redis+sentinel://host:26379/mymaster")
        service = path.pop(0)
    number = options.text("database") or (path.pop(0) if path else "0")
    if path or not (number.isascii() and number.isdigit()) or (kind == "cluster" and number != "0"):
        raise ConfigError(f"{shown}: the database is one number (a cluster has only 0)")
    usual = Location()
    prefix = options.text("prefix", usual.prefix)
    if "{" in prefix or "}" in prefix:
        raise ConfigError(f"{shown}: no braces in the prefix: they decide where a cluster puts a key")
    location = Location(
        kind=kind,
        tls=tls,
        addresses=_addresses(shown, hosts, 26379 if kind == "sentinel" else 6379),
        path=unquote(parts.path) if kind == "unix" else "",
        service=service,
        database=int(number),
        username=unquote(username) or None,
        password=unquote(password) or None,
        sentinel_user=options.text("sentinel_user") or None,
        sentinel_password=options.text("sentinel_password") or None,
        prefix=prefix,
        lease=options.seconds("lease", usual.lease),
        timeout=options.seconds("timeout", usual.timeout),
        aging=options.seconds("aging", usual.aging),
        cafile=options.text("cafile") or None,
        certfile=options.text("certfile") or None,
        keyfile=options.text("keyfile") or None,
        verify=options.flag("verify", default=True),
    )
    options.finish()
    return location


def _addresses(shown: str, hosts: str, port: int) -> tuple[Address, ...]:
    found: list[Address] = []
    for host in hosts.split(",") if hosts else ["localhost"]:
        try:
            parts = urlsplit(f"//{host}")
            found.append((parts.hostname or "localhost", parts.port or port))
        except ValueError:
            raise ConfigError(f"{shown}: {host!r} is no host:port") from None
    return tuple(found)
