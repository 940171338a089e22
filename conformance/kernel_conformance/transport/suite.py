"""`TransportConformance`: the definition of the Transport port."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kernel_conformance.bench import Tuning
from kernel_conformance.suite import Suite, assembled
from kernel_conformance.transport import (
    broadcasting,
    committing,
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
    committing,
    broadcasting,
    inspecting,
    waking,
    serving,
)
class TransportConformance(Suite[TransportBench]):
    """Subclass it as `Test...`, define `make(namespace)`, and run pytest."""

    def new_bench(self, make: Callable[[], Any], namespace: str, tuning: Tuning) -> TransportBench:
        """A bench of transports."""
        return TransportBench(make, namespace, tuning, self.service)
