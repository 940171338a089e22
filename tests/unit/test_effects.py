"""What a record causes: the next attempt, a dead letter, a hop, or nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel import envelope as wire
from kernel.configuration.settings import Tasks
from kernel.envelope import Envelope, decode, decode_dead, encode
from kernel.outcome import Again, Drop, Entry, Error, Failed, GiveBack, Ok, Outcome, State
from kernel.ports import Delivery
from kernel.serializers.json_ import JsonSerializer
from kernel.worker.effects import entry_of, handed_on, hop, next_attempt, sends_of
from kernel.worker.job import Job
from kernel.worker.plan import Plan

PLAN = Plan("t", None, Tasks(), JsonSerializer())
BOOM = Error("ValueError", "boom", "trace")
NOW = 1_000_000_000.0
STATES: list[State] = ["PENDING", "STARTED", "RETRY", "SUCCESS", "FAILURE", "REVOKED", "EXPIRED"]


def job(attempt: int = 0, generation: int = 0, redelivered: int = 0, **fields: Any) -> Job:
    extra = {getattr(wire, name.upper()): value for name, value in fields.items()}
    envelope = Envelope("i", "t", b"[[1],{}]", "json", attempt, generation, 5.0, extra)
    return Job(Delivery(encode(envelope), "q", None, redelivered), envelope, PLAN, 0.0, "node", bytes)


@pytest.mark.parametrize(
    ("outcome", "entry"),
    [
        (Ok(b"1"), Entry("SUCCESS", "json", b"1", None, NOW, 2, node="node")),
        (Failed(BOOM), Entry("FAILURE", error=BOOM, at=NOW, attempt=2, node="node")),
        (
            Failed(BOOM, "failed", "why", True),
            Entry("FAILURE", error=BOOM, at=NOW, attempt=2, dead="failed", reason="why", node="node"),
        ),
        (Again(7.0, BOOM), Entry("RETRY", error=BOOM, at=NOW, attempt=2, node="node", retry_at=7.0)),
        (Again(7.0, hop=True), None),
        (Drop("why"), None),
        (Drop("why", "EXPIRED"), Entry("EXPIRED", at=NOW, attempt=2, reason="why", node="node")),
        (GiveBack(), None),
    ],
)
def test_the_record_of_each_outcome(outcome: Outcome, entry: Entry | None) -> None:
    assert entry_of(job(attempt=2), outcome, NOW) == entry


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("dead", [None, "failed", "unprocessable"])
@pytest.mark.parametrize("attempt", [0, 1, 2])
def test_only_a_retry_and_a_dead_failure_of_this_attempt_cause_a_message(state: State, dead: Any, attempt: int) -> None:
    sends = sends_of(job(attempt=1), Entry(state, attempt=attempt, dead=dead, retry_at=7.0), NOW)
    expected = []
    if attempt == 1 and state == "RETRY":
        expected = ["q"]
    elif attempt == 1 and state == "FAILURE" and dead:
        expected = ["q.dead"]
    assert [out.queue for out in sends] == expected


@given(st.integers(0, 100), st.sampled_from(STATES), st.sampled_from([None, "failed"]), st.integers(0, 100))
def test_the_same_record_causes_the_same_sends_however_often_it_is_asked(
    own: int, state: State, dead: Any, standing: int
) -> None:
    this, entry = job(attempt=own, priority=3), Entry(state, attempt=standing, dead=dead, retry_at=9.0)
    assert sends_of(this, entry, NOW) == sends_of(this, entry, NOW)


def test_the_next_attempt_is_the_same_call_one_attempt_later() -> None:
    this = job(attempt=1, generation=4, priority=7, expires_at=99.0, headers={"a": 1}, home="home", root="r")
    out = next_attempt(this, Entry("RETRY", attempt=1, retry_at=50.0))
    again = decode(out.payload)
    assert (out.queue, out.priority, out.not_before, out.expires_at) == ("home", 7, 50.0, 99.0)
    assert again == this.envelope.but(attempt=2, extra={**this.envelope.extra, wire.ETA: 50.0})


def test_the_next_attempt_forgets_the_detours_and_keeps_what_it_does_not_know() -> None:
    this = job(hop=5, unknown_since=3.0)
    this.envelope.extra[20_000] = "of a later release"
    assert decode(next_attempt(this, Entry("RETRY", retry_at=50.0)).payload).extra == {
        20_000: "of a later release",
        wire.ETA: 50.0,
    }
    assert this.envelope.extra[wire.HOP] == 5, "the envelope that came is left as it was"


def test_a_hop_is_no_attempt() -> None:
    this = job(attempt=1, hop=2, eta=80.0, priority=2)
    out = hop(this, Again(80.0, hop=True))
    on = decode(out.payload)
    assert (on.attempt, on.extra) == (1, {wire.HOP: 3, wire.ETA: 80.0, wire.PRIORITY: 2})
    assert (out.not_before, out.priority) == (80.0, 2)
    assert decode(hop(job(), Again(4.0, hop=True, since=3.5)).payload).extra == {wire.HOP: 1, wire.UNKNOWN_SINCE: 3.5}


@pytest.mark.parametrize(("redelivered", "before", "fence"), [(-1, 0, 0), (0, 0, 0), (2, 0, 2), (0, 3, 3), (2, 3, 5)])
def test_a_hop_is_not_outranked_by_what_its_message_recorded(redelivered: int, before: int, fence: int) -> None:
    """The new message begins at no redelivery, and its outcome must count all the same."""
    this = job(redelivered=redelivered, **({"fence": before} if before else {}))
    assert this.rank == (0, 0, fence)
    on = decode(hop(this, Again(0.0, hop=True)).payload)
    assert on.extra.get(wire.FENCE, 0) == fence
    assert wire.FENCE not in decode(next_attempt(this, Entry("RETRY")).payload).extra, "a higher attempt outranks it"


def test_what_is_handed_on_outranks_its_execution_and_does_not_expire() -> None:
    this = job(redelivered=2, fence=1, expires_at=70.0, priority=3, home="home")
    out = handed_on(this, 80.0)
    on = decode(out.payload)
    assert on.extra == {wire.FENCE: 4, wire.HOP: 1, wire.ETA: 80.0, wire.PRIORITY: 3, wire.HOME: "home"}
    assert (out.queue, out.not_before, out.expires_at, out.priority) == ("home", 80.0, 0.0, 3)
    assert (on.id, on.attempt, on.generation) == (this.envelope.id, 0, 0)


@pytest.mark.parametrize(("redelivered", "deliveries"), [(-1, 1), (0, 1), (1, 2), (6, 7)])
def test_a_dead_letter_holds_the_original_bytes_and_all_that_is_known(redelivered: int, deliveries: int) -> None:
    this = job(attempt=3, redelivered=redelivered, priority=7, home="home")
    entry = Entry("FAILURE", attempt=3, error=BOOM, dead="failed", reason="no retry left")
    (out,) = sends_of(this, entry, NOW)
    letter = decode_dead(out.payload)
    assert letter is not None
    assert (out.queue, out.not_before, out.expires_at) == ("home.dead", 0.0, 0.0), "a dead letter never expires"
    assert (letter.payload, letter.queue, letter.kind) == (this.delivery.payload, "home", "failed")
    assert (letter.reason, letter.error, letter.deliveries) == ("no retry left", "trace", deliveries)
    assert (letter.first_at, letter.last_at, letter.priority) == (5.0, NOW, 7)


@pytest.mark.parametrize(
    ("error", "text"), [(None, ""), (Error("ValueError", "boom"), "ValueError: boom"), (BOOM, "trace")]
)
def test_the_error_of_a_dead_letter(error: Error | None, text: str) -> None:
    (out,) = sends_of(job(), Entry("FAILURE", error=error, dead="unprocessable"), NOW)
    letter = decode_dead(out.payload)
    assert letter is not None
    assert letter.error == text
    assert letter.kind == "unprocessable"


def test_what_was_never_sent_died_when_it_was_found() -> None:
    this = job()
    this.envelope = this.envelope.but(sent_at=0.0)
    (out,) = sends_of(this, Entry("FAILURE", dead="unprocessable"), NOW)
    letter = decode_dead(out.payload)
    assert letter is not None
    assert letter.first_at == NOW


def test_a_snooze_is_the_same_attempt_at_another_time() -> None:
    this = job(attempt=2, hop=1, expires_at=99.0)
    out = hop(this, Again(50.0, hop=True, snoozed=True))
    again = decode(out.payload)
    assert (again.attempt, out.not_before) == (2, 50.0)
    assert again.extra == {wire.HOP: 2, wire.EXPIRES_AT: 99.0, wire.ETA: 50.0}
