"""Handing on alone; with a worker around it: tests/engine/test_handing_on.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf

import pytest
from kernel_memory import Limits, MemoryCoordination, MemoryTransport
from kernel_memory.space import Space

from kernel.clock import FakeClock
from kernel.configuration.settings import Tasks
from kernel.envelope import Envelope, decode, encode
from kernel.errors import Unavailable
from kernel.outcome import OVERTAKEN, Again, Ok
from kernel.ports import Claim, Delivery, Outgoing, Tally
from kernel.serializers.json_ import JsonSerializer
from kernel.worker.admit import BLANK
from kernel.worker.hand import Hand
from kernel.worker.handing import PACE, SETTLED, TRY_EVERY, Handover
from kernel.worker.job import Job
from kernel.worker.outlet import Outlet
from kernel.worker.plan import Plan

TOTAL = 600.0
PLAN = Plan("t", None, Tasks(), JsonSerializer())


class Sleepy(MemoryCoordination):
    """A service that takes its time for a claim."""

    def __init__(self, space: Space, clock: FakeClock) -> None:
        super().__init__(space, clock)
        self.meanwhile: Callable[[], object] = lambda: None

    def claim(self, items: Sequence[Claim]) -> list[str]:
        owners = super().claim(items)
        self.meanwhile()
        return owners


class Bench:
    """One job in the hand of a worker, on a transport that sends and acknowledges in two steps."""

    def __init__(self, readable: bool = True) -> None:
        self.clock, self.space = FakeClock(), Space()
        limits = Limits(lease_total=TOTAL)
        self.transport, self.other = (MemoryTransport(self.space, self.clock, ("commit",), limits) for _ in range(2))
        self.coordination = Sleepy(self.space, self.clock)
        for port in (self.transport, self.other, self.coordination):
            port.open()
        self.lease = self.transport.features.lease or 0.0
        self.hand = Hand(self.transport, self.clock, self.lease, self.clock.advance)
        self.outlet = Outlet(self.transport, None, self.hand, self.clock, lambda done: None, True)
        self.handover = Handover(self.transport, self.coordination, self.hand, self.outlet, self.clock)
        envelope = Envelope("a", "t", b"[[],{}]", "json")
        self.transport.send([Outgoing("q", encode(envelope) if readable else b"\xff")])
        [delivery] = self.transport.receive(["q"], 1, 0.0)
        held_until = self.clock.monotonic() + self.lease
        self.job = Job(delivery, envelope if readable else BLANK, PLAN, held_until, "n", bytes)
        self.hand.add([self.job])
        self.handover.look(self.clock.monotonic())
        for _ in range(int(TOTAL / self.lease)):
            self.hand.extend([self.job])
            self.clock.advance(self.lease - 1)

    def sizes(self) -> tuple[int | None, int | None, int | None]:
        [size] = self.transport.sizes(["q"])
        return size.ready, size.delayed, size.in_flight

    def look(self) -> None:
        self.handover.look(self.clock.monotonic())

    def steal(self) -> list[Delivery]:
        """The lease runs out, and somebody else has the message."""
        self.clock.advance(self.lease + 1)
        return self.other.receive(["q"], 1, 0.0)

    def received(self, delivery: Delivery) -> Job:
        """The job of a delivery."""
        return Job(delivery, self.job.envelope, PLAN, self.clock.monotonic() + self.lease, "n", bytes)

    def another(self) -> Handover:
        """The same of another worker."""
        hand = Hand(self.other, self.clock, self.lease, self.clock.advance)
        outlet = Outlet(self.other, None, hand, self.clock, lambda done: None, True)
        return Handover(self.other, self.coordination, hand, outlet, self.clock)

    def claimed(self) -> bool:
        claim = Claim("running:a:0:0", "somebody else", 1.0)
        mine = MemoryCoordination.claim(self.coordination, [claim]) == ["somebody else"]
        self.coordination.drop([(claim.key, claim.owner)])
        return not mine


def test_a_job_that_lasts_is_handed_on() -> None:
    bench = Bench()
    bench.look()
    assert bench.sizes() == (0, 1, 0)
    assert bench.claimed()
    assert bench.job.acked


def test_who_slept_while_it_claimed_hands_nothing_on() -> None:
    """Its message is somebody else's by then, and a copy would run beside that one."""
    bench = Bench()
    bench.coordination.meanwhile = bench.steal
    bench.look()
    assert bench.sizes() == (0, 0, 1)
    assert bench.job.lost
    assert not bench.job.acked


