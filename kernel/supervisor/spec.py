"""What a supervisor is asked to run, and what it hands to each process that it starts."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from kernel.errors import ConfigError

#: A fresh interpreter that runs one worker process.
CHILD = (sys.executable, "-m", "kernel.supervisor.child")


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorSpec:
    """Options of a supervisor; times in seconds. `ConfigError` where a value makes no sense."""

    #: How many worker processes run.
    processes: int = 1
    #: Program of a worker process, or of the template; the handover is added as its last argument.
    command: Sequence[str] = CHILD
    #: Options of the worker, encodable as JSON, not looked at here.
    worker: dict[str, Any] = field(default_factory=dict)
    #: `module:attribute` that a template imports once, to fork all processes from; "": each process imports by itself.
    preload: str = ""
    #: How long a process may finish what runs before that is cancelled and given back.
    grace: float = 30.0
    #: How long a process may take for each further step of its end: to cancel, to exit, to be gone after a kill.
    margin: float = 5.0
    #: File whose time of change says when all processes were last seen to progress; "": none.
    liveness_file: str = ""
    #: File that is there, and touched, while all processes take in work; "": none.
    readiness_file: str = ""
    #: TCP port and address that answer questions after health; port 0: none.
    health_port: int = 0
    health_host: str = "127.0.0.1"
    #: Age of a beat from which a process counts as stuck.
    stale_after: float = 30.0
    #: How long a process may take from its launch, the import of the application included, until it is ready.
    start_timeout: float = 60.0
    #: Pause before the first replacement of processes that died before they were ready; doubles with each round.
    restart_backoff: float = 0.5
    #: The longest such pause.
    restart_backoff_max: float = 30.0
    #: So many rounds (a round: as many failed starts as there are processes) within `crash_window`, and none that
    #: is ready, are a crash loop.
    crash_limit: int = 5
    crash_window: float = 600.0

    def __post_init__(self) -> None:
        if self.processes < 1 or self.crash_limit < 1:
            raise ConfigError("processes and crash_limit must be at least 1")
        for name in ("margin", "stale_after", "start_timeout", "crash_window"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be more than 0 seconds")
        for name in ("grace", "restart_backoff", "restart_backoff_max"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must not be negative")
        if self.preload and not all(self.preload.partition(":")):
            raise ConfigError(f"preload {self.preload!r} is not of the form module:attribute")


class ChildSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The part of the spec that processes need; all of them read it from one inherited file."""

    worker: dict[str, Any]
    preload: str
    grace: float
    margin: float

    @classmethod
    def of(cls, spec: SupervisorSpec) -> ChildSpec:
        """The children's part."""
        return cls(worker=spec.worker, preload=spec.preload, grace=spec.grace, margin=spec.margin)

    def write(self, fd: int) -> None:
        """Into an empty file; `ConfigError` when the worker's options are not encodable as JSON."""
        try:
            data = msgspec.json.encode(self)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"worker options cannot be handed to a process: {error}") from None
        with open(fd, "wb", closefd=False) as file:
            file.write(data)

    @classmethod
    def read(cls, fd: int) -> ChildSpec:
        """From an inherited file, whose position all processes share and which is therefore left alone."""
        return msgspec.json.decode(os.pread(fd, os.fstat(fd).st_size, 0), type=cls)


class Handover(msgspec.Struct, frozen=True, kw_only=True):
    """The last argument of a started process: inherited descriptors, and what it is to be."""

    board: int
    #: Reading end of a pipe that the supervisor holds open as long as it lives.
    lifeline: int
    #: File with the `ChildSpec`.
    spec: int
    #: Its seat on the board; -1 in a template.
    seat: int = -1
    #: Socket on which a template talks with the supervisor; -1 in a worker process.
    line: int = -1

    def dump(self) -> str:
        """As an argument."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def load(cls, argument: str) -> Handover:
        """From an argument; `msgspec.DecodeError` for anything else."""
        return msgspec.json.decode(argument, type=cls)
