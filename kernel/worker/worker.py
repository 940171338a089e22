"""One worker process: Intake, Runner in a Pool, Outlet, Housekeeper, wired in one constructor."""

from __future__ import annotations

import logging
import os
import platform
import signal
from collections.abc import Sequence
from typing import Any

from kernel import discovery
from kernel.app import Kernel
from kernel.builtin import builtin
from kernel.configuration.settings import Worker as Settings
from kernel.envelope import dead_queue
from kernel.errors import ConfigError, Unavailable
from kernel.native import Signal
from kernel.own import set_current_app
from kernel.provided import close_process
from kernel.steady import Outage
from kernel.worker.admit import Admit, check_limits
from kernel.worker.flows import Flows
from kernel.worker.gate import Gate
from kernel.worker.hand import Hand
from kernel.worker.handing import Handover
from kernel.worker.housekeeper import STALL, Housekeeper
from kernel.worker.intake import Intake
from kernel.worker.job import Job
from kernel.worker.outlet import Outlet
from kernel.worker.plan import Plan
from kernel.worker.report import report, told
from kernel.worker.revoking import Revoking
from kernel.worker.runner import Cancelled, Runner
from kernel.worker.seat import Away, ExitCode, NoSeat, Seat, State
from kernel.worker.starts import Starts
from kernel.workflows.driver import Driver

log = logging.getLogger("kernel.worker")

#: Lease of a transport whose messages are held as long as its connection lives, for the arithmetic; seconds.
FOREVER = 1e9
#: Solo settles at the latest after so many seconds of running one short task after the other.
FLUSH_AFTER = 0.02
#: Seconds that the last steps of a stop have.
LAST_STEPS = 5.0


