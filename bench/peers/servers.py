"""Private servers on free ports of the loopback interface, with the same durability for every system."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

#: Longest wait for a server to answer or to end, in seconds.
LONG = 60.0
_PDEATHSIG = 1
#: Where servers are that PATH does not name. That of RabbitMQ's own scripts is first: Debian's on PATH change the user.
_PLACES = "/usr/lib/rabbitmq/bin:/usr/sbin:/usr/local/sbin:/usr/local/bin:/opt/homebrew/bin"
#: Options of redis-server by the name of the durability.
DURABILITY = {
    "none": ["--appendonly", "no"],
    "everysec": ["--appendonly", "yes", "--appendfsync", "everysec"],
    "always": ["--appendonly", "yes", "--appendfsync", "always"],
}


class Server(Protocol):
    """What a run needs to know of a server."""

    broker: str
    results: str
    settings: str

    def reset(self) -> None:
        """Forget everything."""

    def pids(self) -> list[int]:
        """Its processes."""

    def close(self) -> None:
        """End it."""


def free_port() -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def program(name: str) -> str:
    """The path of a program. `FileNotFoundError` with its name where there is none."""
    found = shutil.which(name, path=f"{_PLACES}:{os.environ.get('PATH', '')}")
    if not found:
        raise FileNotFoundError(f"{name} is not installed")
    return found


def die_with_parent() -> None:
    """A process of a run outlives no harness, however that ends (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)


class Program:
    """One server program with a folder of its own."""

    def __init__(self, command: Sequence[str], answers: Callable[[], bool], environment: dict[str, str]) -> None:
        """Start it and wait until it answers."""
        self.folder = Path(environment["HOME"])
        self.log = self.folder / "server.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        deadline = time.monotonic() + LONG
        while not _holds(answers):
            if self.process.poll() is not None or time.monotonic() > deadline:
                said = self.log.read_text("utf-8", "replace")[-1000:]
                self.close()
                raise RuntimeError(f"{command[0]} does not answer: {said}")
            time.sleep(0.05)

    def close(self) -> None:
        """End it and what it started."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, number)
                self.process.wait(10)
                break
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        shutil.rmtree(self.folder, ignore_errors=True)


def _holds(condition: Callable[[], bool]) -> bool:
    try:
        return condition()
    except (OSError, subprocess.SubprocessError):
        return False


def folder() -> Path:
    """A new folder of a server's own."""
    return Path(tempfile.mkdtemp(prefix="kernel-peers-"))


class Redis:
    """A private redis-server."""

    def __init__(self, durability: str) -> None:
        port, home = free_port(), folder()
        self._port = port
        options = ["--save", "", *DURABILITY[durability]]
        command = [program("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(home), *options]
        self._program = Program(command, lambda: self._call("PING").startswith("+PONG"), {"HOME": str(home)})
        self.broker = self.results = f"redis://127.0.0.1:{port}/0"
        found = self._call("INFO server").partition("redis_version:")[2].split()[0]
        self.settings = f"Redis {found}, `--save '' {' '.join(options[2:])}`"

    def _call(self, command: str) -> str:
        with socket.create_connection(("127.0.0.1", self._port), 30.0) as line:
            line.sendall(command.encode() + b"\r\n")
            return line.recv(65536).decode("utf-8", "replace")

    def reset(self) -> None:
        """Drop every key, and what scripts and commands were remembered for."""
        self._call("FLUSHALL SYNC")

    def pids(self) -> list[int]:
        """The one process."""
        return [self._program.process.pid]

    def close(self) -> None:
        """End it."""
        self._program.close()


class Rabbitmq:
    """A private RabbitMQ node; results are kept in the Redis that is given."""

    def __init__(self, redis: Redis) -> None:
        home = folder()
        port, distribution, self._epmd = free_port(), free_port(), free_port()
        (home / "plugins").write_text("[].\n")
        self._environment = {
            "HOME": str(home),
            "RABBITMQ_NODENAME": f"peers{port}@localhost",
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_MNESIA_BASE": str(home / "data"),
            "RABBITMQ_LOG_BASE": str(home / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq"),
            # Then the script becomes the node, in place of waiting for it as a child that would outlive both.
            "RUNNING_UNDER_SYSTEMD": "true",
            "ERL_EPMD_PORT": str(self._epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }
        self._programs = Path(program("rabbitmq-server")).parent
        self._port = port
        # The port mapper that a node starts by itself outlives it.
        mapper = [program("epmd"), "-port", str(self._epmd), "-address", "127.0.0.1"]
        self._mapper = subprocess.Popen(mapper, stdin=subprocess.DEVNULL, preexec_fn=die_with_parent)
        self._program = Program([str(self._programs / "rabbitmq-server")], self._ready, self._environment)
        self._redis = redis
        self.broker = f"amqp://guest:guest@127.0.0.1:{port}/%2F"
        self.results = redis.results
        found = self._control("version").strip()
        self.settings = f"RabbitMQ {found}, one node, durable queues, persistent messages; results in {redis.settings}"

    def _ready(self) -> bool:
        with socket.create_connection(("127.0.0.1", self._port), 1.0) as line:
            line.sendall(b"AMQP\x00\x00\x09\x01")
            return line.recv(1) != b""

    def _control(self, *words: str) -> str:
        line = [str(self._programs / "rabbitmqctl"), "--node", self._environment["RABBITMQ_NODENAME"], *words]
        environment = {**os.environ, **self._environment}
        return subprocess.run(line, env=environment, check=True, capture_output=True, text=True, timeout=LONG).stdout

    def reset(self) -> None:
        """Delete every queue, and every result."""
        self._control("eval", '[rabbit_amqqueue:delete(Q, false, false, <<"peers">>) || Q <- rabbit_amqqueue:list()].')
        self._redis.reset()

    def pids(self) -> list[int]:
        """The node, and the Redis of the results."""
        return [self._program.process.pid, *self._redis.pids()]

    def close(self) -> None:
        """End the node, then its port mapper."""
        self._program.close()
        self._mapper.kill()
        self._mapper.wait(10)


class Sqlite:
    """A file in place of a server: for trials of the harness."""

    def __init__(self) -> None:
        self._folder = folder()
        self._number = 0
        self.settings = "SQLite, `synchronous=normal`"
        self.broker = self.results = ""
        self.reset()

    def reset(self) -> None:
        """Another file."""
        self._number += 1
        self.broker = self.results = f"sqlite:///{self._folder}/{self._number}.db?synchronous=normal"

    def pids(self) -> list[int]:
        """None: it has no process."""
        return []

    def close(self) -> None:
        """Remove the files."""
        shutil.rmtree(self._folder, ignore_errors=True)
