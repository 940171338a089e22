"""What is written and acknowledged before a task has ended."""

from __future__ import annotations

import logging

from kernel.clock import Clock
from kernel.errors import CodecError, PortError, Unavailable
from kernel.outcome import DECIDED, OVERTAKEN, Drop, Entry, decode_entry
from kernel.ports import ResultStore, Transport
from kernel.steady import Outage
from kernel.worker.effects import record_of
from kernel.worker.hand import Hand
from kernel.worker.job import Job

log = logging.getLogger("kernel.worker")


class Marks:
    """Early acknowledgements and records. On the thread that runs the job."""

    def __init__(self, transport: Transport, results: ResultStore | None, hand: Hand, clock: Clock) -> None:
        self._transport = transport
        self._results = results
        self._hand = hand
        self._clock = clock
        self._outage = Outage(hand.service)

    def ack_early(self, job: Job) -> bool:
        """Acknowledge a job just before it starts; False when its lease was lost and it must not run."""
        while True:
            try:
                lost = self._transport.ack([job.delivery])
                self._outage.worked()
                break
            except Unavailable as error:
                wait = self._outage.failed(error)
                if self._clock.monotonic() + wait > job.held_until:
                    return False  # never run what may be delivered to somebody else
                self._hand.pause(wait)
        job.acked = True
        return not lost

    def write_now(self, job: Job, entry: Entry) -> Entry | None:
        """Put one record at once; the record that stands against it, None when it was written or none is kept.

        Raises `PortError` when the store does not answer.
        """
        if self._results is None or not job.store:
            return None
        value = self._results.put([record_of(job, entry)], job.ttl)[0]
        return None if value is None else decode_entry(value)

    def mark_started(self, job: Job) -> bool:
        """Record STARTED; False when a record stands that says that this execution must not be."""
        entry = Entry("STARTED", at=self._clock.now(), attempt=job.envelope.attempt, node=job.node)
        try:
            stands = self.write_now(job, entry)
        except (PortError, CodecError) as error:
            log.warning("STARTED of task %s was not recorded: %s", job.envelope.id, error)
            return True
        if stands is None:
            return True
        job.standing = stands if stands.state in DECIDED else None
        # A plain call that was replaced, and whose worker ended before it sent what takes its place.
        job.flow = job.flow or stands.state == "REPLACED"
        job.outcome = Drop("its outcome is known already") if job.standing else OVERTAKEN
        return False
