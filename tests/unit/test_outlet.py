"""Settling: results, then sends, then acks; and what is held, released, dead-lettered or acked when a port fails."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernel_memory import MemoryResults
from kernel_memory.options import Limits

from kernel.clock import FakeClock
from kernel.configuration.settings import Tasks
from kernel.envelope import Dead, Envelope, decode, decode_dead, encode
from kernel.errors import PartialPut, PartialSend, Rejected, Unavailable
from kernel.outcome import Again, Drop, Entry, Error, Failed, GiveBack, Ok, Outcome, decode_entry, encode_entry
from kernel.ports import Delivery, Features, Outgoing, Record, StoreFeatures
from kernel.serializers.json_ import JsonSerializer
from kernel.worker.hand import Hand
from kernel.worker.job import Job
from kernel.worker.outlet import MARGIN, Outlet
from kernel.worker.plan import SETTLING, Plan
from kernel.worker.runner import Runner

Calls = list[tuple[str, list[str]]]
PLAN = Plan("t", None, Tasks(), JsonSerializer())


class Wire:
    """A transport that writes down its calls and fails on demand: `fail[method]` holds what its next calls raise."""

    def __init__(self, calls: Calls, commit: bool = False, max_batch: int = 100) -> None:
        self.features = Features(lease=60.0, survives="process", commit=commit, max_batch=max_batch)
        self.calls = calls
        self.fail: dict[str, list[Exception | None]] = {}
        self.gone: set[str] = set()
        self.sent: list[Outgoing] = []
        self.acked: list[str] = []

    def _call(self, method: str, names: list[str]) -> None:
        self.calls.append((method, names))
        assert len(names) <= self.features.max_batch
        planned = self.fail.get(method)
        error = planned.pop(0) if planned else None
        if error is not None:
            raise error

    def _lost(self, batch: Sequence[Delivery]) -> list[Delivery]:
        return [delivery for delivery in batch if delivery.receipt in self.gone]

    def open(self) -> None: ...

    def close(self) -> None: ...

    def declare(self, queues: Sequence[str]) -> None: ...

    def receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        return []

    def send(self, batch: Sequence[Outgoing]) -> None:
        try:
            self._call("send", [_id_of(out) for out in batch])
        except PartialSend as partial:
            errors = {index: error for index, error in partial.errors.items() if index < len(batch)}
            self.sent += [out for index, out in enumerate(batch) if index not in errors]
            if errors:
                raise PartialSend(errors) from None
        else:
            self.sent += batch

    def ack(self, batch: Sequence[Delivery]) -> list[Delivery]:
        self._call("ack", [delivery.receipt for delivery in batch])
        lost = self._lost(batch)
        self.acked += [delivery.receipt for delivery in batch if delivery not in lost]
        return lost

    def release(self, batch: Sequence[Delivery]) -> list[Delivery]:
        self._call("release", [delivery.receipt for delivery in batch])
        return self._lost(batch)

    def extend(self, batch: Sequence[Delivery], lease: float) -> list[Delivery]:
        self._call("extend", [delivery.receipt for delivery in batch])
        return self._lost(batch)

    def commit(self, batch: Sequence[tuple[Delivery, Sequence[Outgoing]]]) -> list[Delivery]:
        self._call("commit", [delivery.receipt for delivery, _ in batch])
        lost = self._lost([delivery for delivery, _ in batch])
        for delivery, sends in batch:
            if delivery not in lost:
                self.sent += sends
                self.acked.append(delivery.receipt)
        return lost


class Store:
    """The memory store, which writes down its calls and fails on demand."""

    def __init__(self, calls: Calls, max_value: int = 0) -> None:
        self._inner = MemoryResults(limits=Limits(max_value=max_value))
        self._inner.open()
        self.calls = calls
        self.fail: list[Exception | None] = []

    @property
    def features(self) -> StoreFeatures:
        return self._inner.features

    def open(self) -> None: ...

    def close(self) -> None: ...

    def put(self, items: Sequence[Record], ttl: float) -> list[bytes | None]:
        self.calls.append(("put", [item.key for item in items]))
        error = self.fail.pop(0) if self.fail else None
        if isinstance(error, PartialPut):
            rest = [item for index, item in enumerate(items) if index not in error.errors]
            written = iter(self._inner.put(rest, ttl))
            standing = [None if index in error.errors else next(written) for index in range(len(items))]
            raise PartialPut(error.errors, standing)
        if error is not None:
            raise error
        return self._inner.put(items, ttl)

    def get(self, keys: Sequence[str]) -> list[bytes | None]:
        return self._inner.get(keys)

    def delete(self, keys: Sequence[str]) -> None:
        self._inner.delete(keys)

    def stands(self, key: str, entry: Entry, rank: tuple[int, int, int] = (0, 0, 0), final: bool = True) -> None:
        """Somebody else has written this."""
        assert self._inner.put([Record(key, encode_entry(entry), final, rank)], 0.0) == [None]

    def entry(self, key: str) -> Entry | None:
        value = self.get([key])[0]
        return None if value is None else decode_entry(value)


class Bench:
    """An outlet with its surroundings."""

    def __init__(self, commit: bool = False, store: bool = True, max_value: int = 0, max_batch: int = 100) -> None:
        self.calls: Calls = []
        self.clock = FakeClock()
        self.wire = Wire(self.calls, commit, max_batch)
        self.store = Store(self.calls, max_value)
        self.hand = Hand(self.wire, self.clock, 60.0, self.clock.advance)
        self.settled: list[Job] = []
        self.buried: list[tuple[Dead, str]] = []
        self.outlet = Outlet(
            self.wire,
            self.store if store else None,
            self.hand,
            self.clock,
            self.settled.extend,
            True,
            lambda dead, queue: self.buried.append((dead, queue)),
        )

    def job(self, name: str, outcome: Outcome | None = None, store: bool = True, **fields: Any) -> Job:
        envelope = Envelope(name, "t", b"[[],{}]", "json", sent_at=5.0)
        job = Job(
            Delivery(encode(envelope), "q", name),
            envelope,
            PLAN,
            self.clock.monotonic() + 60.0,
            "n",
            bytes,
            store=store,
        )
        job.outcome = outcome
        for field, value in fields.items():
            setattr(job, field, value)
        self.hand.add([job])
        return job

    def flush(self, *jobs: Job, patient: bool = True) -> Calls:
        """Settle these; returns the calls of this flush."""
        before = len(self.calls)
        for job in jobs:
            self.outlet.put(job)
        self.outlet.flush(patient)
        return self.calls[before:]

    def methods(self) -> list[str]:
        return [method for method, _ in self.calls]


def _id_of(out: Outgoing) -> str:
    dead = decode_dead(out.payload)
    return decode(out.payload if dead is None else dead.payload).id


OK = Ok(b"1")
BOOM = Error("ValueError", "boom", "trace")


def dead() -> Failed:
    return Failed(BOOM, "failed", "the task failed")


def retry() -> Again:
    return Again(1_000_000_100.0, BOOM)


# -- the order ---------------------------------------------------------------------------------------------


def test_results_then_sends_then_acks() -> None:
    bench = Bench()
    calls = bench.flush(bench.job("a", OK), bench.job("b", dead()), bench.job("c", retry()))
    assert calls == [("put", ["a", "b", "c"]), ("send", ["b", "c"]), ("ack", ["a", "b", "c"])]
    assert len(bench.hand) == 0
    assert [job.envelope.id for job in bench.settled] == ["a", "b", "c"]


def test_a_transport_that_can_publishes_and_acks_as_one() -> None:
    bench = Bench(commit=True)
    assert bench.flush(bench.job("a", OK), bench.job("b", retry())) == [("put", ["a", "b"]), ("commit", ["a", "b"])]
    assert bench.wire.acked == ["a", "b"]
    assert [_id_of(out) for out in bench.wire.sent] == ["b"]
    assert bench.flush(bench.job("c", OK)) == [("put", ["c"]), ("ack", ["c"])]


def test_what_is_not_kept_is_not_put() -> None:
    bench = Bench()
    assert bench.flush(bench.job("a", Ok(b""), store=False)) == [("ack", ["a"])]
    assert bench.flush(bench.job("b", dead(), store=False)) == [("send", ["b"]), ("ack", ["b"])]
    assert bench.store.entry("b") is None
    none = Bench(store=False)
    assert none.flush(none.job("a", retry())) == [("send", ["a"]), ("ack", ["a"])]


def test_records_of_different_ttl_are_put_apart_and_acked_together() -> None:
    bench = Bench()
    calls = bench.flush(bench.job("a", OK, ttl=1.0), bench.job("b", OK, ttl=2.0), bench.job("c", OK, ttl=1.0))
    assert calls[:2] == [("put", ["a", "c"]), ("put", ["b"])]
    assert sorted(calls[2][1]) == ["a", "b", "c"]


def test_a_flush_is_cut_into_batches_that_the_ports_take() -> None:
    bench = Bench(max_batch=2)
    calls = bench.flush(*[bench.job(name, retry()) for name in "abcde"])
    assert [names for method, names in calls if method == "ack"] == [["a", "b"], ["c", "d"], ["e"]]
    assert [_id_of(out) for out in bench.wire.sent] == list("abcde")


def test_more_messages_than_a_batch_are_all_sent_before_the_ack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Should a record once cause several messages, an error in a later part belongs to the jobs of that part."""
    bench = Bench(max_batch=3)
    three = [Outgoing("q", encode(Envelope(name, "t", b"", "json"))) for name in ("x", "y", "z")]
    monkeypatch.setattr("kernel.worker.outlet.sends_of", lambda job, entry, now: three)
    bench.wire.fail["send"] = [None, PartialSend({0: Unavailable("full")})]
    bench.flush(bench.job("a", dead()), bench.job("b", dead()), bench.job("c", dead()))
    assert bench.wire.acked == ["a", "c"]
    assert bench.outlet.held == 1
    assert bench.methods() == ["put", "send", "send", "send", "ack"]


