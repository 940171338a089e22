"""The bench: what a test has in hands. Adapters of one namespace, time, patience, and calls in other threads."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, Protocol, TypeVar

import pytest

from kernel.clock import FakeClock
from kernel.errors import PortError
from kernel.native import Thread, sleep
from kernel_conformance.service import ServiceControl

T = TypeVar("T")


class Adapter(Protocol):
    """What all adapters of a service have in common."""

    @property
    def features(self) -> Any:
        """Abilities; final once `open` has returned."""

    def open(self) -> None:
        """Connect."""

    def close(self) -> None:
        """Let go."""


P = TypeVar("P", bound=Adapter)


class Testbed(Protocol):
    """What the machinery of the suite asks of every bench."""

    #: Name of the ability whose refusal was proven instead of the clause; "" when the clause itself ran.
    declined: str

    @property
    def features(self) -> Any:
        """Claims that select the tests."""

    def facts(self) -> dict[str, Any]:
        """What a report says of the adapter."""

    def end(self) -> None:
        """Take it down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """Durations of the tests in seconds, all of them set by class attributes of the author's test class."""

    #: Longest wait for something that must come.
    patience: float
    #: How long a test looks for something that must not come.
    quiet_for: float
    #: Allowed lateness of a timer beyond what the contract says, for a busy machine.
    slack: float
    #: Lease of the lease tests.
    lease_for: float
    #: Taken instead of real time where the author's adapter reads it.
    clock: FakeClock | None


class Call(Generic[T]):
    """A call in a native thread, so that a test can go on, and never hang, while an adapter blocks."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._values: list[T] = []
        self._errors: list[BaseException] = []
        self.lasted = 0.0
        self._thread = Thread(self._run, "conformance", self._errors.append)
        self._thread.start()

    def _run(self) -> None:
        started_at = time.monotonic()
        try:
            self._values.append(self._function())
        finally:
            self.lasted = time.monotonic() - started_at

    def ended(self, timeout: float = 0.0) -> bool:
        """Whether it has ended, waiting up to `timeout` seconds."""
        return self._thread.join(timeout)

    def result(self, timeout: float) -> T:
        """Its value, or its error raised; fails the test when it does not end in time."""
        if not self._thread.join(timeout):
            pytest.fail(f"a call did not end within {timeout} s")
        if self._errors:
            raise self._errors[0]
        return self._values[0]


def facts_of(adapter: object, features: Any) -> dict[str, Any]:
    """The class of an adapter and its claims, as plain data. What only emulations set is none of them."""
    kind = type(adapter)
    claims = {field: getattr(features, field) for field in getattr(features, "__dataclass_fields__", ())}
    claims.pop("borrowed", None)
    return {"adapter": f"{kind.__module__}.{kind.__qualname__}", "features": claims}


def not_proven(why: str) -> NoReturn:
    """End the test without a verdict: neither passed nor failed."""
    pytest.skip(f"not proven: {why}")


def error_of(function: Callable[[], object]) -> PortError | None:
    """The error of the port that a call raises, None when it raises none."""
    try:
        function()
    except PortError as error:
        return error
    return None


class Bench(Generic[P]):
    """Everything of one test: a fresh namespace, and the adapters opened on it."""

    def __init__(self, make: Callable[[], P], namespace: str, tuning: Tuning, service: ServiceControl | None) -> None:
        self._make = make
        self._opened: list[P] = []
        self.namespace = namespace
        self.tuning = tuning
        self._service = service
        #: Name of the ability whose refusal was proven instead of the clause; "" when the clause itself ran.
        self.declined = ""
        self.first = self.open()

    @property
    def features(self) -> Any:
        """The claims of the first adapter."""
        return self.first.features

    def make(self) -> P:
        """Another adapter of this namespace, not opened; closed at the end of the test."""
        adapter = self._make()
        self._opened.append(adapter)
        return adapter

    def open(self) -> P:
        """Another adapter of this namespace, opened: a second worker."""
        adapter = self.make()
        adapter.open()
        return adapter

    def end(self) -> None:
        """Close what was opened. A service that a test has stopped is no error here."""
        for adapter in self._opened:
            with suppress(PortError):
                adapter.close()

    def facts(self) -> dict[str, Any]:
        """What a report says of the adapter: its class and its claims."""
        return facts_of(self.first, self.features)

    @property
    def service(self) -> ServiceControl:
        """Control of the service; the clause is not proven without."""
        return self._service or not_proven("needs control of the service")

    def now(self) -> float:
        """Wall clock, of the fake clock where there is one."""
        return self.tuning.clock.now() if self.tuning.clock else time.time()

    def pass_time(self, seconds: float) -> None:
        """Let time go by: at once with a fake clock."""
        if self.tuning.clock:
            self.tuning.clock.advance(seconds)
        else:
            sleep(seconds)

    def call(self, function: Callable[[], T]) -> Call[T]:
        """Start a call in another thread."""
        return Call(function)

    def blocked(self, function: Callable[[], T]) -> Call[T]:
        """Start a call that is expected to block, and give it the time to reach that point."""
        call = Call(function)
        assert not call.ended(0.02), f"the call was expected to block and returned {call.result(0.0)!r}"
        return call

    def all(self, calls: list[Call[T]]) -> list[T]:
        """The results of several calls."""
        return [call.result(self.tuning.patience) for call in calls]
