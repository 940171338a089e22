"""The jobs in hand: what is renewed, what is lost, what is given back."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pytest
from kernel_memory import MemoryTransport
from kernel_memory.space import Space

from kernel.clock import FakeClock
from kernel.configuration.settings import Tasks
from kernel.emulate.complete import complete
from kernel.envelope import Envelope
from kernel.errors import Unavailable
from kernel.ports import Delivery, Outgoing
from kernel.serializers.json_ import JsonSerializer
from kernel.worker.hand import Hand
from kernel.worker.job import Job
from kernel.worker.plan import Plan

PLAN = Plan("t", None, Tasks(), JsonSerializer())
LEASE = 60.0


class Flaky(MemoryTransport):
    """The memory transport, of which the calls named in `fail` fail once each, and which counts what it is asked."""

    def __init__(self, space: Space, clock: FakeClock, mask: Collection[str] = ()) -> None:
        super().__init__(space, clock=clock, mask=mask)  # type: ignore[arg-type]
        self.fail: list[str] = []
        self.asked: list[tuple[str, int]] = []

    def _maybe(self, method: str, batch: Sequence[Delivery]) -> None:
        self.asked.append((method, len(batch)))
        if method in self.fail:
            self.fail.remove(method)
            raise Unavailable("away")

    def extend(self, batch: Sequence[Delivery], lease: float) -> list[Delivery]:
        self._maybe("extend", batch)
        return super().extend(batch, lease)

    def release(self, batch: Sequence[Delivery]) -> list[Delivery]:
        self._maybe("release", batch)
        return super().release(batch)


class Bench:
    def __init__(self, count: int, *mask: str) -> None:
        self.clock = FakeClock()
        self.space = Space()
        self.transport = Flaky(self.space, self.clock, mask)
        self.transport.open()
        self.hand = Hand(self.transport, self.clock, LEASE, self.clock.advance)
        self.transport.send([Outgoing("q", str(index).encode()) for index in range(count)])
        self.jobs = [self._job(delivery) for delivery in self.transport.receive(["q"], count, 0.0)]
        assert len(self.jobs) == count
        self.hand.add(self.jobs)

    def _job(self, delivery: Delivery) -> Job:
        envelope = Envelope(delivery.payload.decode(), "t", b"", "json")
        return Job(delivery, envelope, PLAN, self.clock.monotonic() + LEASE, "n", bytes)

    def steal(self) -> list[Delivery]:
        """What somebody else can have."""
        return self.transport.receive(["q"], 100, 0.0)


def test_a_set_of_jobs() -> None:
    bench = Bench(3)
    hand, (first, *rest) = bench.hand, bench.jobs
    hand.add(bench.jobs)
    assert len(hand) == 3
    hand.remove([first])
    hand.remove([first])
    assert first not in hand
    assert set(hand.jobs()) == set(rest)
    hand.jobs().clear()
    assert len(hand) == 2, "`jobs` is a copy"


def test_a_lease_is_renewed_when_a_third_of_it_is_over() -> None:
    bench = Bench(2)
    bench.clock.advance(LEASE / 3 - 1)
    bench.hand.renew()
    assert bench.transport.asked == []
    bench.clock.advance(2)
    bench.hand.renew()
    assert bench.transport.asked == [("extend", 2)]
    assert {job.held_until for job in bench.jobs} == {bench.clock.monotonic() + LEASE}
    bench.clock.advance(LEASE - 1)
    assert bench.steal() == []


def test_what_is_acked_or_lost_is_not_renewed() -> None:
    bench = Bench(3)
    bench.jobs[0].acked = bench.jobs[1].lost = True
    bench.clock.advance(LEASE / 2)
    bench.hand.renew()
    assert bench.transport.asked == [("extend", 1)]


def test_a_lease_that_is_gone_marks_its_job_and_leaves_its_time() -> None:
    bench = Bench(2)
    before = bench.jobs[0].held_until
    MemoryTransport.release(bench.transport, [bench.jobs[0].delivery])
    assert len(bench.steal()) == 1
    bench.clock.advance(LEASE / 2)
    bench.hand.renew()
    assert [job.lost for job in bench.jobs] == [True, False]
    assert bench.jobs[0].held_until == before
    assert bench.jobs[1].held_until == bench.clock.monotonic() + LEASE


def test_a_lease_counts_from_before_the_question() -> None:
    """The answer may have travelled for long; the service began to count when it was asked, or later."""
    bench = Bench(1)
    extend = bench.transport.extend

    def slowly(batch: Sequence[Delivery], lease: float) -> list[Delivery]:
        lost = extend(batch, lease)
        bench.clock.advance(7.0)
        return lost

    bench.transport.extend = slowly  # type: ignore[method-assign]
    asked_at = bench.clock.monotonic()
    bench.hand.extend(bench.jobs, 20.0)
    assert bench.jobs[0].held_until == asked_at + 20.0


def test_an_outage_changes_nothing_and_is_left_to_the_next_try(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(2)
    before = [job.held_until for job in bench.jobs]
    bench.clock.advance(LEASE / 2)
    bench.transport.fail = ["extend"]
    bench.hand.renew()
    assert [job.held_until for job in bench.jobs] == before
    assert not any(job.lost for job in bench.jobs)
    assert "the transport is unavailable" in caplog.text
    bench.transport.fail = ["extend"]
    bench.hand.renew()
    assert len(caplog.records) == 1, "one line, however often it is tried"
    bench.hand.renew()
    assert {job.held_until for job in bench.jobs} == {bench.clock.monotonic() + LEASE}


def test_leases_are_renewed_in_batches_that_the_transport_takes() -> None:
    bench = Bench(1)
    most = bench.transport.features.max_batch
    bench.hand.extend(bench.jobs * (most + 1))
    assert bench.transport.asked == [("extend", most), ("extend", 1)]


def test_still_held_asks_now() -> None:
    bench = Bench(1)
    job = bench.jobs[0]
    assert bench.hand.still_held(job)
    bench.clock.advance(LEASE + 1)
    bench.transport.fail = ["extend"]
    assert not bench.hand.still_held(job), "an outage is no proof that it is held"
    assert bench.steal()
    assert not bench.hand.still_held(job)
    assert job.lost
    asked = len(bench.transport.asked)
    assert not bench.hand.still_held(job)
    assert len(bench.transport.asked) == asked, "what is lost stays lost"


def test_what_is_given_back_is_there_at_once_and_no_more_in_hand() -> None:
    bench = Bench(3)
    bench.hand.release(bench.jobs[:2])
    assert bench.hand.jobs() == bench.jobs[2:]
    assert sorted(delivery.payload for delivery in bench.steal()) == [b"0", b"1"]


def test_what_was_acked_is_not_given_back() -> None:
    bench = Bench(1)
    bench.jobs[0].acked = True
    bench.hand.release(bench.jobs)
    assert bench.transport.asked == []
    assert len(bench.hand) == 0


def test_what_cannot_be_given_back_comes_back_by_its_lease(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(1)
    bench.transport.fail = ["release"]
    bench.hand.release(bench.jobs)
    assert len(bench.hand) == 0, "it must not be renewed any more"
    assert "their leases will run out" in caplog.text
    assert bench.steal() == []
    bench.clock.advance(LEASE + 1)
    assert len(bench.steal()) == 1


def test_what_no_lease_gives_back_is_owed_until_it_is_given_back(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(2, "lease")
    bench.transport.fail = ["release"]
    bench.hand.release(bench.jobs[:1])
    assert len(bench.hand) == 1
    assert bench.hand.owes
    assert "tried again" in caplog.text
    bench.transport.fail = ["release"]
    bench.hand.release([])
    assert bench.hand.owes
    assert len(caplog.records) == 1, "once is enough"
    assert bench.steal() == []
    bench.hand.release([])
    assert not bench.hand.owes
    assert len(bench.steal()) == 1


@pytest.mark.parametrize(("mask", "free"), [((), 0), (("lease",), 1)])
def test_what_is_somebody_elses_is_given_back_where_no_lease_does_it(mask: tuple[str, ...], free: int) -> None:
    bench = Bench(1, *mask)
    bench.hand.drop(bench.jobs)
    assert len(bench.hand) == 0
    assert len(bench.steal()) == free


def test_nothing_is_renewed_where_a_connection_holds_the_messages() -> None:
    """Also behind a decorator, which has the method and refuses it."""
    inner = MemoryTransport(Space(), mask={"lease", "priorities"})
    inner.open()
    transport = complete(inner).transport
    transport.send([Outgoing("q", b"x")])
    (delivery,) = transport.receive(["q"], 1, 0.0)
    clock = FakeClock()
    hand = Hand(transport, clock, 1e9, clock.advance)
    job = Job(delivery, Envelope("id", "t", b"", "json"), PLAN, clock.monotonic() + 1e9, "node", JsonSerializer().loads)
    hand.add([job])
    hand.extend([job], 0.2)
    hand.renew()
    assert hand.still_held(job)
    assert not job.lost
