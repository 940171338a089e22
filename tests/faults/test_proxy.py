"""The fault proxy, in front of a server that echoes lines and counts what it was asked."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Iterator

import pytest
from support import eventually

from faults.proxy import Proxy, Weather


class Echo(socketserver.ThreadingTCPServer):
    """Answers each line with itself."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(socketserver.StreamRequestHandler):
    """One connection."""

    server: Echo

    def handle(self) -> None:
        try:
            for line in self.rfile:
                self.server.heard.append(line)
                self.wfile.write(line)
        except OSError:
            pass


@pytest.fixture
def echo() -> Iterator[Echo]:
    with Echo() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join(5.0)


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    proxy = Proxy(("127.0.0.1", echo.server_address[1]))
    yield proxy
    proxy.close()


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    with _dial(proxy) as connection:
        assert _ask(connection, b"hello\n") == b"hello\n"
        yield connection


def _dial(proxy: Proxy) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", proxy.port), 5.0)
    connection.settimeout(5.0)
    return connection


def _ask(connection: socket.socket, line: bytes) -> bytes:
    connection.sendall(line)
    return connection.recv(1 << 16)


def test_it_carries_much_both_ways(proxy: Proxy, client: socket.socket) -> None:
    sent = b"x" * 999_999 + b"\n"
    thread = threading.Thread(target=client.sendall, args=(sent,))
    thread.start()
    came = b""
    while len(came) < len(sent):
        came += client.recv(1 << 16)
    thread.join(5.0)
    assert came == sent


def test_the_end_of_a_side_is_handed_on(proxy: Proxy, client: socket.socket) -> None:
    client.sendall(b"last\n")
    client.shutdown(socket.SHUT_WR)
    assert client.recv(100) == b"last\n"
    assert client.recv(100) == b""
    eventually(lambda: proxy.connections == 0)


def test_a_reset_is_one(proxy: Proxy, client: socket.socket) -> None:
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        client.recv(100)
    with _dial(proxy) as another:
        assert _ask(another, b"new\n") == b"new\n"


def test_a_reply_is_swallowed_after_the_work_is_done(proxy: Proxy, client: socket.socket, echo: Echo) -> None:
    proxy.cut_replies()
    with pytest.raises(ConnectionResetError):
        _ask(client, b"done\n")
    assert echo.heard[-1] == b"done\n"
    with _dial(proxy) as another:
        assert _ask(another, b"new\n") == b"new\n"


@pytest.mark.parametrize("up", [True, False])
def test_half_open_says_nothing_and_is_reset_when_healed(
    proxy: Proxy, client: socket.socket, echo: Echo, up: bool
) -> None:
    proxy.set(Weather(lose_up=up, lose_down=not up))
    client.settimeout(0.2)
    with pytest.raises(TimeoutError):
        _ask(client, b"gone\n")
    assert (b"gone\n" in echo.heard) is not up
    client.settimeout(5.0)
    proxy.heal()
    with pytest.raises(ConnectionResetError):
        client.recv(100)


@pytest.mark.parametrize("up", [True, False])
def test_what_is_held_goes_on_when_healed(proxy: Proxy, client: socket.socket, echo: Echo, up: bool) -> None:
    proxy.set(Weather(hold_up=up, hold_down=not up))
    client.settimeout(0.2)
    with pytest.raises(TimeoutError):
        _ask(client, b"later\n")
    assert (b"later\n" in echo.heard) is not up
    client.settimeout(5.0)
    proxy.heal()
    assert client.recv(100) == b"later\n"


def test_slow_is_late_each_way(proxy: Proxy, client: socket.socket) -> None:
    proxy.set(Weather(latency=0.1))
    began = time.monotonic()
    assert _ask(client, b"late\n") == b"late\n"
    assert time.monotonic() - began >= 0.2


def test_a_rate_is_kept(proxy: Proxy, client: socket.socket) -> None:
    proxy.set(Weather(rate=100_000.0))
    began = time.monotonic()
    for _ in range(4):
        client.sendall(b"x" * 9_999 + b"\n")
    came = 0
    while came < 40_000:
        came += len(client.recv(1 << 16))
    assert time.monotonic() - began >= 0.3


def test_new_connections_are_refused_and_old_ones_go_on(proxy: Proxy, client: socket.socket) -> None:
    proxy.set(Weather(refuse=True))
    with pytest.raises(OSError), _dial(proxy) as another:
        _ask(another, b"no\n")
    assert _ask(client, b"yes\n") == b"yes\n"
    proxy.heal()
    with _dial(proxy) as another:
        assert _ask(another, b"again\n") == b"again\n"


def test_without_a_server_connections_are_reset(free_port: int) -> None:
    proxy = Proxy(("127.0.0.1", free_port))
    try:
        with pytest.raises(OSError), _dial(proxy) as connection:
            _ask(connection, b"anybody\n")
    finally:
        proxy.close()
    proxy.close()