# -- the standing record decides ---------------------------------------------------------------------------


def test_a_standing_success_is_not_followed_by_a_retry() -> None:
    bench = Bench()
    bench.store.stands("a", Entry("SUCCESS", "json", b"7"))
    bench.flush(bench.job("a", retry()))
    assert bench.wire.sent == []
    assert bench.wire.acked == ["a"]
    assert bench.store.entry("a") == Entry("SUCCESS", "json", b"7")


def test_a_standing_failure_repeats_its_dead_letter_though_this_run_succeeded() -> None:
    bench = Bench()
    bench.store.stands("a", Entry("FAILURE", error=BOOM, dead="failed", reason="was dead"))
    bench.flush(bench.job("a", OK))
    (letter, queue), *more = bench.buried
    assert (letter.reason, queue, more) == ("was dead", "q.dead", [])
    assert [out.queue for out in bench.wire.sent] == ["q.dead"]
    assert bench.wire.acked == ["a"]


def test_the_record_of_a_later_attempt_causes_nothing() -> None:
    bench = Bench()
    bench.store.stands("a", Entry("FAILURE", dead="failed", attempt=1), (0, 1, 0))
    bench.store.stands("b", Entry("STARTED", attempt=1), (0, 1, 0), final=False)
    calls = bench.flush(bench.job("a", retry()), bench.job("b", dead()))
    assert calls == [("put", ["a", "b"]), ("ack", ["a", "b"])]