class Worker:
    """Runs the tasks of an application until it is told to stop."""

    def __init__(
        self,
        app: Kernel,
        seat: Seat | None = None,
        supervised: bool = False,
        guest: bool = False,
        settings: Settings | None = None,
    ) -> None:
        """Open the ports and wire the parts. `supervised`: somebody starts a new process when this one ends.

        `guest`: the process and the application are somebody else's, such as a test's. The ports stay open at the end,
        and a task that overruns its hard limit has failed, but goes on. `settings` in place of the application's.

        ConfigError for what can never work; `Unavailable` when a service is away.
        """
        set_current_app(app)
        self.app = app
        settings, clock = settings or app.config.worker, app.clock
        self.settings = settings
        self.node = f"{platform.node()}:{os.getpid()}"
        self.seat: Seat = seat or NoSeat()
        self._supervised = supervised
        self._guest = guest
        self._clock = clock
        self._stop_signal = Signal()
        self._nap = Signal()
        self._quitting = self._recycling = False
        self._stop_at = 0.0
        self._failure: BaseException | None = None
        self._flush_at = 0.0
        #: Jobs that would not end: their threads are still at work when `run` has returned.
        self.abandoned: list[Job] = []
        self.pool = discovery.pool(settings.pool, settings.concurrency)
        self.ports = app.ports.all()
        if self.ports.sealing is not None:
            self.ports.sealing.need_key()
        self.transport = transport = self.ports.transport
        lease = transport.features.lease
        self.hand = Hand(transport, clock, FOREVER if lease is None else lease, self._pause)
        inline = self.pool.features.inline
        self.outlet = self._outlet(inline)
        done = self._done_inline if inline else self.outlet.put
        self.runner = Runner(
            clock, done, self.hand.still_held, self.outlet.marks.ack_early, self._mark_started, app.hooks.retry_at
        )
        self.gate = self._gate()
        self.revoking = Revoking(self.ports.results, self.pool.interrupt)
        self.admit = self._admit()
        self.handover = Handover(transport, self.ports.coordination, self.hand, self.outlet, clock)
        self.intake = Intake(
            transport, self.pool, self.admit, self.outlet, self.hand, self._starts(), settings, app.hooks, clock,
            sift=self.handover.sift, gate=self.gate, revoking=self.revoking,
        )  # fmt: skip
        self.housekeeper = Housekeeper(
            self.pool, self.runner, self.intake, self.outlet, self.hand, self.seat, settings, clock, self.handover,
            recycle=self.recycle, die=_die if supervised else None,
            hurry=self._hurry if inline else None, revoking=self.revoking,
        )  # fmt: skip
        self.intake.nudge = self.housekeeper.nudge
        self.runner.limited = self.housekeeper.expect

    def _starts(self) -> Starts:
        return Starts(self.ports.coordination, self.node)

    def _gate(self) -> Gate:
        ports = self.ports
        gate = Gate(self.transport, ports.coordination, ports.schedules, self.hand, self.outlet.put, self._clock)
        self.outlet.leaving = gate.leave
        return gate

    def _admit(self) -> Admit:
        admit = Admit(
            lambda: {**builtin, **self.app.tasks},
            self.app.config.tasks,
            self.settings.unknown_for,
            self._clock,
            self.node,
            self._complete,
            store=self.ports.results is not None,
            limits=self.gate.stands,
        )
        self.flows.give = admit.give
        return admit

    def _outlet(self, inline: bool) -> Outlet:
        app, ports, clock = self.app, self.ports, self._clock
        driver = Driver(ports.results, ports.coordination, app.config.tasks.workflow_expires, clock.now)
        self.flows = flows = Flows(driver, ports.results, app.results.load, app.flows.replacing, clock)
        undertaker = app.hooks.undertaker()
        return Outlet(self.transport, ports.results, self.hand, clock, self._settled, inline, undertaker, flows)

    def _complete(self, plan: Plan) -> None:
        plan.bind(self.app.hooks.wrapped)
        if plan.coroutine and not self.pool.features.native_async:
            plan.bridge(self.pool.block_on)

    def _mark_started(self, job: Job) -> bool:
        return self.intake.mark_started(job)  # made after the runner, which the pool's jobs go through

    def _pause(self, seconds: float) -> None:
        """Sleep, but not long once the worker is told to stop."""
        self._nap.wait(min(seconds, 0.02) if self._stop_signal.is_set() else seconds)

    # -- lifecycle -----------------------------------------------------------------------------------------

    def run(self) -> int:
        """Work until `stop`; returns the exit status. What a part of the worker raises ends it and is raised here."""
        if not self._boot():
            return ExitCode.OK
        inline = self.pool.features.inline
        self.pool.start(self.runner.run, self.runner.arun)
        if not inline:
            self.outlet.start(self._failed)
        self.housekeeper.start(self._failed)
        self.gate.start(self._failed)
        for pump in self.ports.completed.pumps:
            pump.start()
        self.app.hooks.manager.hook.kernel_worker_start(worker=self)
        self.seat.state = State.READY
        try:
            self.pool.serve(self._work)
        finally:
            self._close()
        if self._failure is not None:
            raise self._failure
        return ExitCode.RECYCLE if self._recycling else ExitCode.OK

    def step(self, queues: Sequence[str], limit: int = 1) -> int:
        """In place of `run`, for who drives a worker by hand: take in up to `limit` messages that are there now, run
        them to their end on this thread, and return how many there were.

        `close` ends it. The pool must be inline. There are no threads, so leases are not renewed and no time limit is
        kept. A port that is away raises `Unavailable`.
        """
        if self.seat.state != State.READY:
            if not self.pool.features.inline or not self._boot():
                raise ConfigError(f"the {self.settings.pool} pool cannot be driven by hand, or the worker was stopped")
            self.pool.start(self.runner.run, self.runner.arun)
            self.app.hooks.manager.hook.kernel_worker_start(worker=self)
            self.seat.state = State.READY
        return self.intake.step(queues, limit)

    def close(self) -> None:
        """End a worker that was driven by `step`."""
        self._close()

    def _boot(self) -> bool:
        """Prepare tasks and queues; False when the worker was stopped while it waited for the transport."""
        plans = [plan for name in self.app.tasks if (plan := self.admit.plan(name))]
        killable = self._supervised or self._guest or self.pool.features.ends_in_place
        self.gate.check(plans)
        check_limits(plans, self.transport.features.lease_total, killable, self.settings.pool)
        queues = self.intake.queues
        for queue in queues:
            self.app.router.check(queue, "this worker")
        outage = Outage(self.hand.service)
        while True:
            try:
                self.transport.declare([*queues, *map(dead_queue, queues)])
                outage.worked()
                self.seat.away = Away.NONE
                self.revoking.look(())  # before anything is received
                return True
            except Unavailable as error:
                wait = outage.failed(error)
                self.seat.beat_at = self._clock.monotonic()
                self.seat.away = Away.TRANSPORT
                if self._stop_signal.is_set():
                    return False
                self._pause(wait)

    def _work(self) -> None:
        """What the pool serves: take in, then let what runs come to its end."""
        self.intake.loop()
        self._drain()

    def _drain(self) -> None:
        self.seat.state = State.DRAINING
        deadline = self._clock.monotonic() + self.settings.grace
        cancelled = False
        # Not `runner.active`: a job between its early acknowledgement and its body is in neither queue nor body.
        while any(job.outcome is None for job in self.hand.jobs()):
            now = self._clock.monotonic()
            if (self._quitting or now >= deadline) and not cancelled:
                cancelled = True
                deadline = min(deadline, now) + 1.0
                self._cancel()
            elif cancelled and now >= deadline:
                return
            self._nap.wait(0.01)

    def _cancel(self) -> None:
        """Raise in everything that runs, once in each; what is reached is given back."""
        for job in list(self.runner.active):
            if not isinstance(job.interrupted, Cancelled):
                self.pool.interrupt(job, Cancelled("the worker stops"))

    def _hurry(self) -> None:
        """While an inline pool stops: its thread is busy with what runs, so the housekeeper looks at the time."""
        if not self._stop_signal.is_set():
            return
        self._stop_at = self._stop_at or self._clock.monotonic() + self.settings.grace
        if self._quitting or self._clock.monotonic() >= self._stop_at:
            self._cancel()

    def _close(self) -> None:
        self.abandoned = [job for job in self.pool.stop(0.5) if job.outcome is None]
        self.outlet.stop(LAST_STEPS)
        self.housekeeper.stop(LAST_STEPS)
        self.gate.stop(LAST_STEPS)
        left = [job for job in self.hand.jobs() if not job.acked]
        if left:
            log.warning("%d tasks did not end in time: they are given back and run again", len(left))
            self.hand.release(left)
        self.handover.close()
        for pump in self.ports.completed.pumps:
            pump.stop(LAST_STEPS)
        close_process()
        self.app.hooks.manager.hook.kernel_worker_stop(worker=self)
        if not self._guest:
            self.app.close()

    def stop(self) -> None:
        """Drain: take in nothing more, let what runs end within `grace` seconds. Safe in a signal handler."""
        self.intake.stop()
        self._stop_signal.set()
        self.housekeeper.nudge()  # it looks at the time while an inline pool stops

    def quit(self) -> None:
        """Stop now: cancel what runs and give it back. Safe in a signal handler."""
        self._quitting = True
        self.stop()  # the housekeeper alone cancels where the pool is inline: two at a time would interrupt a job twice

    def recycle(self, reason: str) -> None:
        """Drain and exit so that the supervisor starts a new process in place of this one."""
        if not self._recycling:
            self._recycling = True
            log.info("this process is replaced: %s", reason)
            self.stop()

    def handle_signals(self) -> None:
        """TERM drains, a second TERM or QUIT cancels and gives back. To be called on the main thread."""

        def drain(number: int, frame: Any) -> None:
            self.quit() if self._stop_signal.is_set() and not self._recycling else self.stop()

        signal.signal(signal.SIGTERM, drain)
        if hasattr(signal, "SIGQUIT"):
            signal.signal(signal.SIGQUIT, lambda number, frame: self.quit())
        if not self._supervised:
            signal.signal(signal.SIGINT, drain)

    def _failed(self, error: BaseException) -> None:
        log.critical("a part of the worker failed, which is a defect; the worker stops", exc_info=error)
        self._failure = self._failure or error
        self.stop()

    # -- per task and per batch ----------------------------------------------------------------------------

    def _done_inline(self, job: Job) -> None:
        """A job of solo has ended: it is settled with the batch, or when the batch takes long."""
        self.outlet.put(job)
        if job.ended_at - job.started_at > STALL:
            self.intake.stalled = True  # nobody looked while a lone one ran; the next submission has it looked at again
        if not self._flush_at:
            self._flush_at = job.ended_at + FLUSH_AFTER
        elif job.ended_at > self._flush_at:
            self.outlet.flush()

    def _settled(self, done: Sequence[Job]) -> None:
        self._flush_at = 0.0
        self.seat.settled += len(done)
        report(done)
        if self.app.hooks.settled:
            batch = [told(job) for job in done]
            for hook in self.app.hooks.settled:
                hook(batch)
        if self.settings.max_tasks and self.seat.settled >= self.settings.max_tasks:
            self.recycle(f"{self.seat.settled} tasks are max_tasks")


def _die() -> None:
    os._exit(ExitCode.HARD_LIMIT)
