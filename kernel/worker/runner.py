"""Runs the body of one job and says what it came to."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from kernel import envelope as wire
from kernel.call import RESULT_ERRORS
from kernel.clock import Clock
from kernel.current import running
from kernel.envelope import DeadKind, Envelope
from kernel.errors import (
    DecodeError,
    EncodeError,
    HardTimeLimitExceeded,
    Ignore,
    MaxRetriesExceeded,
    Reject,
    Replace,
    Retry,
    Snooze,
    WorkerLost,
)
from kernel.outcome import Again, Drop, Error, Failed, GiveBack, Ok, Outcome, Replaced, describe, printable
from kernel.policy import RetryPolicy, allowed_retries
from kernel.pools.steer import Steered
from kernel.worker.job import Job
from kernel.worker.revoking import Terminated

#: What a hook may say about a retry: another time, or None.
RetryHook = Callable[[Any, Any, BaseException, float], "float | None"]


class Cancelled(BaseException):
    """Raised inside of running tasks by a worker that must stop now; not an error of the task."""


class Runner:
    """`run` and `arun` are the hot path: no lock, no logging, two clock reads, no closure."""

    def __init__(
        self,
        clock: Clock,
        done: Callable[[Job], None],
        still_held: Callable[[Job], bool],
        ack_early: Callable[[Job], bool],
        mark_started: Callable[[Job], bool],
        retry_hook: RetryHook | None = None,
    ) -> None:
        """`done` takes every job that ended; `still_held` (asked when the lease may have run out), `ack_early` and
        `mark_started` say whether a job may start."""
        self._monotonic = clock.monotonic
        self._now = clock.now
        self._done = done
        self._still_held = still_held
        self._ack_early = ack_early
        self._mark_started = mark_started
        self._retry_hook = retry_hook
        self._chance = Random().random
        #: Told of a job with a hard limit just before it starts; the worker wires it.
        self.limited: Callable[[Job], None] = lambda job: None
        #: Jobs whose body runs now.
        self.active: set[Job] = set()

    def run(self, job: Job) -> None:
        """Run a job to its end. Never raises, except an interrupt that comes after the end of the body."""
        plan = job.plan
        job.started_at = self._monotonic()
        expired = job.lost or job.started_at > job.held_until
        if (expired or job.early or job.hard_limit or plan.track_started) and not self._may_start(job, expired):
            return
        running.set(job)
        self.active.add(job)  # after its start is set: to the housekeeper a running job without one is an overrun one
        try:
            try:
                args, kwargs = job.loads(job.envelope.body)
                if type(args) is not list or type(kwargs) is not dict:
                    raise DecodeError("the body is not [args, kwargs]")
                job.began = job.interruptible = True
                value = plan.call(*args, **kwargs)
                job.interruptible = False
                job.returned = True
                job.outcome = Ok(plan.dumps(value) if job.store else b"")
                if plan.rites is not None:
                    plan.rites.told(job, job.outcome, value, None)
            except BaseException as error:
                job.interruptible = False
                job.outcome = self.judge(job, error)
                if plan.rites is not None and job.began:
                    plan.rites.told(job, job.outcome, None, error)
        except BaseException as late:  # an interrupt between the end of the body and its judgement
            job.outcome = self.judge(job, late)
        job.ended_at = self._monotonic()
        self.active.discard(job)
        running.set(None)
        self._done(job)

    async def arun(self, job: Job) -> None:
        """The same for a coroutine function, on the pool's own loop.

        Written out a second time, because what the two share is most of the work per task: as functions of their own,
        beginning and end would cost two more calls for each.
        """
        plan = job.plan
        job.started_at = self._monotonic()
        expired = job.lost or job.started_at > job.held_until
        if (expired or job.early or job.hard_limit or plan.track_started) and not self._may_start(job, expired):
            return
        running.set(job)
        self.active.add(job)  # after its start is set: to the housekeeper a running job without one is an overrun one
        try:
            args, kwargs = job.loads(job.envelope.body)
            if type(args) is not list or type(kwargs) is not dict:
                raise DecodeError("the body is not [args, kwargs]")
            job.began = job.interruptible = True
            value = await Steered(plan.call(*args, **kwargs), job)
            job.interruptible = False
            job.returned = True
            job.outcome = Ok(plan.dumps(value) if job.store else b"")
            if plan.rites is not None:
                await plan.rites.atold(job, job.outcome, value, None)
        except BaseException as error:
            job.interruptible = False
            job.outcome = self.judge(job, error)
            if plan.rites is not None and job.began:
                await plan.rites.atold(job, job.outcome, None, error)
        job.ended_at = self._monotonic()
        self.active.discard(job)
        running.set(None)
        self._done(job)

    def _may_start(self, job: Job, expired: bool) -> bool:
        if expired and not self._still_held(job):
            job.outcome = GiveBack()  # this process slept, and somebody else has the message or soon will
        elif job.early and not self._ack_early(job):
            # Not acknowledged and dropped, it would be acknowledged by the outlet without having run.
            job.outcome = Drop("its lease was lost before it started") if job.acked else GiveBack()
        elif job.plan.track_started and not self._mark_started(job):
            pass  # another record stands: the outlet goes by that
        else:
            if job.hard_limit:
                self.limited(job)
            return True
        job.started_at = 0.0
        self._done(job)
        return False

    # -- what an exception means ---------------------------------------------------------------------------

    def judge(self, job: Job, error: BaseException) -> Outcome:
        """The outcome of a job whose run raised. Never raises."""
        try:
            outcome = self._judge(job, error)
        except BaseException as second:
            outcome = Failed(describe(second))
        if type(outcome) is Failed and (job.plan.store_errors or job.envelope.extra.get(wire.RESULT) == RESULT_ERRORS):
            job.store = True
        return outcome

    def _judge(self, job: Job, error: BaseException) -> Outcome:
        if not job.began:
            return Failed(describe(error), "unprocessable", printable(f"the arguments cannot be decoded: {error}"))
        if job.returned and not (job.interrupted and isinstance(error, type(job.interrupted))):
            return Failed(_unserialisable(job, error))
        if isinstance(error, Terminated):
            return Drop("revoked while it ran", "REVOKED")
        if isinstance(error, Cancelled):
            lost = Failed(describe(WorkerLost("the worker stopped while the task ran, acknowledged early")))
            return lost if job.early else GiveBack()
        if isinstance(error, Retry):
            return self._retry(job, error.cause, error)
        if isinstance(error, Snooze):
            return Again(_later(job, self._now() + error.countdown), hop=True, snoozed=True)
        if isinstance(error, Reject):
            return self._rejected(job, error)
        if isinstance(error, Ignore):
            return (
                Failed(describe(error), None, "ignored by the task", True) if job.flow else Drop("ignored by the task")
            )
        if isinstance(error, Replace):
            job.flow = True
            return Replaced(error.flow)
        if isinstance(error, HardTimeLimitExceeded):
            return self.overrun(job)
        if job.plan.retry.automatic(error):
            return self._retry(job, error, None)
        dead: DeadKind | None = "failed" if job.plan.dead_letter else None
        return Failed(_own(error), dead, "the task failed", isinstance(error, job.plan.throws))

    def _rejected(self, job: Job, error: Reject) -> Outcome:
        if not error.requeue:
            return Failed(_own(error), "failed", printable(error.reason))
        return Again(self._now(), hop=True) if job.early else GiveBack()  # what is acknowledged can only be sent again

    def overrun(self, job: Job) -> Failed:
        """The outcome of a job that ran beyond its hard limit."""
        error = HardTimeLimitExceeded(f"{job.envelope.task} ran longer than its hard limit of {job.hard_limit:g} s")
        return Failed(describe(error), "failed" if job.plan.dead_overrun else None, "hard time limit")

    def _retry(self, job: Job, cause: BaseException | None, asked: Retry | None) -> Outcome:
        envelope = job.envelope
        policy = job.plan.retry
        allowed = allowed_retries(policy, envelope, asked)
        if allowed is not None and envelope.attempt >= allowed:
            dead = job.plan.dead_letter if job.plan.dead_letter is not None else allowed > 0
            error = cause or MaxRetriesExceeded(f"{envelope.task} asked for a retry and none of {allowed} is left")
            return Failed(_own(error), "failed" if dead else None, f"no retry left after {envelope.attempt}")
        now = self._now()
        at = _retry_at(policy, asked, envelope.attempt, now, self._chance)
        if self._retry_hook is not None:
            at = self._retry_hook(job.plan.task, envelope, cause or Retry(), at) or at
        again = Again(_later(job, at), None if cause is None else _own(cause))
        if asked is not None and isinstance(asked.call, Envelope):
            again.call, again.queue = asked.call, asked.queue
        return again


def _later(job: Job, at: float) -> float:
    if not at <= wire.LATEST:
        raise ValueError(f"{job.envelope.task} asked for a run at {at!r}, which is no time")
    return max(0.0, at)


def _retry_at(policy: RetryPolicy, asked: Retry | None, attempt: int, now: float, chance: Callable[[], float]) -> float:
    if asked is not None and asked.eta is not None:
        return asked.eta
    if asked is not None and asked.countdown is not None:
        return now + asked.countdown
    return now + policy.wait_for(attempt, chance)


def _own(error: BaseException) -> Error:
    """An error of the task, without the frames of the runner above it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith(_ABOVE):
        trace = trace.tb_next
    if trace is not None:
        error.__traceback__ = trace
    return describe(error)


_ABOVE = ("kernel.worker.", "kernel.body.", "kernel.task", "kernel.pools.", "asyncio.")


def _unserialisable(job: Job, error: BaseException) -> Error:
    named = EncodeError(f"the result of {job.envelope.task} cannot be serialised with {job.plan.codec}: {error}")
    return describe(named)