def test_a_standing_record_known_before_the_run_is_not_put_again() -> None:
    bench = Bench()
    job = bench.job("a", Drop("known"), standing=Entry("FAILURE", dead="failed", error=BOOM))
    assert bench.flush(job) == [("send", ["a"]), ("ack", ["a"])]


def test_a_standing_record_that_cannot_be_read_leaves_the_word_to_this_run() -> None:
    bench = Bench()
    assert bench.store._inner.put([Record("a", b"\xc1", True, (0, 0, 0))], 0.0) == [None]
    bench.flush(bench.job("a", dead()))
    assert [out.queue for out in bench.wire.sent] == ["q.dead"]


def test_what_goes_on_as_it_is_goes_on_before_it_is_acked() -> None:
    bench = Bench()
    onward = Outgoing("q", encode(Envelope("in", "t", b"", "json")))
    assert bench.flush(bench.job("a", Drop("sent on"), onward=onward)) == [("send", ["in"]), ("ack", ["a"])]
    bench.flush(bench.job("b", Again(7.0, hop=True, since=6.0)))
    assert (decode(bench.wire.sent[-1].payload).id, bench.wire.sent[-1].not_before) == ("b", 7.0)
    assert bench.wire.acked == ["a", "b"]


# -- the store fails ---------------------------------------------------------------------------------------


