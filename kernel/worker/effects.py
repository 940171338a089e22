"""What a record causes to be sent. Pure: the same record causes the same sends, however often it is asked."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from kernel import envelope as wire
from kernel.envelope import Dead, Envelope, dead_queue, encode, encode_dead
from kernel.outcome import FINAL, MOST, Again, Drop, Entry, Failed, Ok, Outcome, Replaced, encode_entry
from kernel.ports import Outgoing, Record
from kernel.sealing.transport import original
from kernel.worker.job import Job
from kernel.worker.slots import URGENT

#: What a message was through before it ran: a worker that does not know its task later starts that count anew.
_DETOURS = frozenset((wire.HOP, wire.UNKNOWN_SINCE, wire.FENCE))


def entry_of(job: Job, outcome: Outcome, now: float) -> Entry | None:
    """The record of an outcome; None for one that leaves none."""
    envelope = job.envelope
    attempt, node = envelope.attempt, job.node
    match outcome:
        case Ok(value):
            return Entry(
                "SUCCESS", job.plan.codec, value, None, now, attempt, None, "", node, children=job.children or []
            )
        case Failed(error, dead, reason):
            return Entry("FAILURE", "", b"", error, now, attempt, dead, reason, node, children=job.children or [])
        case Replaced():
            return Entry("REPLACED", "", b"", None, now, attempt, None, "", node, children=job.children or [])
        case Again(at, error, hopping):
            return None if hopping else Entry("RETRY", "", b"", error, now, attempt, None, "", node, at)
        case Drop(reason, state) if state is not None:
            return Entry(state, "", b"", None, now, attempt, None, reason, node)
    return None


def record_of(job: Job, entry: Entry) -> Record:
    """What is written of an entry: under the rank of this delivery, or, where it says by what the task was replaced,
    under one that stands against all but the result of that."""
    rank = (job.envelope.generation, MOST, MOST) if entry.state == "REPLACED" else job.rank
    return Record(job.envelope.id, encode_entry(entry, job.plan.pack), entry.state in FINAL, rank)


def sends_of(job: Job, entry: Entry, now: float) -> list[Outgoing]:
    """What the standing record of a job causes: the next attempt, or a dead letter, or nothing.

    A record of a later attempt causes nothing here: the message of that attempt answers for it.
    """
    if entry.attempt != job.envelope.attempt:
        return []
    if entry.state == "RETRY":
        return [next_attempt(job, entry)]
    if entry.state == "FAILURE" and entry.dead is not None:
        return [dead_letter(job, entry, now)]
    return []


def next_attempt(job: Job, entry: Entry) -> Outgoing:
    """The message that runs a task again: the same call, unless the retry said otherwise."""
    envelope, queue, outcome = job.envelope, job.queue, job.outcome
    if type(outcome) is Again and outcome.call is not None:
        envelope, queue = outcome.call, outcome.queue or queue
    extra = {key: value for key, value in envelope.extra.items() if key not in _DETOURS}
    extra[wire.ETA] = entry.retry_at
    if wire.LIMITS in extra:
        extra[wire.LIMITS] = [limit[:4] for limit in extra[wire.LIMITS]]  # each start is paid for
    again = envelope.but(attempt=entry.attempt + 1, extra=extra)
    return outgoing(queue, again, entry.retry_at)


def hop(job: Job, again: Again) -> Outgoing:
    """The same message once more: it was too early, nobody here knows the task, or it wants to run later."""
    envelope = job.envelope
    extra = dict(envelope.extra)
    extra[wire.HOP] = extra.get(wire.HOP, 0) + 1
    if again.since:
        extra[wire.UNKNOWN_SINCE] = again.since
    if again.snoozed:
        extra[wire.ETA] = again.at  # also for a transport that delays less
    fence = job.rank[2]
    if fence:  # the new message begins at 0 redeliveries, and must not be outranked by what an earlier one recorded
        extra[wire.FENCE] = fence
    return outgoing(job.queue, envelope.but(extra=extra), again.at)


def paid(job: Job, limits: list[list[Any]], at: float) -> Outgoing:
    """The same message once more at the time `at`, for which the tokens of its rates are taken: urgent by then."""
    settled = [[*limit[:4], at] if len(limit) > 2 else limit for limit in limits]
    again = job.envelope.but(extra={**job.envelope.extra, wire.LIMITS: settled, wire.ETA: at})
    return replace(hop(replace(job, envelope=again), Again(at, hop=True)), priority=URGENT)


def handed_on(job: Job, at: float) -> Outgoing:
    """The message of a running job anew, not before `at`, with a fence that outranks this execution.

    The time is in the envelope too, for a transport that delays less. It does not expire any more: it was started in
    time.
    """
    envelope = job.envelope
    extra = {key: value for key, value in envelope.extra.items() if key != wire.EXPIRES_AT}
    extra[wire.HOP] = extra.get(wire.HOP, 0) + 1
    extra[wire.ETA] = at
    extra[wire.FENCE] = job.rank[2] + 1
    return outgoing(job.queue, envelope.but(extra=extra), at)


def dead_letter(job: Job, entry: Entry, now: float) -> Outgoing:
    """The dead letter of a job."""
    error = entry.error
    return dead_outgoing(
        job.queue,
        Dead(
            payload=original(job.delivery),
            queue=job.queue,
            kind=entry.dead or "failed",
            reason=entry.reason,
            error="" if error is None else (error.traceback or f"{error.type}: {error.message}"),
            deliveries=max(0, job.redelivered) + 1,
            first_at=job.envelope.sent_at or now,
            last_at=now,
            priority=job.envelope.extra.get(wire.PRIORITY, 0),
        ),
    )


def bare_letter(job: Job) -> Outgoing:
    """The message of a job as it came, on its way to the dead letters."""
    return Outgoing(dead_queue(job.queue), original(job.delivery))


def dead_outgoing(queue: str, dead: Dead) -> Outgoing:
    """A dead letter on its way to the dead letters of `queue`."""
    return Outgoing(dead_queue(queue), encode_dead(dead))


def outgoing(queue: str, envelope: Envelope, not_before: float) -> Outgoing:
    """An envelope on its way to a queue, with what a broker may honour natively."""
    extra = envelope.extra
    return Outgoing(
        queue,
        encode(envelope),
        extra.get(wire.PRIORITY, 0),
        not_before,
        extra.get(wire.EXPIRES_AT, 0.0),
    )
