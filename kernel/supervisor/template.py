"""The template: a single-threaded interpreter that imported the application once and forks worker processes from it.

It is the parent of what it forks and so reaps it. It talks with the supervisor in lines of JSON on a socket, and
ends when the other side closes it.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec

from kernel.supervisor.spec import ChildSpec, Handover
from kernel.supervisor.wakeup import Wakeup
from kernel.worker.seat import ExitCode

#: What must be done with the worker's options before the application is imported.
Prepare = Callable[[dict[str, Any]], object]

#: Bound before an application is patched for a green pool: a template has no hub, and must not get one.
_fork: Callable[[], int] | None = getattr(os, "fork", None)
_waitpid = os.waitpid


class Fork(msgspec.Struct, frozen=True, tag="fork"):
    """To the template: fork a process for this seat."""

    seat: int


class Loaded(msgspec.Struct, frozen=True, tag="loaded"):
    """From the template: the application is imported."""


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """From the template: it cannot do its work, and why; it ends."""

    reason: str


class Forked(msgspec.Struct, frozen=True, tag="forked"):
    """From the template: the process of this seat lives; pid 0: the system refused to fork."""

    seat: int
    pid: int


class Reaped(msgspec.Struct, frozen=True, tag="reaped"):
    """From the template: the process of this seat ended; `code` as `subprocess.Popen.returncode`."""

    seat: int
    code: int


Word = Fork | Loaded | Failed | Forked | Reaped

_decode = msgspec.json.Decoder(Word).decode


class Line:
    """One end of the talk between supervisor and template."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._rest = b""
        self.open = True

    def fileno(self) -> int:
        """For `select` and its kin."""
        return self._socket.fileno()

    def say(self, word: Word) -> None:
        """Send one word; silently nothing when the other side is gone, which the next `hear` reports."""
        try:
            self._socket.sendall(msgspec.json.encode(word) + b"\n")
        except OSError:
            self.open = False

    def hear(self) -> list[Word]:
        """All words that have come, without waiting; `open` is False once the other side is gone."""
        while True:
            try:
                data = self._socket.recv(65536, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                self.open = False
                break
            self._rest += data
        *lines, self._rest = self._rest.split(b"\n")
        return [_decode(line) for line in lines]

    def close(self) -> None:
        """Let go of the socket. Idempotent."""
        self._socket.close()


def serve(handover: Handover, prepare: Prepare) -> Handover | int:
    """Be the template. Returns an exit status in the template and a worker's handover in each forked process.

    It returns in the fork too, instead of running the worker there, so that a worker process unwinds, exits and runs
    its `atexit` functions exactly as a fresh interpreter does.
    """
    os.set_inheritable(handover.line, False)
    line = Line(socket.socket(fileno=handover.line))
    with Wakeup([signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP]) as wakeup:
        faulthandler.register(signal.SIGUSR1, file=2, all_threads=True)
        problem = _load(ChildSpec.read(handover.spec), prepare) or threads_beside()
        if problem:
            line.say(Failed(problem))
            return ExitCode.CONFIG
        # What is imported now stays for ever: keep the collector from writing to its pages, which forks share.
        gc.collect()
        gc.freeze()
        line.say(Loaded())
        seat = Template(line, wakeup).serve()
    line.close()
    return ExitCode.OK if seat is None else msgspec.structs.replace(handover, line=-1, seat=seat)


class Template:
    """The loop of the template."""

    def __init__(self, line: Line, wakeup: Wakeup) -> None:
        self._line = line
        self._wakeup = wakeup
        self._seats: dict[int, int] = {}

    def serve(self) -> int | None:
        """Fork and reap until the supervisor is gone: None; in a fork its seat."""
        while self._line.open:
            self._reap()
            for word in self._line.hear():
                if isinstance(word, Fork):
                    problem = threads_beside()
                    if problem:
                        self._line.say(Failed(problem))
                    elif self._fork(word.seat):
                        return word.seat
            if self._line.open:
                self._wakeup.wait([self._line.fileno()], None)
        return None

    def _fork(self, seat: int) -> bool:
        """Fork for this seat; True in the new process."""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        # A signal between the fork and the end of `Wakeup` in the new process would reach the template's handler and
        # be lost; blocked, it waits until the worker's own dispositions stand.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            assert _fork is not None  # there is no supervisor where it is missing
            pid = _fork()
        except OSError:
            pid = -1
        if pid == 0:
            self._settle()
        elif pid > 0:
            self._seats[pid] = seat
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if pid == 0:
            return True
        self._line.say(Forked(seat, max(pid, 0)))
        return False

    def _settle(self) -> None:
        """In the fork: be what a fresh interpreter is. `random` and our own ids have re-seeded themselves."""
        os.setpgid(0, 0)
        self._wakeup.close()
        self._line.close()
        _renew_hubs()
        numpy_random = sys.modules.get("numpy.random")
        if numpy_random is not None:
            numpy_random.seed()

    def _reap(self) -> None:
        while self._seats:
            pid, status = _waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            seat = self._seats.pop(pid, None)
            if seat is not None:
                self._line.say(Reaped(seat, os.waitstatus_to_exitcode(status)))


def _renew_hubs() -> None:
    """In the fork: a hub that the application's import has started belongs to the template."""
    if "gevent.hub" in sys.modules:
        sys.modules["gevent"].reinit()
    if "eventlet.hubs" in sys.modules:
        sys.modules["eventlet.hubs"].use_hub()


def _load(spec: ChildSpec, prepare: Prepare) -> str:
    """Import `module:attribute`; "" or what went wrong, whose traceback is printed."""
    path = spec.preload
    module, _, attribute = path.partition(":")
    try:
        prepare(spec.worker)
        attrgetter(attribute)(import_module(module))
    except BaseException as error:
        traceback.print_exc()
        return f"cannot preload {path}: {type(error).__name__}: {error}"
    return ""


def threads_beside() -> str:
    """Why this process must not fork now: "", or a line that names the threads beside the main one."""
    names = sorted(_other_threads())
    if not names:
        return ""
    return (
        f"cannot fork with threads running: {', '.join(names)}; they would be missing in the processes, and the locks "
        "they hold would stay locked: start them in the worker process, or run without preload"
    )


def _other_threads() -> Iterator[str]:
    main = threading.main_thread()
    named = {getattr(thread, "native_id", None): thread.name for thread in threading.enumerate() if thread is not main}
    tasks = Path("/proc/self/task")
    if tasks.is_dir():
        # All that there are, also those that Python has not made, such as a numeric library's; and none of a green
        # pool's, which are no threads.
        for task in tasks.iterdir():
            if task.name != str(os.getpid()):
                yield named.get(int(task.name)) or f"{task.joinpath('comm').read_text().strip()} (native)"
        return
    yield from named.values()
    if len(sys._current_frames()) > len(named) + 1:
        yield "one started without the threading module"
