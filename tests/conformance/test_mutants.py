"""The suite of the suite: every broken adapter is caught by the test that names its fault, and only the fault is
caught: the same test passes on the adapter that the mutant was made from."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import mutants
import pytest
import receiving_mutants
from kernel_conformance import (
    CoordinationConformance,
    PoolConformance,
    ResultStoreConformance,
    ScheduleStoreConformance,
    SerializerConformance,
    TransportConformance,
)
from kernel_memory import MemoryCoordination, MemoryResults, MemorySchedules, MemoryTransport, Space
from store_mutants import COORDINATION, POOLS, RESULTS, SCHEDULES, SERIALIZERS

from kernel.clock import FakeClock
from kernel.errors import KernelError
from kernel.pools.threads import ThreadPool
from kernel.serializers.json_ import JsonSerializer

#: What counts as caught: a failed assertion or an error of the port; not a bug of the mutant itself.
CAUGHT = (AssertionError, pytest.fail.Exception, KernelError)


class Quick:
    """Settings shared by the suites under test: what does not come is not waited for long."""

    quiet_for = 0.0
    patience = 0.5
    slack = 0.1


class OfTransports(TransportConformance):
    quiet_for, patience, slack = Quick.quiet_for, Quick.patience, Quick.slack
    kind: type[MemoryTransport] = MemoryTransport

    def make(self, namespace: str) -> MemoryTransport:
        return self.kind(Space.named(namespace), self.clock or FakeClock(), (), mutants.SMALL)


class OfResults(ResultStoreConformance):
    quiet_for, patience, slack = Quick.quiet_for, Quick.patience, Quick.slack
    kind: type[MemoryResults] = MemoryResults

    def make(self, namespace: str) -> MemoryResults:
        return self.kind(Space.named(namespace), self.clock or FakeClock())


class OfCoordination(CoordinationConformance):
    quiet_for, patience, slack = Quick.quiet_for, Quick.patience, Quick.slack
    kind: type[MemoryCoordination] = MemoryCoordination

    def make(self, namespace: str) -> MemoryCoordination:
        return self.kind(Space.named(namespace), self.clock or FakeClock())


class OfSchedules(ScheduleStoreConformance):
    quiet_for, patience, slack = Quick.quiet_for, Quick.patience, Quick.slack
    kind: type[MemorySchedules] = MemorySchedules

    def make(self, namespace: str) -> MemorySchedules:
        return self.kind(Space.named(namespace), None, self.clock or FakeClock())


class OfSerializers(SerializerConformance):
    kind: type[JsonSerializer] = JsonSerializer

    def make(self) -> JsonSerializer:
        return self.kind()


class OfPools(PoolConformance):
    patience, slack = Quick.patience, Quick.slack
    kind: type[ThreadPool] = ThreadPool

    def make(self, slots: int) -> ThreadPool:
        return self.kind(slots)


def mutants_in(module: ModuleType) -> list[type[Any]]:
    """The classes of a module that say what catches them."""
    return [kind for kind in vars(module).values() if isinstance(kind, type) and getattr(kind, "caught_by", "")]


CASES: list[tuple[type[Any], type[Any]]] = [
    *[(OfTransports, mutant) for module in (mutants, receiving_mutants) for mutant in mutants_in(module)],
    *[(OfResults, mutant) for mutant in RESULTS],
    *[(OfCoordination, mutant) for mutant in COORDINATION],
    *[(OfSchedules, mutant) for mutant in SCHEDULES],
    *[(OfSerializers, mutant) for mutant in SERIALIZERS],
    *[(OfPools, mutant) for mutant in POOLS],
]


def examine(suite: type[Any], kind: type[Any], test: str) -> None:
    """Run one standard test on one kind of adapter, in this process."""
    case = suite()
    case.kind = kind
    case.clock = FakeClock()
    with case.benched() as bench:
        suite.standard[test](bench)


@pytest.mark.parametrize(("suite", "mutant"), CASES, ids=[mutant.__name__ for _, mutant in CASES])
def test_a_mutant_is_caught(suite: type[Any], mutant: type[Any]) -> None:
    examine(suite, suite.kind, mutant.caught_by)
    with pytest.raises(CAUGHT):
        examine(suite, mutant, mutant.caught_by)
