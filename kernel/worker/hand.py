"""The jobs in hand: received, not settled. What is in here is kept leased."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

from kernel.clock import Clock
from kernel.errors import PortError, Unavailable
from kernel.ports import Delivery, Extends, Transport
from kernel.steady import LONGEST_WAIT, Outage, Service
from kernel.worker.job import Job

log = logging.getLogger("kernel.worker")


class Hand:
    """A set of jobs, changed by several threads with single set operations only."""

    def __init__(self, transport: Transport, clock: Clock, lease: float, pause: Callable[[float], None]) -> None:
        """`lease`: seconds asked for with each renewal. `pause` sleeps, or ends early when the worker stops."""
        self._transport = transport
        self._clock = clock
        # Asked once, and by the features: a decorator has the method whatever is inside of it.
        leased = transport.features.lease is not None
        self._extends = transport if leased and isinstance(transport, Extends) else None
        self._jobs: set[Job] = set()
        self._owed: list[Delivery] = []
        #: The transport as all parts of the worker see it. Tried often enough to be back before others take over.
        self.service = Service("the transport", clock, min(LONGEST_WAIT, lease))
        self._outage = Outage(self.service)
        self.pause = pause
        self.lease = lease

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, job: Job) -> bool:
        return job in self._jobs

    def add(self, jobs: Iterable[Job]) -> None:
        """These are ours now."""
        self._jobs.update(jobs)

    def remove(self, jobs: Iterable[Job]) -> None:
        """These are settled, given back or lost."""
        self._jobs.difference_update(jobs)

    def drop(self, jobs: Sequence[Job]) -> None:
        """These are somebody else's. Without leases the transport gives them to nobody before they are given back."""
        if self._extends is None:
            self.release(jobs)
        else:
            self.remove(jobs)

    def jobs(self) -> list[Job]:
        """A copy."""
        return list(self._jobs)

    def release(self, jobs: Sequence[Job]) -> None:
        """Give jobs back to their queue. Where that fails their leases run out, which comes to the same later; those of
        a transport without leases are owed, and given back with the next ones or by the housekeeper."""
        owed, self._owed = self._owed, []
        deliveries = owed + [job.delivery for job in jobs if not job.acked]
        most = self._transport.features.max_batch
        try:
            for start in range(0, len(deliveries), most):
                self._transport.release(deliveries[start : start + most])
        except PortError as error:
            if self._extends is None and isinstance(error, Unavailable):
                self._owed += deliveries
            if jobs:
                then = "which is tried again" if self._owed else "their leases will run out"
                log.warning("%d tasks could not be given back, %s: %s", len(deliveries), then, error)
        self.remove(jobs)

    @property
    def owes(self) -> bool:
        """Whether something is still to be given back that no lease gives back."""
        return bool(self._owed)

    def extend(self, jobs: Sequence[Job], lease: float | None = None) -> None:
        """Renew leases; a job whose lease is gone is marked lost. An outage is left to the next try.

        Nothing is done where messages are held as long as the connection lives.
        """
        extends = self._extends
        if extends is None:
            return
        lease = lease or self.lease
        most = self._transport.features.max_batch
        for start in range(0, len(jobs), most):
            part = jobs[start : start + most]
            asked_at = self._clock.monotonic()
            try:
                lost = {id(delivery) for delivery in extends.extend([job.delivery for job in part], lease)}
            except Unavailable as error:
                self._outage.failed(error)
                return
            except PortError as error:
                log.warning("the leases of %d tasks could not be renewed: %s", len(part), error)
                return
            self._outage.worked()
            for job in part:
                if id(job.delivery) in lost:
                    job.lost = True
                else:
                    job.held_until = asked_at + lease

    def still_held(self, job: Job) -> bool:
        """Whether the lease of a job is held for sure, by renewing it now."""
        if not job.lost:
            self.extend([job])
        return not job.lost and job.held_until > self._clock.monotonic()

    def renew(self) -> None:
        """Renew every lease of which a third is over. Called by the housekeeper."""
        due = self._clock.monotonic() + self.lease * 2 / 3
        near = [job for job in self.jobs() if job.held_until < due and not job.acked and not job.lost]
        if near:
            self.extend(near)
