"""Judging deliveries: what may run, what ends here, what is sent on; and no bytes whatsoever raise."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel import envelope as wire
from kernel.clock import FakeClock
from kernel.configuration.settings import Tasks
from kernel.envelope import Carrier, Envelope, decode_carrier, encode, encode_carrier
from kernel.errors import Unsupported
from kernel.options import TaskOptions
from kernel.outcome import Again, Drop, Entry, Failed
from kernel.ports import Delivery
from kernel.task import Task
from kernel.worker.admit import FIRST_HOP, LAST_HOP, Admission, Admit, check_limits
from kernel.worker.effects import entry_of, hop, sends_of
from kernel.worker.job import Job
from kernel.worker.plan import Plan

NOW = 1_000_000_000.0
UNKNOWN_FOR = 600.0
NEWER = b"\x02" + b"of a later release"


class Bench:
    def __init__(self, options: TaskOptions | None = None, store: bool = True, **defaults: Any) -> None:
        self.clock = FakeClock(NOW)
        self.tasks: dict[str, Task[..., Any, Any]] = {"t": Task(lambda: None, "t", options or {}, False, None)}
        self.built: list[str] = []
        self.admit = Admit(
            lambda: self.tasks,
            Tasks(**defaults),
            UNKNOWN_FOR,
            self.clock,
            "node",
            lambda plan: self.built.append(plan.name),
            store,
        )

    def judge(self, *payloads: bytes, redelivered: int = 0, queue: str = "q") -> Admission:
        deliveries = [Delivery(payload, queue, index, redelivered) for index, payload in enumerate(payloads)]
        return self.admit.admit(deliveries, 77.0)

    def ended(self, payload: bytes, redelivered: int = 0) -> Job:
        """The one job of which the outcome is known without running it."""
        admission = self.judge(payload, redelivered=redelivered)
        assert (admission.ready, admission.suspects) == ([], [])
        (job,) = admission.ended
        return job

    def ready(self, payload: bytes) -> Job:
        (job,) = self.judge(payload).ready
        return job


def call(task: str = "t", codec: str = "json", **fields: Any) -> bytes:
    extra = {getattr(wire, name.upper()): value for name, value in fields.items()}
    return encode(Envelope("i", task, b"[[],{}]", codec, sent_at=5.0, extra=extra))


def dead_of(job: Job) -> str:
    assert isinstance(job.outcome, Failed)
    assert job.outcome.dead == "unprocessable"
    return job.outcome.reason


# -- what runs ---------------------------------------------------------------------------------------------


def test_a_plain_message_is_ready() -> None:
    bench = Bench()
    job = bench.ready(call())
    assert (job.envelope.id, job.node, job.held_until, job.store, job.early) == ("i", "node", 77.0, True, False)
    bench.judge(call(), call())
    assert bench.built == ["t"], "one plan per task"


@pytest.mark.parametrize("redelivered", [1, 5, -1])
def test_what_was_or_may_have_been_delivered_before_is_a_suspect(redelivered: int) -> None:
    for payload in (call(), call(priority=3)):
        admission = Bench().judge(payload, redelivered=redelivered)
        assert (admission.ready, admission.ended, len(admission.suspects)) == ([], [], 1)


@pytest.mark.parametrize(
    ("field", "value", "attribute", "expected"),
    [
        ("soft_limit", 3, "soft_limit", 3),
        ("hard_limit", 4, "hard_limit", 4),
        ("result", 0, "store", False),
        ("result", 1, "store", True),
        ("result", 2, "store", False),
        ("result_ttl", 9, "ttl", 9),
        ("ack_early", True, "early", True),
        ("ack_early", False, "early", False),
    ],
)
def test_a_field_of_the_message_overrules_the_task(field: str, value: Any, attribute: str, expected: Any) -> None:
    own: TaskOptions = {
        "soft_time_limit": 1,
        "time_limit": 2,
        "ignore_result": attribute == "store" and bool(expected),
        "result_expires": 5,
        "acks_late": bool(expected),
    }
    assert getattr(Bench(own).ready(call(**{field: value})), attribute) == expected
    assert getattr(Bench(own).ready(call()), attribute) != expected


def test_without_a_store_nothing_is_kept_whatever_the_message_says() -> None:
    assert not Bench(store=False).ready(call(result=1)).store


# -- what ends here ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("expires_at", "runs"), [(NOW - 1, False), (NOW, False), (NOW + 1, True), (0.0, True)])
@pytest.mark.parametrize("redelivered", [0, 1])
def test_an_expired_message_is_not_started(expires_at: float, runs: bool, redelivered: int) -> None:
    bench = Bench()
    if runs:
        assert bench.judge(call(expires_at=expires_at), redelivered=redelivered).ended == []
        return
    job = bench.ended(call(expires_at=expires_at), redelivered)
    assert isinstance(job.outcome, Drop)
    assert job.outcome.state == "EXPIRED"
    assert job.store


def test_an_early_message_is_sent_on_until_its_time() -> None:
    bench = Bench()
    job = bench.ended(call(eta=NOW + 5))
    assert job.outcome == Again(NOW + 5, hop=True)
    bench.clock.advance(5.0)
    assert bench.ready(call(eta=NOW + 5))


def test_what_expires_before_its_time_is_expired() -> None:
    job = Bench().ended(call(eta=NOW + 5, expires_at=NOW - 1))
    assert isinstance(job.outcome, Drop)


def test_what_is_larger_than_allowed_is_not_even_decoded() -> None:
    payload = call()
    bench = Bench(max_payload=len(payload))
    assert bench.ready(payload)
    assert "more than max_payload" in dead_of(bench.ended(payload + b"x"))


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "empty frame"),
        (b"\x00", "first byte 0x00"),
        (b"{}", "not a frame"),
        (b"\x01\xc1", "damaged frame"),
        (encode(Envelope("i", "t", b"", "json", extra={wire.PRIORITY: 12})), "optional field 3"),
        (b"\xc0\xc1", "damaged carrier"),
        (encode_carrier(Carrier(NOW, 0, b"junk")), "inside of a carrier: not a frame"),
    ],
)
def test_what_is_no_message_goes_to_the_dead_letters_verbatim(payload: bytes, reason: str) -> None:
    job = Bench().ended(payload)
    assert reason in dead_of(job)
    assert (job.delivery.payload, job.delivery.receipt, job.store) == (payload, 0, False)


@pytest.mark.parametrize("codec", ["pickle", "unheard-of", ""])
def test_a_codec_that_is_not_accepted_is_never_decoded(codec: str) -> None:
    job = Bench().ended(call(codec=codec))
    assert "is not accepted here" in dead_of(job)
    assert job.store, "its caller waits for an answer"
    if codec == "pickle":
        assert Bench(accept=("json", "pickle")).ready(call(codec=codec))


# -- what nobody here knows --------------------------------------------------------------------------------


def test_an_unknown_task_is_sent_on_for_a_while_and_then_dead() -> None:
    bench = Bench()
    payload, started, hops = call("other"), NOW, 0
    while True:
        job = bench.ended(payload)
        if isinstance(job.outcome, Failed):
            break
        assert isinstance(job.outcome, Again)
        wait = job.outcome.at - bench.clock.now()
        assert wait == min(LAST_HOP, FIRST_HOP * 2**hops)
        assert (job.outcome.hop, job.outcome.since) == (True, started)
        payload = hop(job, job.outcome).payload
        bench.clock.advance(wait)
        hops += 1
    assert "no worker knew the task 'other' for 600 s" in dead_of(job)
    assert UNKNOWN_FOR <= bench.clock.now() - started < UNKNOWN_FOR + LAST_HOP
    assert job.envelope.id == "i"


def test_a_task_that_is_declared_later_is_found() -> None:
    bench = Bench()
    assert isinstance(bench.ended(call("late")).outcome, Again)
    bench.tasks["late"] = Task(lambda: None, "late", {}, False, None)
    assert bench.ready(call("late"))


def test_a_newer_version_travels_in_a_carrier_until_somebody_can_read_it() -> None:
    bench = Bench()
    first = bench.ended(NEWER).onward
    assert first is not None
    assert (first.queue, first.not_before) == ("q", NOW + FIRST_HOP)
    assert decode_carrier(first.payload) == Carrier(NOW, 1, NEWER)
    bench.clock.advance(100.0)
    second = bench.ended(first.payload).onward
    assert second is not None
    assert decode_carrier(second.payload) == Carrier(NOW, 2, NEWER)
    readable = bench.ended(encode_carrier(Carrier(NOW, 2, call()))).onward
    assert readable is not None
    assert (readable.payload, readable.queue, readable.not_before) == (call(), "q", 0.0)


def test_a_newer_version_that_nobody_reads_is_dead_without_its_carrier() -> None:
    bench = Bench()
    job = bench.ended(encode_carrier(Carrier(NOW - UNKNOWN_FOR, 30, NEWER)))
    assert "newer version that no worker could read" in dead_of(job)
    assert job.delivery.payload == NEWER
    assert job.delivery.receipt == 0, "and it settles the delivery that came"


# -- total -------------------------------------------------------------------------------------------------

_FIELDS = st.dictionaries(
    st.integers(0, 40), st.none() | st.booleans() | st.integers(-5, 2**40) | st.floats(allow_nan=False) | st.text()
)
_FRAMES = st.builds(
    Envelope, st.text(), st.sampled_from(["t", "u", ""]), st.binary(), st.sampled_from(["json", "pickle", "x"]),
    st.integers(-1, 2**33), st.integers(-1, 2**33), st.floats(), _FIELDS,
).map(encode)  # fmt: skip
_CARRIERS = st.builds(Carrier, st.floats(0, 2 * NOW), st.integers(0, 2**31), st.binary() | _FRAMES).map(encode_carrier)
_CUT = _FRAMES.flatmap(lambda data: st.integers(0, len(data)).map(lambda length: data[:length]))


@given(st.lists(st.binary() | _FRAMES | _CARRIERS | _CUT | st.just(NEWER), max_size=8), st.integers(-1, 3))
def test_whatever_comes_each_delivery_is_one_job(payloads: list[bytes], redelivered: int) -> None:
    admission = Bench().judge(*payloads, redelivered=redelivered)
    jobs = admission.ready + admission.suspects + admission.ended
    assert sorted(job.delivery.receipt for job in jobs) == list(range(len(payloads)))
    assert all(job.outcome is None for job in admission.ready + admission.suspects)
    for job in admission.ended:
        outcome = job.outcome
        assert job.onward or outcome is not None
        if isinstance(outcome, Again):
            assert hop(job, outcome).payload
        elif isinstance(outcome, Failed):
            assert outcome.dead == "unprocessable"
            from_effects = sends_of(job, _entry(job), NOW)
            assert [out.queue for out in from_effects] == [f"{job.queue}.dead"]


def _entry(job: Job) -> Entry:

    assert job.outcome is not None
    entry = entry_of(job, job.outcome, NOW)
    assert entry is not None
    return entry


# -- at boot -----------------------------------------------------------------------------------------------


def _plan(hard_limit: float) -> Plan:
    plan = Bench({"time_limit": hard_limit}).admit.plan("t")
    assert plan is not None
    return plan


def test_a_limit_that_cannot_be_kept_is_refused_at_boot() -> None:
    check_limits([_plan(0), _plan(10)], 10.0, True, "solo")
    check_limits([_plan(0)], 10.0, False, "threads")
    with pytest.raises(Unsupported, match=r"task t has a hard limit of 11 s, .* 10 s at most"):
        check_limits([_plan(0), _plan(11)], 10.0, True, "solo")
    with pytest.raises(Unsupported, match="threads pool"):
        check_limits([_plan(1)], 10.0, False, "threads")
