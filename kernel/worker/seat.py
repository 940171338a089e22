"""What a worker process tells its supervisor, and how it ends."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Protocol


class State(IntEnum):
    """Where a worker process is in its life."""

    STARTING = 0
    READY = 1
    DRAINING = 2
    STOPPED = 3


class Away(IntFlag):
    """Which services did not answer a worker process when it asked last."""

    NONE = 0
    TRANSPORT = 1
    RESULTS = 2
    #: One of those that it opens at its start; which one, its log says.
    SERVICE = 4


class ExitCode(IntEnum):
    """Exit statuses with a meaning; every other one is a crash.

    Above 79 and below 120, clear of `sysexits.h` (64 to 78) and of what shells use (126 and above); `CONFIG` is 2
    because that is what command lines answer to a wrong usage.
    """

    OK = 0
    #: Cannot start, for a reason that a restart does not mend: the supervisor stops all and exits with it too.
    CONFIG = 2
    #: Ended by itself to be replaced at once: so many tasks run, or so much memory taken.
    RECYCLE = 80
    #: Supervisor: start after start failed.
    CRASH_LOOP = 81
    #: Ended by itself because a task overran its hard limit: replaced at once.
    HARD_LIMIT = 82
    #: Supervisor: told to stop, and had to kill a process whose deadlines passed.
    FORCED = 83
    #: Was told by remote control that the whole worker stops: the supervisor drains the others and exits with OK.
    SHUTDOWN = 84


class Seat(Protocol):
    """A worker's place on the supervisor's board; times are monotonic seconds. Any thread may set an attribute."""

    #: Its number among the worker processes, from 0.
    number: int
    #: One of `State`.
    state: int
    #: When the worker last made progress.
    beat_at: float
    #: Since when it works without a pause; 0.0: idle.
    busy_since: float
    #: When the supervisor must kill this process; 0.0: never.
    kill_at: float
    #: Tasks finished so far.
    settled: int
    #: Deliveries held, running or not.
    in_hand: int
    #: Resident memory in bytes.
    rss: int
    #: What runs.
    job: str
    #: 1 once a process at this seat has printed the banner; stays for the processes that follow it there.
    introduced: int
    #: One of `Away`.
    away: int


class NoSeat:
    """The seat of a worker without a supervisor: nobody looks."""

    __slots__ = (
        "away",
        "beat_at",
        "busy_since",
        "in_hand",
        "introduced",
        "job",
        "kill_at",
        "number",
        "rss",
        "settled",
        "state",
    )

    def __init__(self) -> None:
        self.number = self.state = self.settled = self.in_hand = self.rss = self.introduced = self.away = 0
        self.beat_at = self.busy_since = self.kill_at = 0.0
        self.job = ""
