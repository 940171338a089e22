"""What is left after the node was killed, frozen, or reached by TLS. One node for the module."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
from adapters.rabbitmq.conftest import Opens
from services.rabbitmq import rabbitmq_server
from services.server import Server, free_port
from support import PAUSE, eventually

from kernel.errors import ConfigError, PortError, Unavailable
from kernel.ports import Outgoing

COUNT = 1000
#: Seconds after which a new queue survives a kill of its node: docs/rabbitmq.md.
SETTLED = 1.5


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_no_delayed_message_is_lost_by_a_kill(node: tuple[Server, str], opens: Opens) -> None:
    server, url = node
    transport = opens(url)
    # Queues and levels are there before, as they are on a broker in use.
    transport.send([Outgoing("q", b"first", not_before=time.time() + 1.0)])
    assert transport.ack(transport.receive(["q"], 1, 10.0)) == []
    PAUSE.wait(SETTLED)
    due_at = time.time() + 3.0
    # Due over two seconds: some have arrived, some are on their way between levels, some wait.
    transport.send([Outgoing("q", b"%d" % at, not_before=due_at + 2.0 * at / COUNT) for at in range(COUNT)])
    found: set[bytes] = set()
    eventually(lambda: _receive(transport, found), timeout=20.0, what="the first of them")
    assert len(found) < COUNT
    server.kill()
    server.start()
    eventually(lambda: _receive(transport, found) or len(found) == COUNT, timeout=30.0, what="the node is back")
    until = time.monotonic() + 30.0
    while len(found) < COUNT and time.monotonic() < until:
        _receive(transport, found)
    assert len(found) == COUNT


def _receive(transport: object, found: set[bytes]) -> int:
    """Receive and acknowledge some; none early, and none by an outage."""
    try:
        batch = transport.receive(["q"], 100, 0.5)  # type: ignore[attr-defined]
        found.update(delivery.payload for delivery in batch)
        transport.ack(batch)  # type: ignore[attr-defined]
    except Unavailable:
        PAUSE.wait(0.05)
        return 0
    return len(batch)


@pytest.mark.timeout(60)
def test_a_frozen_node_holds_up_no_call(node: tuple[Server, str], opens: Opens) -> None:
    server, url = node
    transport = opens(url, "timeout=1")
    transport.send([Outgoing("frozen", b"x")])
    held = transport.receive(["frozen"], 1, 5.0)
    server.pause()
    try:
        started_at = time.monotonic()
        with pytest.raises(Unavailable) as caught:
            transport.send([Outgoing("frozen", b"y")])
        assert caught.value.sent == "unknown"
        with pytest.raises(Unavailable):
            transport.ack(held)
        assert time.monotonic() - started_at < 5.0
    finally:
        server.resume()

    def works() -> bool:
        try:
            return transport.ack(transport.receive(["frozen"], 1, 1.0)) == []
        except Unavailable:
            return False

    eventually(works, timeout=20.0, what="the node answers again")


def _certificate(folder: Path) -> tuple[Path, Path]:
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command, *names], check=True, capture_output=True, timeout=30)
    key.chmod(0o644)
    return key, certificate


@pytest.mark.timeout(90)
def test_tls_verifies_the_broker(tmp_path: Path, opens: Opens) -> None:
    key, certificate = _certificate(tmp_path)
    port = free_port()
    settings = {
        "listeners.ssl.default": f"127.0.0.1:{port}",
        "ssl_options.certfile": str(certificate),
        "ssl_options.cacertfile": str(certificate),
        "ssl_options.keyfile": str(key),
        "ssl_options.verify": "verify_none",
    }
    server, _ = rabbitmq_server(settings)
    try:
        url = f"amqps://guest:guest@localhost:{port}/"
        transport = opens(url, f"cafile={certificate}")
        transport.send([Outgoing("q", b"secret" * 50_000)])
        assert [len(delivery.payload) for delivery in transport.receive(["q"], 1, 5.0)] == [300_000]
        opens(url, "verify=no")
        with pytest.raises(PortError, match="certificate"):
            opens(url)
        with pytest.raises(ConfigError, match="cannot be used"):
            opens(url, f"cafile={tmp_path / 'none.pem'}")
    finally:
        server.close()
