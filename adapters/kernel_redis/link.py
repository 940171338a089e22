"""One connection. redis-py makes it and shakes hands (TLS, user, database); then hiredis reads what comes.

redis-py's client, pool and connection are left out of every call because of what they cost there: health checks,
retries, callbacks of responses, timers and locks come to more than the round trip itself on loopback.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Sequence
from typing import Any

import hiredis
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection

from kernel_redis.faults import Lost, Refused
from kernel_redis.url import Address, Location

Parts = tuple[Any, ...]
#: Bytes asked of the socket at once.
CHUNK = 65536
_pack = hiredis.pack_command
_POLLS = hasattr(select, "poll")


class Link:
    """Sends commands and reads answers; used by one thread at a time.

    What the server refuses is read as a `Refused`; a lost connection is raised as `Lost` or `OSError`.
    """

    __slots__ = ("__weakref__", "_buffer", "_connection", "_id", "_pending", "_poller", "_reader", "_socket", "address")

    def __init__(self, address: Address, connection: Any) -> None:
        self.address = address
        self._connection = connection
        self._socket: Any = None
        self._reader: Any = None
        self._pending: Any = None
        self._poller: Any = None
        self._buffer = bytearray(CHUNK)
        self._id = 0

    def connect(self) -> None:
        """Connect and shake hands. Errors of redis-py."""
        self._connection.connect()
        # Not public in redis-py, whose connection can neither be polled beside others nor read without its overhead.
        self._socket = self._connection._sock
        self._pending = getattr(self._socket, "pending", None)  # what TLS has decrypted already
        if _POLLS:
            self._poller = select.poll()
            self._poller.register(self._socket.fileno(), select.POLLIN)
        self._reader = hiredis.Reader(replyError=Refused, protocolError=Lost, notEnoughData=Ellipsis)

    def send(self, commands: Sequence[Parts]) -> None:
        """Send commands; their answers are read in the same order."""
        if len(commands) == 1:
            self._open_socket.sendall(_pack(commands[0]))
        else:
            self._open_socket.sendall(b"".join([_pack(command) for command in commands]))

    def read(self) -> Any:
        """The next answer, or (version 3 of the protocol) notice; waits for it as long as the location's timeout."""
        reader = self._reader
        if reader is None:
            raise Lost("the connection is closed")
        answer = reader.gets()
        while answer is Ellipsis:
            self._receive(reader)
            answer = reader.gets()
        return answer

    def call(self, *parts: Any) -> Any:
        """Send one command and return its answer; a `Refused` is raised."""
        self.send([parts])
        return checked(self.read())

    @property
    def id(self) -> int:
        """The server's number for this connection."""
        if not self._id:
            self._id = int(self.call("CLIENT", "ID"))
        return self._id

    def has_data(self) -> bool:
        """Whether an answer, or the end of the connection, can be read without waiting."""
        if self.buffered:
            return True
        poller = self._poller
        return bool(poller.poll(0) if poller is not None else readable([self], -1, 0.0)[0])

    @property
    def buffered(self) -> bool:
        """Whether there is more to read that the operating system knows nothing of."""
        reader = self._reader
        if reader is None:
            raise Lost("the connection is closed")
        pending = self._pending
        return reader.has_data() or (pending is not None and pending() > 0)

    def fileno(self) -> int:
        """What to poll."""
        return int(self._open_socket.fileno())

    def close(self) -> None:
        """Disconnect. Idempotent, and by any thread: who reads gets an error."""
        self._socket = self._reader = None
        self._connection.disconnect()

    @property
    def _open_socket(self) -> Any:
        socket = self._socket
        if socket is None:
            raise Lost("the connection is closed")
        return socket

    def _receive(self, reader: Any) -> None:
        try:
            count = self._open_socket.recv_into(self._buffer)
        except TimeoutError:
            raise Lost("no answer in time") from None
        if not count:
            raise Lost("the server has closed the connection")
        reader.feed(self._buffer, 0, count)


def checked(answer: Any) -> Any:
    """An answer; a refusal in its place is raised."""
    if isinstance(answer, Refused):
        raise answer
    return answer


def readable(links: Sequence[Link], bell: int, timeout: float) -> tuple[list[Link], bool]:
    """Wait up to `timeout` seconds for an answer: the links that have one, and whether `bell` (a descriptor) rang."""
    found = [link for link in links if link.buffered]
    milliseconds = 0 if found or timeout <= 0 else int(timeout * 1000 + 0.999)
    by_number = {link.fileno(): link for link in links}
    watched = [*by_number, bell] if bell >= 0 else list(by_number)
    if _POLLS:
        poller = select.poll()
        for number in watched:
            poller.register(number, select.POLLIN)
        numbers = {number for number, _ in poller.poll(milliseconds)}
    else:
        numbers = set(select.select(watched, [], [], milliseconds / 1000)[0])
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