def test_the_claim_of_who_was_overtaken_ends_while_its_task_still_runs() -> None:
    """Kept, it would take the message from the one that runs now."""
    bench = Bench()
    bench.coordination.meanwhile = bench.steal
    bench.look()
    bench.coordination.meanwhile = lambda: None
    assert bench.job in bench.hand
    bench.look()
    assert not bench.claimed()


def test_what_cannot_be_read_is_not_written_anew() -> None:
    """A copy of it would be an empty call, and the original gone."""
    bench = Bench(readable=False)
    bench.look()
    assert bench.sizes() == (0, 0, 1)
    assert not bench.job.acked
    [delivery] = bench.steal()
    assert delivery.payload == b"\xff"


def test_the_copy_is_the_same_call() -> None:
    bench = Bench()
    bench.look()
    bench.clock.advance(TOTAL)
    [delivery] = bench.other.receive(["q"], 1, 0.0)
    copy = decode(delivery.payload)
    assert (copy.id, copy.task, copy.body, copy.attempt) == ("a", "t", b"[[],{}]", 0)


def test_an_original_that_comes_back_beside_its_copy_is_one_more_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()

    def died(batch: Sequence[Delivery]) -> list[Delivery]:
        raise Unavailable("its process ended between the two steps")

    with monkeypatch.context() as patch:
        patch.setattr(bench.transport, "ack", died)
        bench.look()
    [original] = bench.steal()
    job = bench.received(original)
    other = bench.another()
    bench.coordination.claim([Claim("running:a:0:0", "who runs the copy", PACE)])
    assert other.sift([job]) == []
    assert job.outcome == Again(bench.clock.now() + PACE, hop=True)
    bench.clock.advance(PACE + 1)  # he has died too
    assert other.sift([job]) == [job]
    assert bench.claimed()


def test_a_redelivery_that_nobody_has_handed_on_waits_for_no_claim() -> None:
    bench = Bench()
    [original] = bench.steal()
    job = bench.received(original)
    assert bench.another().sift([job]) == [job]
    assert not bench.claimed()


def test_nothing_is_handed_on_that_could_not_be_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()

    def away(items: Sequence[Tally]) -> list[int]:
        raise Unavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(bench.coordination, "tally", away)
        bench.look()
    assert bench.sizes() == (0, 0, 1)
    bench.hand.extend([bench.job])
    bench.clock.advance(TRY_EVERY)
    bench.look()
    assert bench.sizes() == (0, 1, 0)


@pytest.mark.parametrize("known", [True, False], ids=["its own", "overtaken"])
def test_who_was_overtaken_does_not_say_that_a_task_is_settled(known: bool) -> None:
    """The copy would be dropped for that, and the later execution may have died."""
    bench = Bench()
    bench.look()
    bench.job.outcome = Ok(b"1") if known else OVERTAKEN
    bench.hand.remove([bench.job])
    bench.look()
    owner = bench.coordination.claim([Claim("settled:running:a:0:0", "me", 1.0)])
    assert (owner == [SETTLED]) is known


def test_who_could_not_acknowledge_does_not_say_so_either() -> None:
    bench = Bench()
    bench.steal()
    bench.job.outcome = Ok(b"1")
    bench.job.held_until = inf
    bench.outlet.put(bench.job)
    bench.outlet.flush()
    assert bench.job.lost