def test_a_store_that_is_away_holds_up_only_tasks_that_need_it() -> None:
    bench = Bench()
    bench.store.fail = [Unavailable("away")]
    needs = bench.job("a", OK)
    calls = bench.flush(needs, bench.job("b", Ok(b""), store=False))
    assert calls == [("put", ["a"]), ("ack", ["b"])]
    assert needs in bench.hand, "its lease is renewed meanwhile"
    assert (bench.outlet.held, bench.outlet.pending) == (1, 1)
    assert bench.flush() == [], "not before the wait is over"
    bench.clock.advance(10.0)
    assert bench.flush() == [("put", ["a"]), ("ack", ["a"])]
    assert bench.outlet.pending == 0


def test_what_is_held_is_tried_at_once_by_an_impatient_flush() -> None:
    bench = Bench()
    bench.store.fail = [Unavailable("away")]
    bench.flush(bench.job("a", OK))
    assert bench.flush(patient=False) == [("put", ["a"]), ("ack", ["a"])]


def test_a_result_that_the_store_refuses_is_that_tasks_failure() -> None:
    bench = Bench(max_value=2000)
    calls = bench.flush(bench.job("a", Ok(b"x" * 3000)), bench.job("b", OK))
    assert calls == [("put", ["a", "b"]), ("put", ["a"]), ("ack", ["a", "b"])]
    failure, success = bench.store.entry("a"), bench.store.entry("b")
    assert failure is not None
    assert failure.error is not None
    assert failure.state == "FAILURE"
    assert "refused by the result store" in failure.error.message
    assert success is not None
    assert success.state == "SUCCESS"


def test_a_record_that_cannot_be_stored_now_waits_alone() -> None:
    bench = Bench()
    bench.store.fail = [PartialPut({1: Unavailable("busy")}, [])]
    calls = bench.flush(bench.job("a", OK), bench.job("b", dead()), bench.job("c", OK))
    assert calls == [("put", ["a", "b", "c"]), ("ack", ["a", "c"])]
    assert bench.flush(patient=False) == [("put", ["b"]), ("send", ["b"]), ("ack", ["b"])]


def test_a_failure_whose_record_is_refused_still_goes_to_the_dead_letters() -> None:
    bench = Bench()
    bench.store.fail = [Rejected("not permitted")]
    assert bench.flush(bench.job("a", dead())) == [("put", ["a"]), ("send", ["a"]), ("ack", ["a"])]


def test_a_store_that_refuses_everything_stops_no_worker() -> None:
    bench = Bench()
    bench.store.fail = [Rejected("no")] * 3
    assert bench.flush(bench.job("a", OK), bench.job("b", OK))[-1] == ("ack", ["a", "b"])


# -- the transport fails -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["send", "ack", "commit"])
def test_a_job_held_by_the_transport_is_settled_from_the_start_later(method: str) -> None:
    bench = Bench(commit=method == "commit")
    bench.wire.fail[method] = [Unavailable("away", sent="unknown")]
    job = bench.job("a", dead())
    bench.flush(job)
    assert bench.wire.acked == []
    assert bench.settled == []
    assert job in bench.hand
    calls = bench.flush(patient=False)
    assert calls[0] == ("put", ["a"])
    assert bench.wire.acked == ["a"]
    assert bench.settled == [job]
    assert {out.queue for out in bench.wire.sent} == {"q.dead"}
    assert len(bench.wire.sent) == 1, "what is stored is not sent again because its ack failed"
    assert len(bench.buried) == 1


