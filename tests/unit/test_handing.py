"""Handing on alone; with a worker around it: tests/engine/test_handing_on.py."""

from __future__ import annotations

from collections.abc import Sequence

from kernel_memory import Limits, MemoryCoordination, MemoryTransport
from kernel_memory.space import Space

from kernel.clock import FakeClock
from kernel.config import Tasks
from kernel.envelope import Envelope, encode
from kernel.ports import Claim, Outgoing
from kernel.serializers.json_ import JsonSerializer
from kernel.worker.hand import Hand
from kernel.worker.handing import Handover
from kernel.worker.job import Job
from kernel.worker.outlet import Outlet
from kernel.worker.plan import Plan


def test_who_slept_while_it_claimed_hands_nothing_on() -> None:
    """Its message is somebody else's by then, and a copy would run beside that one."""
    clock, space = FakeClock(), Space()
    transport, other = (MemoryTransport(space, clock, ("commit",), Limits(lease_total=600.0)) for _ in range(2))
    coordination = Sleepy(space, clock)
    for port in (transport, other, coordination):
        port.open()
    lease = transport.features.lease or 0.0
    hand = Hand(transport, clock, lease, clock.advance)
    outlet = Outlet(transport, None, hand, clock, lambda done: None, True)
    handover = Handover(transport, coordination, hand, outlet, clock)
    envelope = Envelope("a", "t", b"[[],{}]", "json")
    transport.send([Outgoing("q", encode(envelope))])
    [delivery] = transport.receive(["q"], 1, 0.0)
    plan = Plan("t", None, Tasks(), JsonSerializer())
    job = Job(delivery, envelope, plan, clock.monotonic() + lease, "n", bytes)
    hand.add([job])
    handover.look(clock.monotonic())
    for _ in range(int(600 / lease) + 1):
        hand.extend([job])
        clock.advance(lease - 1)
    coordination.sleep_for = lease + 1
    coordination.then = lambda: other.receive(["q"], 1, 0.0)
    handover.look(clock.monotonic())
    [size] = transport.sizes(["q"])
    assert (size.ready, size.delayed, size.in_flight) == (0, 0, 1)
    assert job.lost
    assert not job.acked


class Sleepy(MemoryCoordination):
    """A service that takes its time for a claim."""

    sleep_for = 0.0
    then = staticmethod(list)

    def claim(self, items: Sequence[Claim]) -> list[str]:
        owners = super().claim(items)
        clock = self._clock
        assert isinstance(clock, FakeClock)
        clock.advance(self.sleep_for)
        self.then()
        return owners
