"""The published suite that defines each port of kernel.

An author of an adapter subclasses one class and gives one method::

    from kernel_conformance import TransportConformance

    class TestAcme(TransportConformance):
        def make(self, namespace: str) -> Transport:
            return AcmeTransport(...)

`docs/write-an-adapter.md` has the whole way, from an empty directory to a passing adapter.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kernel_conformance.coordination.suite import CoordinationConformance
    from kernel_conformance.pool.suite import PoolConformance
    from kernel_conformance.results.suite import ResultStoreConformance
    from kernel_conformance.schedule.suite import ScheduleStoreConformance
    from kernel_conformance.serializer.suite import SerializerConformance
    from kernel_conformance.service import ServiceControl
    from kernel_conformance.transport.suite import TransportConformance

#: The release of the contracts that this suite attacks; it rises when a clause is added or becomes stricter.
SPEC = "1"

_HOMES = {
    "CoordinationConformance": "kernel_conformance.coordination.suite",
    "PoolConformance": "kernel_conformance.pool.suite",
    "ResultStoreConformance": "kernel_conformance.results.suite",
    "ScheduleStoreConformance": "kernel_conformance.schedule.suite",
    "SerializerConformance": "kernel_conformance.serializer.suite",
    "ServiceControl": "kernel_conformance.service",
    "TransportConformance": "kernel_conformance.transport.suite",
}

__all__ = [
    "SPEC",
    "CoordinationConformance",
    "PoolConformance",
    "ResultStoreConformance",
    "ScheduleStoreConformance",
    "SerializerConformance",
    "ServiceControl",
    "TransportConformance",
]


# The plugin is imported at the start of every pytest run of an environment that has this package, and with it
# this file. The suites are therefore loaded at first use; importing them here costs those runs 30 ms for nothing.
def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
