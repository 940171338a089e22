"""A rolling restart: every process is replaced, one at a time, by one that is ready before the old one drains.

So there is never less capacity than before, and code that does not start replaces nothing: the roll is given up and
the old processes go on. The price is one process more for its duration, for which the board has a seat to spare.
"""

from __future__ import annotations

import logging
from collections import deque

from kernel.supervisor.crew import Child, Crew, Order
from kernel.supervisor.launchers import Launcher

log = logging.getLogger("kernel.supervisor")


class Roll:
    """One rolling restart over the processes that are there when it begins."""

    def __init__(self, crew: Crew, launcher: Launcher) -> None:
        self._crew = crew
        #: Launches the new processes: with preload a template of its own, which imports the code anew.
        self.launcher = launcher
        self._old = deque(crew.children.values())
        self._newcomer: Child | None = None
        self._leaving: Child | None = None
        #: A new process did not come up; the roll is over.
        self.failed = False
        log.info("rolling restart of %d processes", len(self._old))

    def advance(self, now: float) -> bool:
        """Take the next step if it is time for it; False once all is done."""
        if self._leaving is not None:
            return True
        if self._newcomer is not None:
            if self._newcomer.ready:
                self._crew.adopt(self.launcher)
                self._dismiss(self._newcomer, now)
            return True
        if self._next_old() is None:
            log.info("rolling restart done")
            return False
        self._newcomer = self._crew.launch(now, self.launcher)
        return True

    def _dismiss(self, newcomer: Child, now: float) -> None:
        # When the last old one has died meanwhile its replacement is on its way already, and the newcomer is one
        # too many.
        self._newcomer, self._leaving = None, self._next_old() or newcomer
        self._crew.order(self._leaving, Order.DRAIN, now)

    def _next_old(self) -> Child | None:
        """The next old process that still works; those that died or are being killed are replaced anyway."""
        while self._old:
            child = self._old[0]
            if self._crew.children.get(child.seat) is child and child.order is Order.RUN:
                return child
            self._old.popleft()
        return None

    def ended(self, child: Child) -> bool:
        """A process ended; whether that was a step of this roll, so that it is not to be replaced."""
        if child is self._leaving:
            self._leaving = None
            return True
        if child is self._newcomer:
            self.failed = True
            log.error("rolling restart given up, %d processes not replaced: the new one does not start", len(self._old))
            return True
        return False
