"""Hands on what runs longer than the transport can hold its message.

Before the time is over, the message is sent anew, with a delay and a fence that outranks this execution, and then the
original is acknowledged. The execution goes on. Its message is again where a crash cannot lose it: should this process
die, the copy runs; should it live, whoever gets the copy finds that the task is claimed, and sends it on once more, or
finds that it is settled, and acknowledges it unseen.

The claim is what tells the two cases apart. That there is a copy is noted before it is sent, because the original may
come back as well: its process may die between the two steps, or have been given up by the broker without hearing of it.
Then the original is one more copy. Run as a redelivery like others, the two would outrank each other until both had
started too often. Without a coordination service only this process knows what it runs, and
any other one runs the copy when it comes: so it is delayed for as long as the transport could have held the message.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from math import inf

from kernel.clock import Clock
from kernel.envelope import FENCE
from kernel.errors import PortError
from kernel.ids import new_id
from kernel.native import allocate_lock
from kernel.outcome import OVERTAKEN, Again, Drop, GiveBack
from kernel.parts import parts
from kernel.ports import Claim, Commits, Coordination, Outgoing, Tally, Transport
from kernel.worker.effects import handed_on
from kernel.worker.hand import Hand
from kernel.worker.job import Job
from kernel.worker.outlet import Outlet
from kernel.worker.starts import LOOK

log = logging.getLogger("kernel.worker")

#: Seconds that a claim lives without renewal, and that a copy waits between two looks at it, if the transport holds a
#: message for four times as long; else a quarter of that.
PACE = 60.0
#: Longest time before the end at which a job is handed on, in seconds, unless the lease is longer; at most a tenth.
MARGIN = 60.0
#: Seconds for which it is known that a task has a copy, and that it was settled: either message may be late.
KNOWN_FOR = 86400.0
#: Seconds between two tries while a port is away.
TRY_EVERY = 1.0
#: The owner of what is settled.
SETTLED = "settled"


class Handover:
    """`look` is called by the housekeeper with each of its looks, `sift` by the intake for suspects."""

    def __init__(
        self, transport: Transport, coordination: Coordination | None, hand: Hand, outlet: Outlet, clock: Clock
    ) -> None:
        """Does nothing at all where the transport holds a message for ever."""
        features = transport.features
        total = features.lease_total
        self._transport = transport
        self._commit = transport.commit if features.commit and isinstance(transport, Commits) else None
        self._coordination = coordination
        self._hand = hand
        self._outlet = outlet
        self._clock = clock
        self._owner = new_id()
        self._lock = allocate_lock()
        self._pace = min(PACE, total / 4)
        self._delay = total if coordination is None else self._pace
        margin = min(total / 2, max(min(MARGIN, total / 10), features.lease or 0.0))
        #: A job is handed on when it has been in hand for so long; inf: never.
        self._after = total - margin if total < inf else inf
        #: Seconds between two looks that keep all times.
        self.look_every = inf if total == inf else min(margin, self._pace) / 3
        #: Nothing to do, ever: no limit, or no way to delay the copy, which would go in circles.
        self.idle = total == inf or features.delay == 0.0
        if self.idle and total < inf:
            log.warning("tasks that run longer than %g s are delivered again: the transport has no delay", total)
        #: Monotonic time of the last look.
        self.looked_at = self._try_at = clock.monotonic()
        self._since: dict[Job, float] = {}
        self._claimed: dict[str, Job] = {}
        self._renew_at = 0.0

    # -- what runs here ------------------------------------------------------------------------------------

    def look(self, now: float) -> None:
        """Hand on what is due, and keep or end the claims of what was handed on."""
        if self.idle:
            return
        with self._lock:
            jobs = self._ours()
            # At the first look its lease is still the one that it came with.
            self._since = {job: self._since.get(job, job.held_until - self._hand.lease) for job in jobs}
            self.looked_at = now
            self._end_claims(jobs)
            # What cannot be read runs nowhere, and would not be the same when it is written anew.
            due = [job for job, at in self._since.items() if now - at >= self._after and not job.acked and _key(job)]
            if due and now >= self._try_at:
                self._try_at = now + min(TRY_EVERY, self.look_every)
                self._hand_on(due)
            if self._claimed and now >= self._renew_at:
                self._renew_at = now + self._pace / 3
                self._claim(list(self._claimed))

    def close(self) -> None:
        """The worker has stopped: end all claims, so that what did not end here runs elsewhere soon."""
        with self._lock:
            self._end_claims(set())

    def _ours(self) -> set[Job]:
        """The jobs in hand that nobody has taken over: a claim on one of those would end the execution that counts."""
        return {job for job in self._hand.jobs() if not job.lost}

    def _hand_on(self, jobs: list[Job]) -> None:
        self._outlet.flush()
        keys = {_key(job): job for job in jobs}
        self._claimed.update(keys)
        # Before the copy is anywhere, so that nobody finds it without its claim, nor the original without its note.
        self._claim(list(keys))
        if not self._noted(list(keys)):
            return
        at = self._clock.now() + self._delay
        for job in keys.values():
            with self._outlet.lock:
                # Claiming may have lasted: who slept meanwhile must not send a copy of what somebody else has by now.
                if job in self._hand and not job.acked and self._hand.still_held(job):
                    self._exchange(job, handed_on(job, at))

    def _exchange(self, job: Job, copy: Outgoing) -> None:
        """Send the copy, then acknowledge the original. A failure is left to the next look, of which there are some."""
        envelope = job.envelope
        try:
            if self._commit is not None:
                lost = self._commit([(job.delivery, [copy])])
            else:
                if not job.handed:
                    self._transport.send([copy])
                    job.handed = True
                lost = self._transport.ack([job.delivery])
        except PortError as error:
            log.warning("task %s[%s] could not be handed on: %s", envelope.task, envelope.id, error)
            return
        if lost:
            log.warning("task %s[%s] was taken over by another worker", envelope.task, envelope.id)
            job.lost = True
            return
        job.acked = job.handed = True
        log.info("task %s[%s] outlasts the transport's hold; its message is sent anew", envelope.task, envelope.id)

    def _noted(self, keys: list[str]) -> bool:
        """Note that these have copies; False where that failed, which is left to the next look."""
        if self._coordination is None:
            return True
        try:
            self._tallied(keys, self._owner)
        except PortError as error:
            log.warning("%d tasks could not be handed on: %s", len(keys), error)
            return False
        return True

    # -- claims --------------------------------------------------------------------------------------------

    def _claim(self, keys: list[str]) -> None:
        """Make or renew claims; a job that somebody else has claimed is lost."""
        if self._coordination is None:
            return
        try:
            owners = self._batched([Claim(key, self._owner, self._pace) for key in keys])
        except PortError as error:
            log.warning("%d claims of running tasks could not be renewed: %s", len(keys), error)
            return
        for key, owner in zip(keys, owners, strict=True):
            if owner != self._owner:
                log.warning("task %s was taken over by another worker", self._claimed[key].envelope.id)
                self._claimed.pop(key).lost = True

    def _end_claims(self, jobs: set[Job]) -> None:
        """End the claims of all but `jobs`, and make known which of the others have been settled."""
        gone = {key: job for key, job in self._claimed.items() if job not in jobs}
        if not gone:
            return
        if self._coordination is None:
            for key in gone:
                del self._claimed[key]
            return
        settled = [key for key, job in gone.items() if _is_settled(job)]
        try:
            self._batched([Claim(_settled(key), SETTLED, KNOWN_FOR) for key in settled])
            keys = [(key, self._owner) for key in gone]
            for part in parts(keys, self._coordination.features.max_batch):
                self._coordination.drop(part)
        except PortError as error:
            log.warning("%d claims of tasks could not be ended: %s", len(gone), error)
            return  # the next look tries again
        for key in gone:
            del self._claimed[key]

    def _batched(self, claims: list[Claim]) -> list[str]:
        assert self._coordination is not None
        most = self._coordination.features.max_batch
        owners: list[str] = []
        for part in parts(claims, most):
            owners += self._coordination.claim(part)
        return owners

    def _tallied(self, keys: list[str], member: str) -> list[int]:
        assert self._coordination is not None
        items = [Tally(f"handed:{key}", member, KNOWN_FOR) for key in keys]
        return [
            size
            for part in parts(items, self._coordination.features.max_batch)
            for size in self._coordination.tally(part)
        ]

    # -- what comes back -----------------------------------------------------------------------------------

    def sift(self, suspects: Sequence[Job]) -> list[Job]:
        """Those of `suspects` that may run; the others get an outcome: settled already, or at work elsewhere.

        Only copies, and originals that have one, are asked about, and claimed when they may run. A claim for each
        redelivery was rejected: the next one would have to wait until the claim of a dead process has expired.
        """
        if self.idle:
            return list(suspects)
        with self._lock:
            self._end_claims(self._ours())
            free: list[Job] = []
            copied = self._copied(suspects)
            for job in suspects:
                if job not in copied:
                    free.append(job)
                    continue
                key = _key(job)
                outcome = self._again() if key in self._claimed else self._foreign(key)
                if outcome is None:
                    self._claimed[key] = job
                    free.append(job)
                else:
                    job.outcome = outcome
            return free

    def _copied(self, suspects: Sequence[Job]) -> set[Job]:
        """Those that are copies, or have one."""
        copied = {job for job in suspects if FENCE in job.envelope.extra}
        others = [job for job in suspects if job not in copied and _key(job)]
        if self._coordination is None or not others:
            return copied
        try:
            sizes = self._tallied([_key(job) for job in others], LOOK)
        except PortError as error:
            log.warning("whether %d redelivered tasks were handed on is not known: %s", len(others), error)
            return copied
        return copied.union(job for job, size in zip(others, sizes, strict=True) if size > 1)

    def _foreign(self, key: str) -> Again | Drop | None:
        """What a job comes to because of others; None when it may run, and is claimed."""
        if self._coordination is None:
            return None
        try:
            if self._batched([Claim(key, self._owner, self._pace)])[0] != self._owner:
                return self._again()
            # In this order: who settles makes that known before it ends its claim.
            known = self._batched([Claim(_settled(key), self._owner, self._pace)])[0]
            self._coordination.drop([(_settled(key), self._owner)])
            if known != SETTLED:
                return None
            self._coordination.drop([(key, self._owner)])
            return Drop("it was settled by who had handed it on")
        except PortError as error:
            log.warning("whether another worker runs %s is not known: %s", key, error)
            return self._again()

    def _again(self) -> Again:
        return Again(self._clock.now() + self._pace, hop=True)


def _key(job: Job) -> str:
    """What is claimed for a job; "" for one whose message is no call."""
    envelope = job.envelope
    return envelope.id and f"running:{envelope.id}:{envelope.generation}:{envelope.attempt}"


def _settled(key: str) -> str:
    return f"settled:{key}"


def _is_settled(job: Job) -> bool:
    """Whether its outcome is where it belongs, so that a copy of its message has nothing to do. Not of one that was
    overtaken, nor where somebody else has the message by now: those would answer for what the others have still to do.
    """
    outcome = job.outcome
    return outcome is not None and type(outcome) is not GiveBack and outcome is not OVERTAKEN and not job.lost
