"""What a server says of itself when it is opened: its version, and how long what it stores lasts."""

from __future__ import annotations

import re
from dataclasses import dataclass

from kernel.errors import ConfigError
from kernel.ports import Survives
from kernel_redis.faults import Refused
from kernel_redis.link import Link
from kernel_redis.url import Location

#: Oldest version with all commands that are used (LPOP with a count, SET with NX and PX together with GET, ...).
OLDEST = (6, 2)


@dataclass(frozen=True, slots=True)
class Server:
    """Facts about one server."""

    version: str
    survives: Survives


def examined(link: Link, location: Location) -> Server:
    """Look at a server; `ConfigError` when it cannot serve."""
    info = _info(link)
    version = info.get("redis_version", "0")
    if tuple(int(number) for number in re.findall(r"\d+", version)[:2]) < OLDEST:
        raise ConfigError(f"Redis at {location.shown} is version {version}: 6.2 or newer is needed")
    if info.get("cluster_enabled") == "1" and location.kind != "cluster":
        raise ConfigError(f"Redis at {location.shown} is a node of a cluster: write redis+cluster://")
    if info.get("cluster_enabled") != "1" and location.kind == "cluster":
        raise ConfigError(f"Redis at {location.shown} is no node of a cluster: write redis://")
    policy = info.get("maxmemory_policy", "noeviction")
    if policy.startswith("allkeys"):
        raise ConfigError(
            f"Redis at {location.shown} would throw away tasks when its memory is full (maxmemory-policy {policy}): "
            f"set it to noeviction"
        )
    return Server(version, _survives(link, info))


def _info(link: Link) -> dict[str, str]:
    lines = bytes(link.call("INFO")).decode("utf-8", "replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def _survives(link: Link, info: dict[str, str]) -> Survives:
    """Only with `appendfsync always` is a write on the disk when it is answered.

    With `everysec` it is in the file, unless a flush is under way: then up to two seconds of writes are in the memory
    of the process only (https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/).
    """
    if info.get("aof_enabled") != "1":
        return "process"
    try:
        answer = link.call("CONFIG", "GET", "appendfsync")
    except Refused:
        return "process"  # not permitted to look, as in managed services: claim the least
    return "power" if list(answer)[1:] == [b"always"] else "process"
