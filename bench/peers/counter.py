"""The other end of what tasks count: how many have run, and when enough have."""

from __future__ import annotations

import mmap
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

#: Seconds between two looks. Two of them are the error of a span, so spans last a second or more.
PAUSE = 0.004


class Moment(NamedTuple):
    """What was seen at one time."""

    at: float
    done: int
    #: Processes that have run a task.
    processes: int
    #: Seconds of a core that workers and server have used.
    workers: float
    server: float


class Executions:
    """Reads the counts of a run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._maps: dict[str, memoryview] = {}

    def done(self) -> int:
        """Executions so far."""
        for entry in os.scandir(self._folder):
            if entry.name.startswith("count-") and entry.name not in self._maps and entry.stat().st_size == 8:
                with open(entry.path, "rb") as file:
                    self._maps[entry.name] = memoryview(mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)).cast("Q")
        return sum(view[0] for view in self._maps.values())

    @property
    def processes(self) -> int:
        """Processes that have run a task."""
        return sum(1 for view in self._maps.values() if view[0])

    def times(self) -> dict[int, int]:
        """How many tasks ran so many times: `{1: 5000}` when all is well."""
        return dict(Counter((self._folder / "seen").read_bytes()))

    def wait(self, enough: Callable[[int, int], bool], timeout: float, alive: Callable[[], None]) -> tuple[float, int]:
        """Look until it is enough, by executions and processes: when that was (monotonic) and how many then.

        `TimeoutError` when it is not within `timeout` seconds. `alive` is called now and then and may raise.
        """
        began = checked = time.monotonic()
        while True:
            done, now = self.done(), time.monotonic()
            if enough(done, self.processes):
                return now, done
            if now - began > timeout:
                raise TimeoutError(f"{done} tasks were executed within {timeout:.0f} s")
            if now - checked > 0.5:
                alive()
                checked = now
            time.sleep(PAUSE)
