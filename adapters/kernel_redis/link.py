"""One connection. redis-py does the handshake (TLS, user, database) and the protocol; nothing else of it is used.

Its client and its pool are left out because of what they cost per call: retries, health checks, callbacks of
responses and locks, which were more than half of a round trip on loopback.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Sequence
from typing import Any

from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import ResponseError

from kernel_redis.url import Address, Location

Parts = tuple[Any, ...]


class Link:
    """Sends commands and reads answers; used by one thread at a time. Errors are redis-py's."""

    __slots__ = ("__weakref__", "_connection", "_id", "address")

    def __init__(self, address: Address, connection: Any) -> None:
        self.address = address
        self._connection = connection
        self._id = 0

    def connect(self) -> None:
        """Connect and shake hands."""
        self._connection.connect()

    def send(self, commands: Sequence[Parts]) -> None:
        """Send commands; their answers are read in the same order."""
        connection = self._connection
        one = len(commands) == 1
        packed = connection.pack_command(*commands[0]) if one else connection.pack_commands(commands)
        connection.send_packed_command(packed, check_health=False)

    def read(self) -> Any:
        """The next answer; an error of the server is returned, one of the connection raised."""
        try:
            return self._connection.read_response(disable_decoding=True)
        except ResponseError as error:
            return error

    def read_any(self) -> Any:
        """The next answer or notice (RESP3 only)."""
        return self._connection.read_response(disable_decoding=True, push_request=True)

    def call(self, *parts: Any) -> Any:
        """Send one command and return its answer, or raise its error."""
        self.send([parts])
        return self._connection.read_response(disable_decoding=True)

    @property
    def id(self) -> int:
        """The server's number for this connection."""
        if not self._id:
            self._id = int(self.call("CLIENT", "ID"))
        return self._id

    def has_data(self) -> bool:
        """Whether an answer, or the end of the connection, can be read without waiting."""
        return bool(self._connection.can_read(0))

    @property
    def socket(self) -> Any:
        """What to poll. Not public in redis-py, whose own `can_read` waits for one connection and nothing else."""
        return self._connection._sock

    def close(self) -> None:
        """Disconnect. Idempotent."""
        self._connection.disconnect()


def readable(links: Sequence[Link], bell: int, timeout: float) -> tuple[list[Link], bool]:
    """Wait up to `timeout` seconds for an answer: the links that have one, and whether `bell` (a descriptor) rang."""
    found = [link for link in links if link.has_data()]
    if found:
        timeout = 0.0
    poller = select.poll()
    by_number: dict[int, Link] = {}
    for link in links:
        number = link.socket.fileno()
        by_number[number] = link
        poller.register(number, select.POLLIN)
    if bell >= 0:
        poller.register(bell, select.POLLIN)
    numbers = {number for number, _ in poller.poll(max(0, int(timeout * 1000 + 0.999)))}
    return found or [by_number[number] for number in numbers if number in by_number], bell in numbers


def connector(location: Location) -> Callable[[Address, int], Link]:
    """Makes unconnected links to an address, speaking version 2 or 3 of the protocol."""
    options: dict[str, Any] = {
        "db": location.database,
        "username": location.username,
        "password": location.password,
        "socket_timeout": location.timeout,
        "socket_connect_timeout": location.timeout,
    }
    kind: Any = Connection
    local: Any = UnixDomainSocketConnection
    if location.tls:
        kind = SSLConnection
        options |= {
            "ssl_ca_certs": location.cafile,
            "ssl_certfile": location.certfile,
            "ssl_keyfile": location.keyfile,
            "ssl_cert_reqs": "required" if location.verify else "none",
            "ssl_check_hostname": location.verify,
        }

    def make(address: Address, protocol: int = 2) -> Link:
        if location.path:
            return Link(address, local(path=location.path, protocol=protocol, **options))
        host, port = address
        return Link(address, kind(host=host, port=port, protocol=protocol, **options))

    return make
