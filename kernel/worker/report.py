"""What is said about settled jobs: to the log, and to plugins."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from kernel.envelope import SHADOW
from kernel.hooks import Settled
from kernel.logs import Row, log_finished, wants_finished
from kernel.outcome import Again, Drop, Failed, Ok
from kernel.worker.job import Job

log = logging.getLogger("kernel.worker")


def report(done: Sequence[Job]) -> None:
    """One INFO line for each task that ended, and one ERROR with the traceback for each that failed unexpectedly."""
    if wants_finished():
        log_finished([_row(job) for job in done if job.ended_at or _has_state(job)])
    for job in done:
        if type(job.outcome) is Failed and not job.outcome.expected and job.standing is None:
            _log_failure(job, job.outcome)


def told(job: Job) -> Settled:
    """What plugins hear about a job."""
    state, error = _state(job)
    return Settled(job.envelope, job.delivery.queue, state, _runtime(job), error)


def _log_failure(job: Job, outcome: Failed) -> None:
    error, envelope = outcome.error, job.envelope
    if not envelope.task:
        log.error("a message of queue %s is no task and goes to the dead letters: %s", job.queue, outcome.reason)
        return
    log.error(
        "task %s[%s] failed: %s",
        envelope.task,
        envelope.id,
        error.traceback.rstrip() or f"{error.type}: {error.message}",
        extra={"task_id": envelope.id, "task_name": envelope.task},
    )


def _has_state(job: Job) -> bool:
    outcome = job.outcome
    return type(outcome) is Failed or (type(outcome) is Drop and outcome.state is not None)


def _state(job: Job) -> tuple[str, str]:
    """State and error text of a settled job."""
    if job.standing is not None:
        return job.standing.state, ""
    match job.outcome:
        case Ok():
            return "SUCCESS", ""
        case Failed(error):
            return "FAILURE", f"{error.type}: {error.message}"
        case Again(snoozed=True):
            return "SNOOZED", ""
        case Again(_, error):
            return "RETRY", "" if error is None else f"{error.type}: {error.message}"
        case Drop(reason, state) if state is not None:
            return state, reason
    return "DROPPED", ""


def _runtime(job: Job) -> float:
    return job.ended_at - job.started_at if job.ended_at else 0.0


def _row(job: Job) -> Row:
    state, error = _state(job)
    envelope = job.envelope
    name = envelope.extra.get(SHADOW, envelope.task) if envelope.extra else envelope.task
    return envelope.id, name, state, _runtime(job), error
