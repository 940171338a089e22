"""A server program of the tests: started on first use, controlled by tests, ended with the session."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from threading import Event, RLock
from typing import IO

import pytest

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

#: Longest wait for a server to answer or to end; seconds. RabbitMQ needs ten on a busy machine.
LONG = 60.0
#: Ports of the tests: the first, and how many.
FIRST_PORT, PORTS = 20000, 12000
_ports = count()
_locks: list[IO[str]] = []
_pause = Event()


def free_port() -> int:
    """A TCP port of the loopback interface that belongs to this process until it ends.

    Not one that the system picks: between this look and the start of the server, the connection of another test may be
    given the same. These are below those that systems pick (Linux, macOS). A server that a test has ended leaves its
    port unused for a while, so that nobody is listening says little: whoever has it holds a lock.
    """
    while True:
        port = FIRST_PORT + (os.getpid() * 16 + next(_ports)) % PORTS
        if not _taken(port):
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def _taken(port: int) -> bool:
    """Whether this process has it now: a file is locked, which the system undoes however the process ends."""
    if fcntl is None:
        return True
    lock = (Path(tempfile.gettempdir()) / f"kernel-test-port-{port}").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return False
    _locks.append(lock)
    atexit.register(os.unlink, lock.name)
    return True


def program(*names: str, install: str) -> str:
    """The path of a server program. Missing, it fails the test in CI and is a named skip elsewhere."""
    for name in names:
        found = shutil.which(name) or shutil.which(
            name, path="/usr/sbin:/usr/local/sbin:/usr/local/bin:/opt/homebrew/bin"
        )
        if found:
            return found
    reason = f"{names[0]} is not installed: {install}"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def _mortal(command: Sequence[str]) -> list[str]:
    """The command of a server that outlives no session, however it ends (Linux; elsewhere an orderly end stops it).

    Not by a `preexec_fn`: with one Python runs what libraries have registered for a fork, and eventlet warns there.
    """
    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    return [setpriv, "--pdeathsig", "KILL", *command] if setpriv else list(command)


class Server:
    """One server; also the `ServiceControl` of the conformance suite."""

    def __init__(
        self,
        name: str,
        command: Callable[[Path], Sequence[str]],
        answers: Callable[[], bool],
        *,
        environment: Mapping[str, str] | None = None,
        ended: Callable[[Path], None] = lambda directory: None,
    ) -> None:
        """`command` is given a directory of the server's own. `answers` says whether the server is ready (any exception
        is a no); `ended` cleans up what a stop leaves running."""
        self.name = name
        self._command = command
        self._answers = answers
        self._environment = dict(environment or {})
        self._ended = ended
        self._process: subprocess.Popen[bytes] | None = None
        #: Tests end a server in one thread and start it in another: what is started then must not be forgotten.
        self._changing = RLock()
        self.directory = Path(tempfile.mkdtemp(prefix=f"kernel-test-{name}-"))
        self.log = self.directory / "server.log"
        atexit.register(self.close)

    @property
    def pid(self) -> int:
        """The process, 0 when it does not run."""
        return self._process.pid if self._process is not None and self._process.poll() is None else 0

    def start(self) -> None:
        """Start it and wait until it answers. No error when it runs."""
        with self._changing:
            if not self.pid:
                self._start()

    def _start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                _mortal(self._command(self.directory)),
                cwd=self.directory,
                env={**os.environ, **self._environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + LONG
        while not self._is_ready():
            said = self.log.read_text("utf-8", "replace")[-2000:]
            assert self.pid, f"{self.name} ended while it was started:\n{said}"
            assert time.monotonic() < deadline, f"{self.name} does not answer:\n{said}"
            _pause.wait(0.02)

    def _is_ready(self) -> bool:
        try:
            return self._answers()
        except Exception:
            return False

    def stop(self) -> None:
        """Stop it in the orderly way. No error when it does not run."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it, and all that it started, without any chance to save something."""
        self._signal(signal.SIGKILL)

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze it: connections stay, nothing answers."""
        os.killpg(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """End a pause."""
        os.killpg(self.pid, signal.SIGCONT)

    def _signal(self, number: int) -> None:
        with self._changing:
            self._end(number)

    def _end(self, number: int) -> None:
        process = self._process
        if process is None:
            return
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            pass
        try:
            process.wait(LONG)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(LONG)
        self._process = None
        self._ended(self.directory)

    def close(self) -> None:
        """End it and remove its directory. Idempotent."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
        atexit.unregister(self.close)
