"""What the exit status of a worker process or of its supervisor means."""

from __future__ import annotations

from enum import IntEnum


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
