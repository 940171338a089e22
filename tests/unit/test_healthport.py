"""The health port against clients that are slow, hostile or gone: nothing they do makes it wait."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from math import inf

import pytest
from services.server import free_port

from kernel.errors import ConfigError
from kernel.supervisor.health import MOST_REASONS, Health
from kernel.supervisor.healthport import LARGEST, MOST, PATIENCE, HealthPort

FINE = Health(live=True, ready=True, why=[])
BUSY = Health(live=True, ready=False, why=["the worker was told to stop: drain"])


class Bench:
    """A port that is served by hand, with a clock of its own."""

    def __init__(self) -> None:
        self.number = free_port()
        self.port = HealthPort("127.0.0.1", self.number)
        self.health = FINE
        self.now = 0.0

    def serve(self) -> None:
        """One turn of the loop, which must not wait."""
        began = time.monotonic()
        self.port.serve(self.now, lambda: self.health)
        assert time.monotonic() - began < 0.5

    def connect(self) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.number), 5.0)
        self.serve()
        return client

    def ask(self, request: bytes) -> tuple[str, bytes]:
        """Status line and body of the answer."""
        with self.connect() as client:
            client.sendall(request)
            self.serve()
            head, _, body = _all(client).partition(b"\r\n\r\n")
            return head.split(b"\r\n")[0].decode(), body


def _all(client: socket.socket) -> bytes:
    found = b""
    with suppress(ConnectionResetError):
        while part := client.recv(65536):
            found += part
    return found


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.port.close()
    bench.port.close()
    assert bench.port.fds() == []


@pytest.mark.parametrize(
    "request_", [b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n", b"GET %s?a=1 HTTP/1.0\n\n", b"GET %s\r\n\r\n"]
)
def test_the_answer_is_a_status_and_the_reasons(bench: Bench, request_: bytes) -> None:
    bench.health = BUSY
    status, body = bench.ask(request_ % b"/live")
    assert status == "HTTP/1.1 200 OK"
    assert json.loads(body) == {"live": True, "ready": False, "why": BUSY.why}
    status, again = bench.ask(request_ % b"/ready")
    assert (status, again) == ("HTTP/1.1 503 Service Unavailable", body)
    bench.health = FINE
    assert bench.ask(request_ % b"/ready")[0] == "HTTP/1.1 200 OK"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "404 Not Found"),
        (b"POST /live HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
        (b"\r\n\r\n", "405 Method Not Allowed"),
        (b"\x16\x03\x01\x00\xff\n\n", "405 Method Not Allowed"),
        (b"GET /live HTTP/1.1\r\nX: " + b"x" * LARGEST + b"\r\n\r\n", "431 Request Header Fields Too Large"),
        (b"x" * (LARGEST + 1), "431 Request Header Fields Too Large"),
    ],
)
def test_whatever_else_is_asked_has_an_answer_too(bench: Bench, request_: bytes, status: str) -> None:
    assert bench.ask(request_)[0] == f"HTTP/1.1 {status}"
    assert bench.ask(b"HEAD /live HTTP/1.1\r\n\r\n") == ("HTTP/1.1 200 OK", b"")


def test_a_request_may_come_in_pieces(bench: Bench) -> None:
    with bench.connect() as client:
        for piece in (b"GET /li", b"ve HTTP/1.1\r\nHost", b": x\r\n\r", b"\n"):
            client.sendall(piece)
            bench.serve()
        assert _all(client).startswith(b"HTTP/1.1 200 OK")


def test_a_client_that_says_nothing_is_dropped_in_time(bench: Bench) -> None:
    with bench.connect() as silent, bench.connect() as slow:
        assert bench.port.next_at() == PATIENCE
        slow.sendall(b"GET /live")
        bench.now = PATIENCE - 0.01
        bench.serve()
        slow.sendall(b" HTTP/1.1\r\nX: and so on for ever")
        bench.now = PATIENCE
        bench.serve()
        assert (_all(silent), _all(slow)) == (b"", b"")
    assert bench.port.next_at() == inf
    assert len(bench.port.fds()) == 1


def test_one_client_too_many_ends_the_oldest(bench: Bench) -> None:
    clients = [bench.connect() for _ in range(MOST + 5)]
    assert len(bench.port.fds()) == 1 + MOST
    assert bench.ask(b"GET /live HTTP/1.1\r\n\r\n")[0] == "HTTP/1.1 200 OK"
    assert [_all(client) for client in clients[:5]] == [b""] * 5
    for client in clients:
        client.close()
    bench.serve()
    assert len(bench.port.fds()) == 1


def test_clients_that_are_gone_leave_nothing(bench: Bench) -> None:
    for request in (b"", b"GET /li", b"GET /live HTTP/1.1\r\n\r\n"):
        client = bench.connect()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        client.sendall(request)
        client.close()
        bench.serve()
        bench.serve()  # the first turn may have found what it said before it went
        assert len(bench.port.fds()) == 1


def test_the_reasons_are_bounded() -> None:
    health = Health(live=False, ready=False, why=[f"process {number} is stuck" for number in range(1000)])
    why = json.loads(health.dump())["why"]
    assert len(why) == MOST_REASONS + 1
    assert why[-1] == f"and {1000 - MOST_REASONS} more"


def test_a_port_that_is_taken_is_one_clear_line(bench: Bench) -> None:
    with pytest.raises(ConfigError, match=rf"^health port {bench.number} on 127\.0\.0\.1: address already in use; "):
        HealthPort("127.0.0.1", bench.number)
    with pytest.raises(ConfigError, match=r"^health port 8080 on nowhere\.invalid: "):
        HealthPort("nowhere.invalid", 8080)


def test_port_0_is_none() -> None:
    port = HealthPort("127.0.0.1", 0)
    port.serve(0.0, lambda: FINE)
    assert port.fds() == []
    assert port.next_at() == inf
    port.close()
