"""The reference passes its own definition: with every feature, and with each of them masked in turn."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from kernel_conformance import (
    CoordinationConformance,
    ResultStoreConformance,
    ScheduleStoreConformance,
    TransportConformance,
)
from kernel_memory import Limits, MemoryCoordination, MemoryResults, MemorySchedules, MemoryTransport, Space

from kernel.clock import SYSTEM, FakeClock

MASKS = (
    "lease", "delay", "priorities", "dedup", "ordered", "broadcast", "commit", "counts", "inspect", "peek", "lists",
    "wake",
)  # fmt: skip


class Reference(TransportConformance):
    """A memory transport on a clock of the test's own; nothing in it lags, so silence needs no waiting."""

    clock: FakeClock | None = FakeClock()
    quiet_for = 0.0
    mask: Collection[str] = ()
    limits = Limits(lease=30.0)

    def make(self, namespace: str) -> MemoryTransport:
        return MemoryTransport(Space.named(namespace), self.clock, self.mask, self.limits)

    def cleanup(self, namespace: str) -> None:
        Space.forget(namespace)


class TestMemory(Reference):
    label = "memory"


class TestWithLimits(Reference):
    """Every quantity small enough to be tested at its limit and one past it."""

    limits = Limits(lease=30.0, delay=900.0, priorities=4, dedup=10.0, expiry=True, max_batch=50, max_payload=100_000)


class TestWithReleasesCounted(Reference):
    limits = Limits(lease=30.0, release_counts=True)


class InRealTime(Reference):
    """The same adapter on the machine's clock: what blocks ends by itself when a delay or a lease does."""

    clock = None
    limits = Limits(lease=0.6)
    lease_for = 0.6

    def make(self, namespace: str) -> MemoryTransport:
        return MemoryTransport(Space.named(namespace), mask=self.mask, limits=self.limits)


@pytest.mark.parametrize(
    "name",
    [
        "test_a_blocked_receive_sees_an_expired_lease",
        "test_a_lease_holds_for_its_length",
        "test_close_gives_back_what_is_held",
        "test_delayed_messages_come_by_due_time",
        "test_expired_messages_are_not_delivered",
        "test_hardly_late",
        "test_never_early",
        "test_the_oldest_message",
    ],
)
def test_in_real_time(name: str) -> None:
    with InRealTime().benched() as bench:
        InRealTime.standard[name](bench)


class TestWithoutLease(Reference):
    mask = {"lease"}


class TestWithoutDelay(Reference):
    mask = {"delay"}


class TestWithoutPriorities(Reference):
    mask = {"priorities"}


class TestWithoutDedup(Reference):
    mask = {"dedup"}


class TestWithoutOrder(Reference):
    mask = {"ordered"}


class TestWithoutBroadcast(Reference):
    mask = {"broadcast"}


class TestWithoutCommit(Reference):
    mask = {"commit"}


class TestWithoutCounts(Reference):
    mask = {"counts"}


class TestWithoutInspect(Reference):
    mask = {"inspect"}


class TestWithoutPeek(Reference):
    mask = {"peek"}


class TestWithoutLists(Reference):
    mask = {"lists"}


class TestWithoutWake(Reference):
    mask = {"wake"}


class TestBare(Reference):
    """The least that a transport can be."""

    mask = set(MASKS)


class TestResults(ResultStoreConformance):
    label = "memory"
    clock: FakeClock | None = FakeClock()

    def make(self, namespace: str) -> MemoryResults:
        return MemoryResults(Space.named(namespace), self.clock or SYSTEM)

    def cleanup(self, namespace: str) -> None:
        Space.forget(namespace)


class TestResultsWithLimits(TestResults):
    label = ""

    def make(self, namespace: str) -> MemoryResults:
        limits = Limits(max_batch=20, max_value=5000)
        return MemoryResults(Space.named(namespace), self.clock or SYSTEM, {"wait", "guarded"}, limits)


class TestCoordination(CoordinationConformance):
    label = "memory"
    clock: FakeClock | None = FakeClock()

    def make(self, namespace: str) -> MemoryCoordination:
        return MemoryCoordination(Space.named(namespace), self.clock or SYSTEM)

    def cleanup(self, namespace: str) -> None:
        Space.forget(namespace)


class TestSchedules(ScheduleStoreConformance):
    label = "memory"
    clock: FakeClock | None = FakeClock()

    def make(self, namespace: str) -> MemorySchedules:
        return MemorySchedules(Space.named(namespace), clock=self.clock or SYSTEM)

    def cleanup(self, namespace: str) -> None:
        Space.forget(namespace)
