"""The base of every suite: how the author's class becomes benches, and the standard tests become methods."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any, ClassVar, Generic, TypeVar

import pytest

from kernel.clock import FakeClock
from kernel_conformance.bench import Testbed, Tuning
from kernel_conformance.clause import Test, tests_in
from kernel_conformance.service import ServiceControl

B = TypeVar("B", bound=Testbed)
S = TypeVar("S", bound="Suite[Any]")


class Suite(Generic[B]):
    """What the author of any adapter may set. `make`, which each port declares, is all that must be written."""

    #: Name of the port, for reports.
    port: ClassVar[str] = ""
    #: The standard tests by name.
    standard: ClassVar[Mapping[str, Test[Any]]] = {}

    #: Name of the adapter in reports; "" takes the name of its class.
    label: str = ""
    #: Clause id to the reason why this adapter does not keep it: a strict expected failure, printed in the report.
    deviations: Mapping[str, str] = {}
    #: Control of the service; without it some clauses are not proven.
    service: ServiceControl | None = None
    #: Set it, and give it to the adapter in `make`, to run the lease and delay tests without waiting.
    clock: FakeClock | None = None
    #: Seconds; longest wait for something that must come.
    patience: float = 5.0
    #: Seconds for which a test looks for something that must not come. A service whose reads lag behind its writes
    #: needs more; one in this process needs none.
    quiet_for: float = 0.1
    #: Seconds of lateness allowed to timers in addition to what the contract allows.
    slack: float = 0.4
    #: Lease of the lease tests in seconds; give it to the adapter in `make` where the adapter takes a lease.
    lease_for: float = 1.0

    def cleanup(self, namespace: str) -> None:
        """Called after each test, all adapters closed: remove what the namespace left on a lasting service."""

    def new_bench(self, namespace: str, tuning: Tuning) -> B:
        """The port's own kind of bench, which calls `make`."""
        raise NotImplementedError

    @contextmanager
    def benched(self) -> Iterator[B]:
        """A bench on a fresh namespace, taken down at the end."""
        namespace = f"c{uuid.uuid4().hex[:12]}"
        tuning = Tuning(
            patience=self.patience,
            quiet_for=self.quiet_for,
            slack=self.slack,
            lease_for=self.lease_for,
            clock=self.clock,
        )
        bench = self.new_bench(namespace, tuning)
        try:
            yield bench
        finally:
            bench.end()
            self.cleanup(namespace)

    @pytest.fixture
    def bench(self, request: pytest.FixtureRequest) -> Iterator[B]:
        """What every standard test works with."""
        with self.benched() as bench:
            yield bench
            request.node.user_properties.append(("kernel_conformance.declined", bench.declined))
            request.node.user_properties.append(("kernel_conformance.bench", bench.facts()))


def assembled(port: str, *areas: ModuleType) -> Callable[[type[S]], type[S]]:
    """Make the tests of some modules methods of a suite.

    The tests are plain functions, grouped in modules by subject: one class with a hundred methods in one file, or
    a pile of mixins, were the alternatives.
    """

    def decorate(suite: type[S]) -> type[S]:
        suite.port = port
        suite.standard = tests_in(areas)
        for name, test in suite.standard.items():
            setattr(suite, name, staticmethod(test))
        return suite

    return decorate
