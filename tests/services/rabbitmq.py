"""RabbitMQ servers of the tests: private nodes that need no root service and leave nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import pika

from services.server import LONG, Server, free_port, program

#: An existing server to use in place of one of our own; the user in it may declare queues and exchanges.
VARIABLE = "KERNEL_TEST_RABBITMQ_URL"
INSTALL = "apt-get install rabbitmq-server (3.10 or later), or set KERNEL_TEST_RABBITMQ_URL"

#: epmd, which finds the ports of Erlang nodes, would be started as a daemon that outlives the node. In our process
#: group it ends with the node, and where the session is killed, with its parent.
SCRIPT = """
if command -v setpriv >/dev/null 2>&1; then
    setpriv --pdeathsig KILL epmd -port "$ERL_EPMD_PORT" -address 127.0.0.1 &
else
    epmd -port "$ERL_EPMD_PORT" -address 127.0.0.1 &
fi
exec "$1"
"""


def script() -> str:
    """The program of the package itself; the one on the path may be a wrapper that changes the user."""
    for place in sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin/rabbitmq-server")):
        return str(place)
    return program("rabbitmq-server", install=INSTALL)


def _answers(port: int) -> bool:
    """Whether the node speaks AMQP: it answers a header of another version with its own."""
    with socket.create_connection(("127.0.0.1", port), 1.0) as probe:
        probe.settimeout(5.0)
        probe.sendall(b"AMQP\x01\x01\x09\x09")
        return probe.recv(8).startswith(b"AMQP")


def _environment(directory: Path, port: int, epmd: int) -> dict[str, str]:
    name = f"t{port}@localhost"
    return {
        "RABBITMQ_NODENAME": name,
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_MNESIA_BASE": str(directory / "data"),
        "RABBITMQ_LOG_BASE": str(directory / "log"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
        "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq"),
        # Two schedulers that do not spin: on a small machine a node would take the cores from the tests.
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none",
        # In the foreground and in place of the shell, so that a kill of the group is a kill of the node.
        "RUNNING_UNDER_SYSTEMD": "yes",
        "ERL_EPMD_PORT": str(epmd),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "HOME": str(directory),
    }


class Node(Server):
    """A node, and the epmd beside it."""

    def stop(self) -> None:
        """Stop it in the orderly way: the node alone is told, because it aborts when its helpers end before it."""
        with self._changing:
            process = self._process
            if process is not None and self.pid:
                os.kill(process.pid, signal.SIGTERM)
                process.wait(LONG)
            self.kill()


def rabbitmq_server(settings: Mapping[str, str] | None = None, *, port: int = 0) -> tuple[Server, str]:
    """A private node, started, and its URL. `settings` are lines of its configuration file."""
    port = port or free_port()
    binary = script()
    command = ["/bin/sh", "-c", SCRIPT, "rabbitmq", binary]
    server = Node("rabbitmq", lambda directory: command, lambda: _answers(port))
    lines = {"loopback_users": "none", **(settings or {})}
    (server.directory / "rabbitmq.conf").write_text("".join(f"{key} = {text}\n" for key, text in lines.items()))
    (server.directory / "plugins").write_text("[].\n")
    server._environment.update(_environment(server.directory, port, free_port()))
    server.start()
    return server, f"amqp://guest:guest@127.0.0.1:{port}/"


def control(server: Server, *arguments: str) -> str:
    """Run the control program of a node; its output. It takes a second or two."""
    environment = {**os.environ, **server._environment}
    binary = str(Path(script()).with_name("rabbitmqctl"))
    command = [binary, "-n", environment["RABBITMQ_NODENAME"], *arguments]
    if not shutil.which(binary):
        command[0] = program("rabbitmqctl", install=INSTALL)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@cache
def shared_rabbitmq() -> str:
    """The URL of the one server that tests share; nobody stops it."""
    return os.environ.get(VARIABLE) or rabbitmq_server()[1]


def remove(url: str, queues: Iterable[str] = (), exchanges: Iterable[str] = ()) -> None:
    """Delete queues and exchanges; those that are not there are no error."""
    connection = pika.BlockingConnection(pika.URLParameters(f"{url.partition('?')[0]}%2F"))
    channel = connection.channel()
    for queue in queues:
        channel.queue_delete(queue)
    for exchange in exchanges:
        channel.exchange_delete(exchange)
    connection.close()