def test_nothing_is_acked_whose_message_was_not_sent() -> None:
    bench = Bench()
    bench.wire.fail["send"] = [PartialSend({1: Unavailable("full")})]
    jobs = [bench.job("a", retry()), bench.job("b", retry()), bench.job("c", OK)]
    bench.flush(*jobs)
    assert bench.wire.acked == ["a", "c"]
    assert jobs[1] in bench.hand
    assert bench.flush(patient=False) == [("put", ["b"]), ("send", ["b"]), ("ack", ["b"])]


def test_a_message_that_is_refused_becomes_a_bare_dead_letter() -> None:
    bench = Bench()
    bench.wire.fail["send"] = [PartialSend({0: Rejected("too large")})]
    job = bench.job("a", dead())
    bench.flush(job, bench.job("b", dead()))
    assert [(out.queue, out.payload) for out in bench.wire.sent if decode_dead(out.payload) is None] == [
        ("q.dead", job.delivery.payload)
    ]
    assert sorted(bench.wire.acked) == ["a", "b"]
    assert bench.outlet.pending == 0
    assert [decode(letter.payload).id for letter, _ in bench.buried] == ["b"], "told of what was sent"


@pytest.mark.parametrize("commit", [False, True])
def test_a_batch_that_is_refused_is_settled_one_by_one(commit: bool) -> None:
    bench = Bench(commit=commit)
    method = "commit" if commit else "send"
    bench.wire.fail[method] = [Rejected("no"), None, Rejected("no"), None]
    jobs = [bench.job("a", dead()), bench.job("b", dead())]
    bench.flush(*jobs)
    assert [(out.queue, decode_dead(out.payload) is None) for out in bench.wire.sent] == [
        ("q.dead", False),
        ("q.dead", True),
    ]
    assert bench.wire.acked == ["a", "b"]
    assert [decode(letter.payload).id for letter, _ in bench.buried] == ["a"]
    assert bench.settled == jobs


def test_an_ack_that_is_refused_leaves_the_message_to_its_lease() -> None:
    bench = Bench()
    bench.wire.fail["ack"] = [Rejected("no")] * 2
    job = bench.job("a", OK)
    bench.flush(job)
    assert bench.wire.acked == []
    assert bench.wire.sent == []
    assert job not in bench.hand
    assert bench.outlet.pending == 0


def test_a_dead_letter_that_a_lost_delivery_did_not_publish_is_not_told() -> None:
    bench = Bench(commit=True)
    bench.wire.gone = {"a"}
    bench.flush(bench.job("a", dead()), bench.job("b", dead()))
    assert [_id_of(out) for out in bench.wire.sent] == ["b"]
    assert [decode(letter.payload).id for letter, _ in bench.buried] == ["b"]


# -- leases ------------------------------------------------------------------------------------------------


def test_a_lease_near_its_end_is_extended_before_anything_is_written() -> None:
    bench = Bench()
    near = bench.job("a", dead(), held_until=bench.clock.monotonic() + MARGIN / 2)
    calls = bench.flush(near, bench.job("b", OK))
    assert calls == [("extend", ["a"]), ("put", ["a", "b"]), ("send", ["a"]), ("ack", ["a", "b"])]


def test_a_lost_job_is_dropped_before_any_put_or_send() -> None:
    bench = Bench()
    bench.wire.gone = {"a"}
    near = bench.job("a", dead(), held_until=bench.clock.monotonic())
    known = bench.job("b", dead(), lost=True)
    calls = bench.flush(near, known, bench.job("c", OK))
    assert calls == [("extend", ["a"]), ("put", ["c"]), ("ack", ["c"])]
    assert len(bench.hand) == 0
    assert [job.envelope.id for job in bench.settled] == ["c"]


def test_a_lease_that_ran_out_while_its_job_was_held_is_extended_too() -> None:
    bench = Bench()
    bench.store.fail = [Unavailable("away")]
    bench.flush(bench.job("a", dead()))
    bench.wire.gone = {"a"}
    bench.clock.advance(120.0)
    assert bench.flush() == [("extend", ["a"])]
    assert bench.outlet.pending == 0
    assert bench.wire.sent == []


# -- early acks, and what is given back --------------------------------------------------------------------


