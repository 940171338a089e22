"""How a worker process comes to be: a fresh interpreter each, or a fork of a template."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import msgspec

from kernel.supervisor.spec import Handover
from kernel.supervisor.template import Failed, Fork, Forked, Line, Loaded, Reaped, Word
from kernel.worker.seat import ExitCode

#: Exit status of a process that never came to be.
NOT_STARTED = -1000
#: Exit status of a process whose parent, a template, was gone before it.
UNKNOWN = -1001


@dataclass(frozen=True, slots=True)
class Started:
    """The process of this seat lives."""

    seat: int
    pid: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The process of this seat is gone, reaped; `code` as `subprocess.Popen.returncode`."""

    seat: int
    code: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Broken:
    """The launcher can launch nothing any more. With a reason, a new one could not either."""

    reason: str


Event = Started | Ended | Broken


class Launcher(Protocol):
    """Starts processes and tells what became of them. A launch that fails is an `Ended` too."""

    def launch(self, seat: int) -> None:
        """Start a process for this seat; does not wait for it."""

    def collect(self) -> list[Event]:
        """What happened since; never waits."""

    def fds(self) -> list[int]:
        """Descriptors that become readable when something may have happened; SIGCHLD tells of the rest."""

    def pids(self) -> list[int]:
        """Processes of its own, beside those that it launched."""

    def ready_pids(self) -> list[int]:
        """Those of `pids` that are ready for signals."""

    def abort(self) -> None:
        """Let all launches that are under way fail; `collect` reports them. Idempotent."""

    def close(self) -> None:
        """Let go of it; what it launched must have ended. Idempotent."""


class FreshLauncher:
    """A new interpreter for each process."""

    def __init__(self, command: Sequence[str], handover: Handover) -> None:
        self._command = command
        self._handover = handover
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._events: list[Event] = []

    def launch(self, seat: int) -> None:
        """Start an interpreter."""
        try:
            child = _spawn(self._command, msgspec.structs.replace(self._handover, seat=seat))
        except OSError as error:
            self._events.append(Ended(seat, NOT_STARTED, str(error)))
            return
        self._children[seat] = child
        self._events.append(Started(seat, child.pid))

    def collect(self) -> list[Event]:
        """Reap."""
        events, self._events = self._events, []
        for seat, child in list(self._children.items()):
            code = child.poll()
            if code is not None:
                del self._children[seat]
                events.append(Ended(seat, code))
        return events

    def fds(self) -> list[int]:
        """None: the system signals the end of an own child."""
        return []

    def pids(self) -> list[int]:
        """None."""
        return []

    def ready_pids(self) -> list[int]:
        """None."""
        return []

    def abort(self) -> None:
        """A launch is never under way."""

    def close(self) -> None:
        """Nothing is held."""


class TemplateLauncher:
    """Forks of one template, which is started here and imports the application meanwhile."""

    def __init__(self, command: Sequence[str], handover: Handover) -> None:
        ours, theirs = socket.socketpair()
        self._line = Line(ours)
        self._template: subprocess.Popen[bytes] | None = None
        with theirs, suppress(OSError):  # then the line is at its end, as if the template had died at once
            self._template = _spawn(command, msgspec.structs.replace(handover, line=theirs.fileno()))
        self._loaded = False
        #: The end of the template has been reported.
        self._told = False
        #: Seats asked for, not yet forked.
        self._asked: list[int] = []
        self._pids: dict[int, int] = {}

    def launch(self, seat: int) -> None:
        """Ask for a fork; a template that still imports answers later."""
        self._asked.append(seat)
        self._line.say(Fork(seat))

    def collect(self) -> list[Event]:
        """Hear what the template says; when it is gone, look after what it left."""
        events: list[Event] = []
        if self._line.open:
            for word in self._line.hear():
                events += self._on(word)
        if not self._line.open:
            self.close()
            events += self._lose() + self._look_after_orphans()
        return events

    def _on(self, word: Word) -> list[Event]:
        if isinstance(word, Loaded):
            self._loaded = True
        elif isinstance(word, Reaped):
            del self._pids[word.seat]
            return [Ended(word.seat, word.code)]
        elif isinstance(word, Failed):
            refused = [Ended(seat, NOT_STARTED) for seat in self._asked]
            self._told = True
            self._asked.clear()
            return [Broken(word.reason), *refused]
        elif isinstance(word, Forked):
            self._asked.remove(word.seat)
            if word.pid == 0:
                return [Ended(word.seat, NOT_STARTED, "the system refused to fork")]
            self._pids[word.seat] = word.pid
            return [Started(word.seat, word.pid)]
        return []

    def _lose(self) -> list[Event]:
        lost: list[Event] = [] if self._told else [Broken("")]
        lost += [Ended(seat, NOT_STARTED, "the template ended") for seat in self._asked]
        self._told = True
        self._asked.clear()
        return lost

    def _look_after_orphans(self) -> list[Event]:
        """Only the system knows how they end; they go on as before and are looked at whenever we are awake."""
        gone = [seat for seat, pid in self._pids.items() if _gone(pid)]
        for seat in gone:
            del self._pids[seat]
        return [Ended(seat, UNKNOWN) for seat in gone]

    def fds(self) -> list[int]:
        """The line to the template."""
        return [self._line.fileno()] if self._line.open else []

    def pids(self) -> list[int]:
        """The template."""
        return [self._template.pid] if self._template is not None else []

    def ready_pids(self) -> list[int]:
        """The template, once it has imported the application."""
        return self.pids() if self._loaded and self._line.open else []

    def abort(self) -> None:
        """Kill the template, which holds nothing of value, also while it imports."""
        if self._template is not None and self._template.returncode is None:
            kill_group(self._template.pid)
            self._template.wait()

    def close(self) -> None:
        """Kill the template and hang up."""
        self.abort()
        self._line.open = False
        self._line.close()


def _spawn(command: Sequence[str], handover: Handover) -> subprocess.Popen[bytes]:
    """Start an interpreter in a process group of its own.

    So an interrupt from a terminal reaches the supervisor alone, and a kill reaches what a task has started too.
    """
    fds = [fd for fd in (handover.board, handover.lifeline, handover.spec, handover.line) if fd >= 0]
    return subprocess.Popen([*command, handover.dump()], pass_fds=fds, process_group=0, stdin=subprocess.DEVNULL)


def kill_group(pid: int) -> None:
    """SIGKILL a process and its group; one that is gone, or was forked a moment ago and leads none yet, is no error."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def _gone(pid: int) -> bool:
    try:
        if os.waitpid(pid, os.WNOHANG)[0] == pid:
            return True  # as the first process of a container we inherit orphans
    except ChildProcessError:
        pass
    try:
        if hasattr(os, "pidfd_open"):
            # Readable from the end on, also while whoever inherited the process takes its time to reap it.
            with open(os.pidfd_open(pid), "rb", buffering=0) as process:
                return bool(select.select([process], [], [], 0)[0])
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def describe(code: int) -> str:
    """An exit status for people."""
    if code == NOT_STARTED:
        return "not started"
    if code == UNKNOWN:
        return "exit status unknown, the template was gone before"
    if code < 0:
        try:
            return f"killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"killed by signal {-code}"
    name = ExitCode(code).name if code in list(ExitCode) else ""
    return f"exit code {code}" + (f" ({name})" if name else "")
