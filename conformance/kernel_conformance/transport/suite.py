"""`TransportConformance`: the definition of the Transport port."""

from __future__ import annotations

from typing import Any, cast

from kernel.ports import Transport
from kernel_conformance.bench import Tuning
from kernel_conformance.suite import Suite, assembled
from kernel_conformance.transport import (
    broadcasting,
    committing,
    exchanging,
    inspecting,
    leasing,
    lifecycle,
    ordering,
    receiving,
    sending,
    serving,
    settling,
    timing,
    waking,
)
from kernel_conformance.transport.bench import TransportBench


@assembled(
    "transport",
    lifecycle,
    sending,
    receiving,
    settling,
    leasing,
    timing,
    ordering,
    exchanging,
    committing,
    broadcasting,
    inspecting,
    waking,
    serving,
)
class TransportConformance(Suite[TransportBench]):
    """Subclass it as `Test...`, define `make(namespace)`, and run pytest."""

    def make(self, namespace: str) -> Transport:
        """An adapter that is not opened. Equal namespaces share all state, different ones none."""
        raise NotImplementedError(f"{type(self).__name__} must define make(namespace)")

    def new_bench(self, namespace: str, tuning: Tuning) -> TransportBench:
        """A bench of transports."""
        return TransportBench(lambda: cast(Any, self.make(namespace)), namespace, tuning, self.service)
