"""A port that answers HTTP requests after the health of a worker.

Part of the supervisor's own loop and not a thread beside it: an answer then says that the loop goes round. Nothing here
ever waits; what a client may take in time, memory and connections is bounded, and beyond it the client is dropped.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from math import inf

from kernel.errors import ConfigError
from kernel.supervisor.health import Health

#: Seconds from the acceptance of a connection to its end.
PATIENCE = 5.0
#: Bytes of a request.
LARGEST = 8192
#: Connections at a time; one more ends the oldest.
MOST = 32
#: Connections that are accepted in one turn of the loop, so that a flood of them holds nothing up.
AT_ONCE = 8


class HealthPort:
    """`GET /live` and `GET /ready`: 200 or 503, with the reasons as JSON. Nothing at all for port 0."""

    def __init__(self, host: str, port: int) -> None:
        """Bind; `ConfigError` when that is not possible."""
        self._listener: socket.socket | None = None
        #: Open connections, the oldest first: what came so far, and when the end is.
        self._open: dict[socket.socket, tuple[bytes, float]] = {}
        if not port:
            return
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._listener = socket.create_server((host, port), family=family, backlog=MOST)
        except (OSError, OverflowError) as error:
            reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
            raise ConfigError(f"health port {port} on {host}: {reason.lower()}; choose another --health-port") from None
        self._listener.setblocking(False)

    def fds(self) -> list[int]:
        """Descriptors that become readable when there is something to do."""
        sockets = [self._listener, *self._open] if self._listener is not None else []
        return [each.fileno() for each in sockets]

    def next_at(self) -> float:
        """When the first connection is to be dropped; monotonic."""
        return next((until for _, until in self._open.values()), inf)

    def serve(self, now: float, examine: Callable[[], Health]) -> None:
        """Answer what has been asked by now. Never waits, never raises for what a client does."""
        if self._listener is None:
            return
        self._accept(self._listener, now)
        for connection, (before, until) in list(self._open.items()):
            request = self._more(connection, before)
            if request is not None and not _is_whole(request) and now < until:
                self._open[connection] = request, until
                continue
            if request is not None and _is_whole(request):
                with suppress(OSError):  # gone, or it reads nothing: an answer fits into every buffer that is empty
                    connection.send(_answer(request, examine))
                    connection.shutdown(socket.SHUT_WR)
            del self._open[connection]
            connection.close()

    def _accept(self, listener: socket.socket, now: float) -> None:
        for _ in range(AT_ONCE):
            try:
                connection, _address = listener.accept()
            except OSError:
                return
            connection.setblocking(False)
            if len(self._open) >= MOST:
                oldest = next(iter(self._open))
                del self._open[oldest]
                oldest.close()
            self._open[connection] = b"", now + PATIENCE

    def _more(self, connection: socket.socket, before: bytes) -> bytes | None:
        """The request as far as it has come; None when its sender is gone."""
        try:
            more = connection.recv(LARGEST + 1 - len(before))
        except BlockingIOError:
            return before
        except OSError:
            return None
        return before + more if more else None

    def close(self) -> None:
        """Drop all. Idempotent."""
        for connection in self._open:
            connection.close()
        self._open.clear()
        if self._listener is not None:
            self._listener.close()
            self._listener = None


def _is_whole(request: bytes) -> bool:
    return b"\r\n\r\n" in request or b"\n\n" in request or len(request) > LARGEST


def _answer(request: bytes, examine: Callable[[], Health]) -> bytes:
    """The response to a whole request; of its header only the first line counts."""
    if len(request) > LARGEST:
        return _response("431 Request Header Fields Too Large", b"")
    method, _, rest = request.partition(b"\n")[0].strip().partition(b" ")
    path = rest.split(b" ")[0].partition(b"?")[0]
    if method not in (b"GET", b"HEAD"):
        return _response("405 Method Not Allowed", b"")
    if path not in (b"/live", b"/ready"):
        return _response("404 Not Found", b'{"why":["ask for /live or /ready"]}\n')
    health = examine()
    good = health.live if path == b"/live" else health.ready
    body = health.dump()
    return _response("200 OK" if good else "503 Service Unavailable", body, method == b"GET")


def _response(status: str, body: bytes, with_body: bool = True) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (body if with_body else b"")
