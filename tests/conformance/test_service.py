"""The clauses that need control of the service, proven on a service inside of this process, and mutants of those."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from kernel_conformance import (
    CoordinationConformance,
    ResultStoreConformance,
    ScheduleStoreConformance,
    TransportConformance,
)
from kernel_conformance.clause import clause_of
from kernel_memory import Limits, MemoryCoordination, MemoryResults, MemorySchedules, MemoryTransport, Space

from kernel.clock import FakeClock
from kernel.errors import KernelError, Rejected, Unavailable
from kernel.ports import Delivery, Outgoing, Survives


class Service:
    """A service that is nothing but its state, by namespace; `durable` says whether a kill leaves it."""

    def __init__(self, durable: bool = True) -> None:
        self.durable = durable
        self.running = True
        self.stops = 0
        self.spaces: defaultdict[str, Space] = defaultdict(Space)

    def start(self) -> None:
        self.running = True

    def stop(self) -> None:
        self.running = False
        self.stops += 1

    def kill(self) -> None:
        self.stop()
        if not self.durable:
            for space in self.spaces.values():
                space.__init__()  # type: ignore[misc]

    def restart(self) -> None:
        self.stop()
        self.start()

    def reach(self) -> None:
        """`Unavailable` while it does not run."""
        if not self.running:
            raise Unavailable("the service does not run")


def remote(kind: type[Any]) -> type[Any]:
    """A kind of memory adapter that reaches its state through a service."""

    class Remote(kind):  # type: ignore[misc]
        def __init__(self, service: Service, namespace: str, survives: Survives, *arguments: Any) -> None:
            super().__init__(service.spaces[namespace], *arguments)
            self._features = replace(self._features, survives=survives)
            self.service = service

        def open(self) -> None:
            self.service.reach()
            super().open()

        def _check(self, *arguments: Any) -> Any:
            self.service.reach()
            return super()._check(*arguments)

    return Remote


RemoteTransport: Any = remote(MemoryTransport)
RemoteResults: Any = remote(MemoryResults)
RemoteCoordination: Any = remote(MemoryCoordination)
RemoteSchedules: Any = remote(MemorySchedules)


class OfTransports(TransportConformance):
    quiet_for, patience = 0.0, 0.5
    clock = FakeClock()
    survives: Survives = "service"
    kind: Any = RemoteTransport

    def make(self, namespace: str) -> Any:
        limits = Limits(lease=30.0)
        return self.kind(self.service, namespace, self.survives, self.clock, (), limits)


class OfResults(ResultStoreConformance):
    patience = 0.5

    def make(self, namespace: str) -> Any:
        return RemoteResults(self.service, namespace, "service")


class OfCoordination(CoordinationConformance):
    patience = 0.5

    def make(self, namespace: str) -> Any:
        return RemoteCoordination(self.service, namespace, "service")


class OfSchedules(ScheduleStoreConformance):
    patience = 0.5

    def make(self, namespace: str) -> Any:
        return RemoteSchedules(self.service, namespace, "service")


SUITES: list[type[Any]] = [OfTransports, OfResults, OfCoordination, OfSchedules]


def examine(suite: type[Any], name: str, service: Service, **settings: Any) -> str:
    """Run one standard test; returns the ability that was refused instead, "" for none."""
    case = suite()
    case.service = service
    for key, value in settings.items():
        setattr(case, key, value)
    with case.benched() as bench:
        suite.standard[name](bench)
        return str(bench.declined)


def clauses_of_the_service() -> list[tuple[type[Any], str]]:
    """All clauses that need `service`."""
    return [
        (suite, name) for suite in SUITES for name, test in suite.standard.items() if "-SERVICE-" in clause_of(test).id
    ]


@pytest.mark.parametrize(("suite", "name"), clauses_of_the_service())
def test_a_durable_service_passes(suite: type[Any], name: str) -> None:
    assert examine(suite, name, Service()) == ""


@pytest.mark.parametrize("name", ["test_a_kill_keeps_messages", "test_a_restart_keeps_messages"])
def test_what_does_not_survive_is_declared(name: str) -> None:
    assert examine(OfTransports, name, Service(durable=False), survives="process") == "survives"


class NeverReconnects(RemoteTransport):  # type: ignore[misc]
    caught_by = "test_an_adapter_recovers"

    def open(self) -> None:
        self.stops = self.service.stops
        super().open()

    def _check(self, *arguments: Any) -> Any:
        if self.service.stops > self.stops:
            raise Unavailable("connection lost")
        return super()._check(*arguments)


class LeaksLibraryErrors(RemoteTransport):  # type: ignore[misc]
    caught_by = "test_a_stopped_service_is_unavailable"

    def send(self, batch: Sequence[Outgoing]) -> None:
        try:
            super().send(batch)
        except Unavailable:
            raise ConnectionError("reset by peer") from None


class RejectsWhenAway(RemoteTransport):  # type: ignore[misc]
    caught_by = "test_a_blocked_receive_notices_the_end"

    def receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        found: list[Delivery] = []
        deadline = time.monotonic() + timeout
        while not found and (left := deadline - time.monotonic()) > 0:
            try:
                found = super().receive(queues, limit, min(left, 0.05))
            except Unavailable as error:
                raise Rejected("no such service") from error
        return found


class HoldsInMemory(RemoteTransport):  # type: ignore[misc]
    """Claims that messages survive a kill of a service that keeps nothing."""

    caught_by = "test_a_kill_keeps_messages"


class ForgetsLeasedMessages(RemoteTransport):  # type: ignore[misc]
    caught_by = "test_a_kill_keeps_leased_messages"

    def receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        found: list[Delivery] = super().receive(queues, limit, timeout)
        self.ack(found)
        return found


@pytest.mark.parametrize(
    "mutant", [NeverReconnects, LeaksLibraryErrors, RejectsWhenAway, HoldsInMemory, ForgetsLeasedMessages]
)
def test_a_mutant_is_caught(mutant: type[Any]) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception, KernelError, ConnectionError)):
        examine(OfTransports, mutant.caught_by, Service(durable=mutant is not HoldsInMemory), kind=mutant)


def test_without_control_nothing_is_proven() -> None:
    case = OfTransports()
    case.make = lambda namespace: MemoryTransport(Space(), FakeClock())  # type: ignore[method-assign]
    with case.benched() as bench, pytest.raises(pytest.skip.Exception, match="not proven: needs control"):
        OfTransports.standard["test_an_adapter_recovers"](bench)