def test_what_was_acked_early_is_not_acked_again() -> None:
    bench = Bench()
    early = bench.job("a")
    assert bench.outlet.marks.ack_early(early)
    early.outcome = retry()
    assert bench.flush(early, bench.job("b", OK)) == [("put", ["a", "b"]), ("send", ["a"]), ("ack", ["b"])]


def test_what_was_acked_early_never_takes_part_in_a_commit() -> None:
    bench = Bench(commit=True)
    calls = bench.flush(bench.job("a", retry(), acked=True), bench.job("b", retry()))
    assert calls == [("put", ["a", "b"]), ("commit", ["b"]), ("send", ["a"])]


def test_an_early_ack_waits_for_a_transport_that_is_away() -> None:
    bench = Bench()
    bench.wire.fail["ack"] = [Unavailable("away")] * 3
    assert bench.outlet.marks.ack_early(bench.job("a"))
    assert bench.methods() == ["ack"] * 4


def test_an_early_ack_says_when_the_lease_was_lost() -> None:
    bench = Bench()
    bench.wire.gone = {"a"}
    assert not bench.outlet.marks.ack_early(bench.job("a"))


def test_a_task_whose_early_ack_failed_did_not_run_and_is_given_back() -> None:
    """Acknowledged after all, once the transport is back, it would be lost."""
    bench = Bench()
    bench.wire.fail["ack"] = [Unavailable("away")] * 100
    outlet = bench.outlet
    runner = Runner(bench.clock, outlet.put, bench.hand.still_held, outlet.marks.ack_early, outlet.marks.mark_started)
    job = bench.job("a", early=True)
    runner.run(job)
    bench.wire.fail.clear()
    before = len(bench.calls)
    bench.flush()
    assert bench.wire.acked == []
    assert ("release", ["a"]) in bench.calls[before:]


def test_a_job_given_back_is_released_and_nothing_is_written() -> None:
    bench = Bench()
    job = bench.job("a", GiveBack())
    assert bench.flush(job) == [("release", ["a"])]
    assert job not in bench.hand
    assert bench.settled == []


# -- STARTED -----------------------------------------------------------------------------------------------


def test_a_start_is_recorded_with_its_fence() -> None:
    bench = Bench()
    job = bench.job("a")
    job.delivery.redelivered = 2
    assert bench.outlet.marks.mark_started(job)
    zombie = bench.job("a", OK)
    bench.flush(zombie)
    entry = bench.store.entry("a")
    assert entry is not None
    assert entry.state == "STARTED", "who was overtaken writes nothing"


@pytest.mark.parametrize(("state", "final"), [("SUCCESS", True), ("STARTED", False)])
def test_a_record_that_stands_against_a_start(state: Any, final: bool) -> None:
    bench = Bench()
    bench.store.stands("a", Entry(state), (0, 0, 3), final)
    job = bench.job("a")
    assert not bench.outlet.marks.mark_started(job)
    assert isinstance(job.outcome, Drop)
    assert (job.standing is not None) == final
    assert bench.flush(job) == [("ack", ["a"])]


def test_a_start_that_cannot_be_recorded_does_not_stop_the_task() -> None:
    bench = Bench()
    bench.store.fail = [Unavailable("away")]
    assert bench.outlet.marks.mark_started(bench.job("a"))


# -- its own thread, its end, its measurements -------------------------------------------------------------


def test_a_thread_of_its_own_settles_what_is_put() -> None:
    bench = Bench()
    settled = threading.Event()
    outlet = Outlet(bench.wire, bench.store, bench.hand, bench.clock, lambda jobs: settled.set(), False)
    failed: list[BaseException] = []
    outlet.start(failed.append)
    outlet.put(bench.job("a", OK))
    assert settled.wait(5.0)
    outlet.stop(1.0)
    outlet.stop(1.0)
    assert (bench.wire.acked, failed) == (["a"], [])


