"""Redis servers of the tests."""

from __future__ import annotations

import os
import socket
from functools import cache

from services.server import Server, free_port, program

#: An existing server to use in place of one of our own.
VARIABLE = "KERNEL_TEST_REDIS_URL"
INSTALL = "apt-get install redis-server (or any Redis 6.2+ or Valkey), or set KERNEL_TEST_REDIS_URL"


def _pong(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), 1.0) as probe:
        probe.sendall(b"PING\r\n")
        return probe.recv(64).startswith((b"+PONG", b"-NOAUTH"))


def redis_server(*options: str, port: int = 0) -> tuple[Server, str]:
    """A private server, started, and its URL. `options` are those of the server's command line."""
    port = port or free_port()
    binary = program("redis-server", "valkey-server", install=INSTALL)
    command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--daemonize", "no", *options]
    server = Server("redis", lambda directory: [*command, "--dir", str(directory)], lambda: _pong(port))
    server.start()
    return server, f"redis://127.0.0.1:{port}/0"


@cache
def shared_redis() -> str:
    """The URL of the one server that tests share: durable, as the claims of the adapter are read from it."""
    given = os.environ.get(VARIABLE)
    return given or redis_server("--appendonly", "yes", "--appendfsync", "always")[1]
