"""Keeps what is revoked from running here."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from kernel.errors import PortError
from kernel.native import monotonic
from kernel.parts import parts
from kernel.ports import ResultStore
from kernel.results.revocations import ANY, END, marks_of
from kernel.worker.job import Job

log = logging.getLogger("kernel.worker")

#: Seconds between two looks at whether anything is revoked.
EVERY = 1.0


class Terminated(BaseException):
    """Raised inside of a running task that was revoked with `terminate`; not an error of the task."""


class Revoking:
    """`look` is called by the housekeeper with each of its looks, `revoked` by the intake."""

    def __init__(self, results: ResultStore | None, interrupt: Callable[[Job, BaseException], bool]) -> None:
        """`interrupt` raises in a running task."""
        self._results = results
        self._interrupt = interrupt
        self._look_at = 0.0
        #: Whether anything is revoked.
        self.any = False

    def look(self, active: Sequence[Job]) -> None:
        """Ask whether anything is revoked, and end what runs although it is."""
        now = monotonic()
        if self._results is None or now < self._look_at:
            return
        self._look_at = now + EVERY
        try:
            self.any = self._results.get([ANY])[0] is not None
            if self.any:
                for job, what in zip(active, self._marks(active), strict=True):
                    if END in what and not isinstance(job.interrupted, Terminated):
                        self._interrupt(job, Terminated("revoked"))
        except PortError as error:
            log.debug("what is revoked is not known: %s", error)

    def revoked(self, jobs: Sequence[Job]) -> list[Job]:
        """Those of the jobs that must not start. `PortError` when the store does not answer."""
        return [job for job, what in zip(jobs, self._marks(jobs), strict=True) if what]

    def _marks(self, jobs: Sequence[Job]) -> list[list[bytes]]:
        assert self._results is not None
        wanted = [marks_of(job.envelope) for job in jobs]
        keys = [key for keys in wanted for key in keys]
        most = self._results.features.max_batch
        values = iter([value for part in parts(keys, most) for value in self._results.get(part)])
        return [[value for _ in keys if (value := next(values)) is not None] for keys in wanted]