def test_a_stop_tries_what_is_held_until_its_deadline(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bench.wire.fail["ack"] = [Unavailable("away")] * 4
    bench.flush(bench.job("a", OK))
    bench.outlet.stop(5.0)
    assert bench.wire.acked == ["a"]
    bench.wire.fail["ack"] = [Unavailable("away")] * 1000
    bench.outlet.put(bench.job("b", OK))
    bench.outlet.stop(5.0)
    assert bench.outlet.held == 1
    assert "1 tasks could not be settled" in caplog.text


def test_runtimes_are_learnt() -> None:
    bench = Bench()
    plan = Plan("t", None, Tasks(), JsonSerializer())
    bench.flush(bench.job("a", OK, started_at=10.0, ended_at=12.0, plan=plan), bench.job("b", Drop("never ran")))
    assert (plan.mean, bench.outlet.mean) == (2.0, 2.0)
    bench.flush(bench.job("c", OK, started_at=10.0, ended_at=11.0, plan=plan))
    assert plan.mean == pytest.approx(1.9)
    assert bench.outlet.mean == pytest.approx(1.9)


def test_one_run_of_many_says_little_also_as_the_last_one() -> None:
    bench = Bench()
    plan = Plan("t", None, Tasks(), JsonSerializer())
    jobs = [bench.job(f"a{at}", OK, started_at=10.0, ended_at=10.001, plan=plan) for at in range(99)]
    bench.flush(*jobs, bench.job("b", OK, started_at=10.0, ended_at=10.051, plan=plan))
    assert plan.mean == bench.outlet.mean == pytest.approx(0.0015)


def test_settling_is_a_part_of_the_time_that_a_task_takes() -> None:
    bench = Bench()
    plan = Plan("t", None, Tasks(), JsonSerializer())
    ack = bench.wire.ack

    def slow(batch: Sequence[Delivery]) -> list[Delivery]:
        bench.clock.advance(0.015)
        return ack(batch)

    bench.wire.ack = slow  # type: ignore[method-assign]
    bench.flush(*(bench.job(f"a{at}", OK, started_at=10.0, ended_at=10.001, plan=plan) for at in range(300)))
    assert plan.mean == pytest.approx(0.001)
    assert bench.outlet.mean == pytest.approx(0.001 + 0.015 / 100)


def test_a_slow_service_does_not_have_tasks_fetched_one_by_one() -> None:
    bench = Bench()
    ack = bench.wire.ack

    def slow(batch: Sequence[Delivery]) -> list[Delivery]:
        bench.clock.advance(1.0)
        return ack(batch)

    bench.wire.ack = slow  # type: ignore[method-assign]
    bench.flush(bench.job("a", OK, started_at=10.0, ended_at=10.001))
    assert bench.outlet.mean == pytest.approx(0.001 + SETTLING)


# -- whatever fails, nothing is lost -----------------------------------------------------------------------

_ERRORS = st.sampled_from([None, Unavailable("away"), Unavailable("away", sent="unknown"), Rejected("no")])
_PARTS = st.dictionaries(st.integers(0, 1), st.sampled_from([Unavailable("full"), Rejected("large")]), min_size=1)
_SENDS = st.lists(_ERRORS | _PARTS.map(PartialSend), max_size=6)
_PUTS = st.lists(_ERRORS | _PARTS.map(lambda errors: PartialPut(errors, [])), max_size=6)


@given(_PUTS, _SENDS, st.lists(_ERRORS, max_size=6), st.booleans())
def test_no_job_is_acked_without_its_effects(
    puts: list[Exception | None], sends: list[Exception | None], acks: list[Exception | None], commit: bool
) -> None:
    bench = Bench(commit=commit)
    bench.store.fail = list(puts)
    bench.wire.fail = {"send": list(sends), "ack": list(acks), "commit": list(acks)}
    jobs = [bench.job("a", dead()), bench.job("b", retry())]
    bench.flush(*jobs)
    for _ in range(40):
        _assert_nothing_lost(bench)
        bench.flush(patient=False)
    assert bench.outlet.pending == 0
    assert len(bench.hand) == 0
    assert sorted(job.envelope.id for job in bench.settled) == ["a", "b"]


def _assert_nothing_lost(bench: Bench) -> None:
    sent = {_id_of(out) for out in bench.wire.sent}
    assert set(bench.wire.acked) <= sent
