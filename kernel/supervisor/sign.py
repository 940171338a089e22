"""A file that says by its time of change when something was last seen to be so."""

from __future__ import annotations

import logging
import os
from contextlib import suppress

from kernel.errors import ConfigError

log = logging.getLogger("kernel.supervisor")

#: Seconds between two touches.
PERIOD = 1.0


class Sign:
    """A file to touch, or nothing for an empty path. `ConfigError` when it cannot be written where it is asked for."""

    def __init__(self, what: str, path: str) -> None:
        """`what` names it in messages."""
        self._what = what
        self._path = path
        self._next_at = 0.0
        self._sick = False
        directory = os.path.dirname(os.path.abspath(path))
        if path and not os.access(directory, os.W_OK):
            raise ConfigError(f"{what} {path}: {directory} is not a directory that can be written to")
        # One of an earlier run would speak for processes that are not there yet.
        self.remove()

    def touch(self, now: float) -> None:
        """Set its time of change to the present, at most once a second; `now` is monotonic."""
        if not self._path or now < self._next_at:
            return
        self._next_at = now + PERIOD
        try:
            with open(self._path, "ab"):
                os.utime(self._path)
        except OSError as error:
            if not self._sick:
                log.warning("%s %s cannot be touched: %s", self._what, self._path, error)
            self._sick = True
        else:
            self._sick = False

    def remove(self) -> None:
        """Delete it. Idempotent."""
        self._next_at = 0.0
        if self._path:
            with suppress(OSError):
                os.unlink(self._path)
