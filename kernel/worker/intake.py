"""Asks the pool for demand, receives that many messages and hands on what may run."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence

from kernel import envelope as wire
from kernel.clock import Clock
from kernel.configuration.settings import Worker as Settings
from kernel.errors import PortError, Unavailable, WorkerLost
from kernel.hooks import Hooks
from kernel.native import Signal
from kernel.outcome import Drop, Error, Failed, GiveBack, name_of
from kernel.policy import prefetch
from kernel.ports import Delivery, Pool, Transport, Wakes
from kernel.steady import Outage
from kernel.worker.admit import Admission, Admit
from kernel.worker.gate import Gate
from kernel.worker.hand import Hand
from kernel.worker.job import Job
from kernel.worker.outlet import Outlet
from kernel.worker.plan import Plan
from kernel.worker.revoking import Revoking
from kernel.worker.starts import Starts
from kernel.worker.turns import Turns

log = logging.getLogger("kernel.worker")

#: Longest wait for a message, in seconds: how late a stop is noticed where the transport cannot be woken.
PATIENCE = 1.0
#: Longest wait for room in the pool, in seconds: how late a stop is noticed there, because no pool can be woken.
FULL_FOR = 0.1
#: Seconds for which nothing is received after suspects were given back, so that another process has them.
STAND_BACK = 0.25
#: While a suspect runs nothing else is taken in for so long, in seconds: most of those that kill do it at once.
ALONE_FOR = 1.0


class Intake:
    """The loop of a worker. It runs where the pool says, and alone calls `receive`."""

    def __init__(
        self,
        transport: Transport,
        pool: Pool,
        admit: Admit,
        outlet: Outlet,
        hand: Hand,
        starts: Starts,
        settings: Settings,
        hooks: Hooks,
        clock: Clock,
        sift: Callable[[Sequence[Job]], list[Job]],
        gate: Gate,
        revoking: Revoking,
    ) -> None:
        """Nothing is received before `loop`. `sift` gives an outcome to suspects that are at work elsewhere, and
        returns the others; `gate` does so for limits."""
        self._gate = gate
        self._transport = transport
        self._pool = pool
        self._admit = admit
        self._outlet = outlet
        self._hand = hand
        self._starts = starts
        self._settings = settings
        self._hooks = hooks
        self._clock = clock
        self._sift = sift
        self._flows = outlet.flows
        self._revoking = revoking
        self._turns = Turns(settings.queues, settings.strict, settings.exclude_queues)
        self._outage = Outage(hand.service)
        self._store_outage = Outage(outlet.store)
        self._suspects: deque[Job] = deque()
        #: Plans of tasks whose starts are recorded because they were delivered before, by name.
        self._tracked: dict[str, Plan] = {}
        self._suspect: Job | None = None
        self._patience = min(PATIENCE, hand.lease / 4)
        self._most = min(settings.prefetch_max, transport.features.max_batch)
        self.stopping = Signal()
        #: Goes up with each turn of the loop: whoever looks twice sees whether it gets on.
        self.turns = 0
        #: Set by the housekeeper while running tasks last: nothing is fetched ahead of them.
        self.stalled = False
        #: The last batch had limited jobs: nothing is fetched ahead, because one that waited here behind others would
        #: keep a slot from the next of its key, and one that is given back is received once more.
        self._bounded = False
        #: Wakes the housekeeper when jobs wait that it may have to give back; the worker wires it.
        self.nudge: Callable[[], None] = lambda: None

    @property
    def queues(self) -> list[str]:
        """The names of the queues."""
        return self._turns.names

    def stop(self) -> None:
        """End the loop soon. Safe in a signal handler."""
        self.stopping.set()
        if self._transport.features.wake and isinstance(self._transport, Wakes):
            try:
                self._transport.wake()
            except PortError:
                pass  # closed already: a signal may come as late as that

    def loop(self) -> None:
        """Receive and submit until `stop`."""
        stopping = self.stopping
        while not stopping.is_set():
            self.turns += 1
            room = self._room()
            if room > 0 and not stopping.is_set():
                # A lease begins at some moment of the call, and the call can last: it may wait for other writers.
                held_until = self._clock.monotonic() + self._hand.lease
                deliveries = self._receive(min(room, self._most))
                if deliveries:
                    self._take(deliveries, held_until)
        self.give_back(self.recall())

    def step(self, queues: Sequence[str], limit: int) -> int:
        """Take in and submit what is there now, at most `limit` messages; how many there were. Errors are raised."""
        held_until = self._clock.monotonic() + self._hand.lease
        deliveries = self._transport.receive(queues, limit, 0.0)
        if deliveries:
            self._take(deliveries, held_until)
        return len(deliveries)

    def _room(self) -> int:
        """How many messages to ask for now: what runs at once, and what fits in a moment behind it."""
        if self._outlet.held >= self._settings.prefetch_max:
            self._hand.pause(0.1)  # a port is away and enough waits for it: take in nothing more
            return 0
        pool = self._pool
        window = self._settings.prefetch_for * pool.slots
        buffer = 0 if self.stalled or self._bounded else prefetch(self._outlet.mean, window, self._most)
        return pool.demand(buffer, FULL_FOR)

    def _receive(self, limit: int) -> list[Delivery]:
        try:
            deliveries = self._transport.receive(self._turns.next(), limit, self._patience)
            if self._outage.away:
                self._outage.worked()
            return deliveries
        except Unavailable as error:
            if not self.stopping.is_set():
                self._hand.pause(self._outage.failed(error))
        except PortError as error:
            if not self.stopping.is_set():
                log.error("receiving from %s was refused: %s", ", ".join(self.queues), error)
                self._hand.pause(PATIENCE)
        return []

    def _take(self, deliveries: list[Delivery], held_until: float) -> None:
        admission = self._admit.admit(deliveries, held_until)
        self._bounded = admission.bounded
        ready, suspects, ended = admission.ready, admission.suspects, admission.ended
        for jobs in (ready, suspects, ended):
            self._hand.add(jobs)
        if self._hooks.received:
            told = [(job.envelope, job.delivery.queue) for job in ready + suspects]
            for hook in self._hooks.received:
                hook(told)
        inline = self._pool.features.inline
        if admission.flows or self._revoking.any:
            ready, suspects = self._look(admission)
        if suspects:
            free = self._sift(suspects)
            ended += [job for job in suspects if job.outcome is not None]
            suspects = free
        if admission.bounded:
            self._gate.note(ended)
            # First what runs soon: what is given back must not have taken a slot, or a token, from others.
            ready, suspects = self._passed(self._fitting(ready), ended), self._passed(suspects, ended)
        if suspects and self._transport.features.release_counts:
            suspects, cleared = self._sorted(suspects)
            ready += cleared
        for job in ended:
            self._outlet.put(job)
        if ready:
            self._submit(self._fitting(ready))
        if inline:
            self._outlet.flush()
        if suspects:
            self._suspects.extend(suspects)
        while self._suspects and not self.stopping.is_set():
            self._run_suspect()

    def _passed(self, jobs: list[Job], ended: list[Job]) -> list[Job]:
        """The jobs whose limits let them start; the others have ended here."""
        passed = self._gate.sift(jobs)
        ended += [job for job in jobs if job.outcome is not None]
        return passed

    def _look(self, admission: Admission) -> tuple[list[Job], list[Job]]:
        """What is left to run, and of suspects, when the store was asked about the tasks of workflows and what is
        revoked. While it does not answer they are given back: their records would have to be written there anyway."""
        asked = [*admission.ready, *admission.suspects] if self._revoking.any else admission.flows
        try:
            if self._revoking.any:
                for job in self._revoking.revoked(asked):
                    job.outcome = Drop("revoked", "REVOKED")
            if admission.flows and self._flows is not None:
                self._flows.look([job for job in admission.flows if job.outcome is None])
            self._store_outage.worked()
            out = {job for job in asked if job.outcome is not None}
            admission.ended += out
        except PortError as error:
            self.give_back(asked)
            self._hand.pause(self._store_outage.failed(error))
            out = set(asked)
        ready = [job for job in admission.ready if job not in out]
        return ready, [job for job in admission.suspects if job not in out]

    def _submit(self, jobs: list[Job]) -> None:
        first = jobs[0]
        # Not for a lone job: nothing waits behind it, and a second thread that wakes with it makes it slower.
        if len(jobs) > 1 or self.stalled or first.soft_limit or first.hard_limit:
            self.nudge()
        self._pool.submit(jobs)

    def _fitting(self, jobs: list[Job]) -> list[Job]:
        """What runs within the prefetch window by the measured runtimes; the rest goes back at once."""
        window = self._settings.prefetch_for
        budget = window * self._pool.slots
        if sum([job.plan.mean or window for job in jobs]) <= budget:
            return jobs
        spent = 0.0
        for index, job in enumerate(jobs):
            if spent >= budget and index >= self._pool.slots:
                self.give_back(jobs[index:])
                return jobs[:index]
            spent += job.plan.mean or window
        return jobs

    def _sorted(self, redelivered: list[Job]) -> tuple[list[Job], list[Job]]:
        """Suspects, and those that only were given back as far as anybody knows. What is released counts as delivered
        on this transport, and a message that never began has ended nobody.

        The latter run like others, with their starts recorded; coming again, they are suspects.
        """
        suspects: list[Job] = []
        cleared: list[Job] = []
        for job, begun in zip(redelivered, self._starts.begun(redelivered), strict=True):
            # One that goes on from another message (FENCE) has begun as that one.
            (suspects if begun or wire.FENCE in job.envelope.extra else cleared).append(job)
        for job in cleared:
            job.plan = self._tracked.get(job.plan.name) or self._tracked.setdefault(job.plan.name, job.plan.tracked())
            if job.hard_limit:
                job.store = self._outlet.keeps
        return suspects, cleared

    def mark_started(self, job: Job) -> bool:
        """Record that a job starts; False when it must not. On the thread that runs it."""
        if not self._outlet.marks.mark_started(job):
            return False
        if job.redelivered and self._transport.features.release_counts:
            self._starts.begin(job)
        late = job.redelivered and not job.acked and job.held_until <= self._clock.monotonic()
        if late and not self._hand.still_held(job):
            job.outcome = GiveBack()  # it slept meanwhile, and where deliveries are not counted nothing else fences it
            return False
        return True

    # -- suspects ------------------------------------------------------------------------------------------

    def _run_suspect(self) -> None:
        """Run the next suspect with nothing unstarted or unflushed beside it, and never two at a time."""
        if self._suspect is not None and self._suspect in self._hand:
            self.give_back(self._recall_suspects())
            self._hand.pause(STAND_BACK)
            return
        job = self._suspects.popleft()
        self.give_back(self._pool.recall(self._most))
        self._outlet.flush()
        if job.lost or job not in self._hand:
            self._hand.drop([job])
            return
        if not self._may_start(job):
            self._outlet.put(job)
            self._outlet.flush()
            return
        self._suspect = job
        self.nudge()
        self._pool.submit([job])
        if self._pool.features.inline:
            self._outlet.flush()
            return
        deadline = self._clock.monotonic() + ALONE_FOR
        while job in self._hand and self._clock.monotonic() < deadline and not self.stopping.is_set():
            self._hand.pause(0.005)

    def _may_start(self, job: Job) -> bool:
        """Record the start of a suspect; False when its outcome is known already or it was started too often."""
        if job.hard_limit:
            job.store = self._outlet.keeps  # its overrun was recorded, also of a task that ignores its results
        if job.store and not self._outlet.marks.mark_started(job):
            return False
        allowed = int(job.envelope.extra.get(wire.MAX_DELIVERIES, job.plan.max_deliveries))
        starts = self._starts.record(job)
        if starts <= allowed:
            return True
        reason = f"started {starts} times and never seen to its end: it ends its worker, or asks to be requeued"
        log.error("task %s[%s] goes to the dead letters: %s", job.envelope.task, job.envelope.id, reason)
        job.outcome = Failed(Error(name_of(WorkerLost), reason), "failed", reason)
        return False

    # -- giving back ---------------------------------------------------------------------------------------

    def recall(self) -> list[Job]:
        """Everything in this process that has not started. Any thread."""
        return self._pool.recall(1 << 30) + self._recall_suspects()

    def _recall_suspects(self) -> list[Job]:
        jobs: list[Job] = []
        while self._suspects:
            try:
                jobs.append(self._suspects.pop())
            except IndexError:
                break
        return jobs

    def give_back(self, jobs: Sequence[Job]) -> None:
        """Release jobs that have not started. Any thread."""
        if jobs:
            self._hand.release(self._gate.put_back(jobs))
