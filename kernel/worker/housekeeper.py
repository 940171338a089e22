"""Everything that must happen on time while tasks run: leases, limits, giving back, health. One native thread."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from kernel.clock import Clock
from kernel.configuration.settings import Worker as Settings
from kernel.errors import HardTimeLimitExceeded, PortError, SoftTimeLimitExceeded
from kernel.native import Signal, Thread
from kernel.ports import Pool
from kernel.steady import Backoff
from kernel.worker.effects import entry_of
from kernel.worker.hand import Hand
from kernel.worker.handing import Handover
from kernel.worker.intake import Intake
from kernel.worker.job import Job
from kernel.worker.memory import resident_bytes
from kernel.worker.outlet import Outlet
from kernel.worker.progress import Progress
from kernel.worker.revoking import Revoking
from kernel.worker.runner import Runner
from kernel.worker.seat import Away, Seat

log = logging.getLogger("kernel.worker")

#: When no task has started for so long although all slots are taken, what waits behind them is given back; seconds.
STALL = 0.03
#: Between two looks while jobs wait behind running ones, in seconds.
GLANCE = 0.015
#: Between two looks while none waits, in seconds.
LOOK = 0.1
#: A job that was told to end has so long, in seconds, before its process ends.
LAST_WORDS = 0.5
#: How long the record of an overrun task is tried to be stored before its process ends all the same, in seconds.
RECORD_FOR = 5.0
#: After the kill, others may have the running neighbours so soon, in seconds.
SHORT_LEASE = 0.2
#: How much longer than a hard limit the supervisor waits for this thread to keep it, in seconds.
SUPERVISOR_MARGIN = 3.0


class Housekeeper:
    """`start` and `stop`, and `nudge` to look at once."""

    def __init__(
        self,
        pool: Pool,
        runner: Runner,
        intake: Intake,
        outlet: Outlet,
        hand: Hand,
        seat: Seat,
        settings: Settings,
        clock: Clock,
        handover: Handover,
        recycle: Callable[[str], None],
        die: Callable[[], None] | None,
        hurry: Callable[[], None] | None,
        revoking: Revoking,
    ) -> None:
        """`recycle` asks for a new process in place of this one; `die` ends it at once, with everything in it, and is
        None where nobody would start another. `hurry` is asked with each look where the pool cannot drain itself."""
        self._pool = pool
        self._runner = runner
        self._intake = intake
        self._outlet = outlet
        self._hand = hand
        self._seat = seat
        self._settings = settings
        self._clock = clock
        self._handover = handover
        self._recycle = recycle
        self._die = die
        self._hurry = hurry
        self._revoking = revoking
        self._signal = Signal()
        self._stopping = False
        self._thread: Thread | None = None
        self._condemned: dict[Job, float] = {}
        self._warned: set[Job] = set()
        self._renew_at = 0.0
        self._health_at = 0.0
        self._progress = Progress(intake, outlet, pool.features.inline)
        # Nobody wakes this thread for a single job, so it may sleep through the first part of a lease, not all of it.
        self._idle_for = min(settings.health_interval, hand.lease / 6, handover.look_every)

    def start(self, failed: Callable[[BaseException], None]) -> None:
        """Begin."""
        self._thread = Thread(self._serve, "kernel-housekeeper", failed)
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """End within `timeout` seconds. Idempotent."""
        self._stopping = True
        self._signal.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def nudge(self) -> None:
        """Jobs wait: look soon."""
        if not self._signal.is_set():
            self._signal.set()

    def _serve(self) -> None:
        while not self._stopping:
            if len(self._hand) == 0:
                self._signal.wait(self._idle_for)
            self._signal.clear()
            self.tick()
            # Never without a pause: a thread that spins takes the interpreter away from the tasks.
            if self._pool.waiting() or self._outlet.pending:
                self._hand.pause(GLANCE)
            else:
                self._signal.wait(LOOK)

    def tick(self) -> None:
        """One look at everything."""
        now = self._clock.monotonic()
        kill_at = self._seat.kill_at
        active = list(self._runner.active)
        self._unblock(active, now)
        if self._hurry is not None:
            self._hurry()
        if now >= self._renew_at:
            self._hand.renew()
            self._renew_at = now + self._hand.lease / 6
        if self._hand.owes:
            self._hand.release([])
        self._handover.look(now)
        self._revoking.look(active)
        self._keep_limits(active, kill_at, now)
        if self._outlet.held:
            self._outlet.flush()
        if now >= self._health_at:
            self._report(active, now)
            self._health_at = now + self._settings.health_interval

    # -- giving back ---------------------------------------------------------------------------------------

    def _unblock(self, active: list[Job], now: float) -> None:
        """When running tasks last, or the worker stops, give back what waits behind them and settle what has ended."""
        # Jobs that wait although slots are free are behind a task that does not let its loop or hub go on.
        taken = len(active) >= self._pool.slots or (active and self._pool.waiting() > 0)
        stalled = bool(taken) and now - max(job.started_at for job in active) > STALL
        self._intake.stalled = stalled
        if stalled or self._intake.stopping.is_set():
            waiting = self._intake.recall()
            if waiting:
                self._intake.give_back(waiting)
            if self._pool.features.inline and self._outlet.pending:
                self._outlet.flush()

    # -- limits --------------------------------------------------------------------------------------------

    def expect(self, job: Job) -> None:
        """A job with a hard limit starts. Noted by the thread that runs it: from its first instruction on it may keep
        every other thread, this one too, from running at all."""
        kill_at = job.started_at + job.hard_limit + SUPERVISOR_MARGIN + RECORD_FOR
        if not 0.0 < self._seat.kill_at <= kill_at:
            self._seat.kill_at = kill_at

    def _keep_limits(self, active: list[Job], seen: float, now: float) -> None:
        """`seen`: the time to kill before `active` was looked at. If it has changed, a job started meanwhile."""
        kill_at = 0.0
        for job in active:
            if job.soft_limit and job not in self._warned and now - job.started_at >= job.soft_limit:
                limit = f"{job.envelope.task} ran longer than its soft limit of {job.soft_limit:g} s"
                if self._pool.interrupt(job, SoftTimeLimitExceeded(limit)):
                    self._warned.add(job)
            if job.hard_limit:
                until = job.started_at + job.hard_limit
                kill_at = min(kill_at or until, until)
                if now >= until:
                    self._overrun(job, now)
        if self._seat.kill_at == seen:
            self._seat.kill_at = kill_at + SUPERVISOR_MARGIN + RECORD_FOR if kill_at else 0.0
        if self._warned:
            self._warned.intersection_update(active)

    def _overrun(self, job: Job, now: float) -> None:
        """Record the end of a task first, then end it: in place where the pool can, else with its process."""
        told_at = self._condemned.get(job)
        if told_at is None:
            log.error("task %s[%s] overran its hard limit", job.envelope.task, job.envelope.id)
            self._record(job)
            self._condemned[job] = now
            error = HardTimeLimitExceeded(f"hard limit of {job.hard_limit:g} s")
            if self._pool.features.ends_in_place and self._pool.interrupt(job, error):
                return
        elif now - told_at < LAST_WORDS or job not in self._runner.active:
            return
        if self._die is not None:
            self._end_process(job, self._die)
        else:
            self._abandon(job)

    def _abandon(self, job: Job) -> None:
        """Nobody would start a new process: leave the body running, keep its slot, and have nothing to do with it."""
        log.critical("task %s[%s] cannot be ended here; its outcome is recorded", job.envelope.task, job.envelope.id)
        job.lost = True
        self._runner.active.discard(job)
        self._hand.remove([job])

    def _record(self, job: Job) -> None:
        """Store the end of an overrun task, also of one that ignores its results: else it would run again."""
        job.store = self._outlet.keeps
        entry = entry_of(job, self._runner.overrun(job), self._clock.now())
        assert entry is not None
        deadline = self._clock.monotonic() + RECORD_FOR
        backoff = Backoff()
        while True:
            try:
                self._outlet.marks.write_now(job, entry)
                return
            except PortError as error:
                if self._clock.monotonic() >= deadline:
                    log.error("the end of task %s could not be recorded: %s", job.envelope.id, error)
                    return
                self._hand.pause(backoff.wait_for())

    def _end_process(self, offender: Job, die: Callable[[], None]) -> None:
        """The process ends. What has ended is settled, what waits is given back, and the neighbours run elsewhere."""
        self._intake.stop()
        self._intake.give_back(self._intake.recall())
        self._outlet.flush()
        running = [job for job in self._hand.jobs() if not job.acked]
        self._hand.extend(running, SHORT_LEASE)
        log.error("process %d ends: task %s does not", os.getpid(), offender.envelope.id)
        die()

    # -- health --------------------------------------------------------------------------------------------

    def _report(self, active: list[Job], now: float) -> None:
        seat = self._seat
        transport_away = self._hand.service.away
        # An intake that waits for its transport gets on: it tries, and says so.
        seat.beat_at = self._progress.at(now, bool(active), transport_away)
        seat.away = transport_away * Away.TRANSPORT | self._outlet.store.away * Away.RESULTS
        seat.in_hand = len(self._hand)
        seat.busy_since = min((job.started_at for job in active), default=0.0)
        seat.job = f"{active[0].envelope.task}[{active[0].envelope.id}]" if active else ""
        memory = seat.rss = resident_bytes()
        limit = self._settings.max_memory * 1024 * 1024
        if limit and memory > limit:
            self._recycle(f"{memory / 1024 / 1024:.0f} MiB of memory are more than max_memory")
        if self._condemned:
            self._condemned = {job: at for job, at in self._condemned.items() if job in self._runner.active}
