"""Which server answers for a key: one server, the master that Sentinel knows, or the nodes of a cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from redis.crc import key_slot

from kernel.errors import Unavailable
from kernel_redis.faults import FAULTS, is_lost
from kernel_redis.link import Link
from kernel_redis.url import Address, Location

Connect = Callable[[Address, int], Link]


class Nodes(Protocol):
    """Answers from what it knows and asks the service when it knows nothing; every answer may turn out to be old."""

    #: Whether one command may touch keys of any slot.
    spans: bool

    def of(self, key: str) -> Address:
        """The server of a key. `Unavailable`, or one of `faults.FAULTS`, when nobody can tell."""

    def forget(self) -> None:
        """What it knows turned out to be old: ask at the next call."""


class Fixed:
    """One server, whose address is known."""

    spans = True

    def __init__(self, address: Address) -> None:
        self._address = address

    def of(self, key: str) -> Address:
        """Always the same."""
        return self._address

    def forget(self) -> None:
        """Nothing to forget."""


class Sentinel:
    """The master of a service. Protocol: https://redis.io/docs/latest/develop/reference/sentinel-clients/."""

    spans = True

    def __init__(self, location: Location, connect: Connect) -> None:
        self._location = location
        self._connect = connect
        self._master: Address | None = None

    def of(self, key: str) -> Address:
        """The master, whatever the key."""
        master = self._master
        if master is None:
            master = self._master = self._ask()
        return master

    def forget(self) -> None:
        """Ask again."""
        self._master = None

    def _ask(self) -> Address:
        service = self._location.service
        troubles: list[str] = []
        for address in self._location.addresses:
            try:
                answer = _asked(self._connect(address, 2), "SENTINEL", "GET-MASTER-ADDR-BY-NAME", service)
            except FAULTS as error:
                troubles.append(f"{address[0]}:{address[1]}: {error}")
                continue
            if answer:
                return answer[0].decode(), int(answer[1])
            troubles.append(f"{address[0]}:{address[1]} knows no {service!r}")
        raise Unavailable(f"no Sentinel names a master of {service!r}: {'; '.join(troubles)}")


class Cluster:
    """The nodes of a cluster. Protocol: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/."""

    spans = False

    def __init__(self, location: Location, connect: Connect) -> None:
        self._seeds = location.addresses
        self._shown = location.shown
        self._connect = connect
        #: First slot, last slot, master.
        self._ranges: list[tuple[int, int, Address]] = []

    def of(self, key: str) -> Address:
        """The master of the slot of the key."""
        slot = key_slot(key.encode("utf-8", "surrogatepass"))
        for first, last, address in self._ranges or self._ask():
            if first <= slot <= last:
                return address
        self.forget()
        raise Unavailable(f"no node of the cluster at {self._shown} serves slot {slot}")

    def forget(self) -> None:
        """Ask again; the nodes that were known stay seeds."""
        self._seeds = tuple(dict.fromkeys((*self._seeds, *(address for _, _, address in self._ranges))))
        self._ranges = []

    def _ask(self) -> list[tuple[int, int, Address]]:
        troubles: list[str] = []
        for address in self._seeds:
            try:
                answer = _asked(self._connect(address, 2), "CLUSTER", "SLOTS")
            except FAULTS as error:
                if not is_lost(error):
                    raise
                troubles.append(f"{address[0]}:{address[1]}: {error}")
                continue
            if answer:
                self._ranges = [(first, last, _address(master, address)) for first, last, master, *_ in answer]
                return self._ranges
            troubles.append(f"{address[0]}:{address[1]} serves no slots yet")
        raise Unavailable(f"no node of the cluster answers: {'; '.join(troubles)}")


def _asked(link: Link, *parts: Any) -> Any:
    try:
        link.connect()
        return link.call(*parts)
    finally:
        link.close()


def _address(master: list[Any], asked: Address) -> Address:
    """A node as `CLUSTER SLOTS` writes it; an empty host means the one that was asked."""
    host = master[0].decode() if master[0] else ""
    return host if host not in ("", "?") else asked[0], int(master[1])


def nodes_of(location: Location, connect: Connect, connect_sentinel: Connect) -> Nodes:
    """The nodes that a location means."""
    if location.kind == "sentinel":
        return Sentinel(location, connect_sentinel)
    if location.kind == "cluster":
        return Cluster(location, connect)
    return Fixed(location.addresses[0])
