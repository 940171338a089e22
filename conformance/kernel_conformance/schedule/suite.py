"""`ScheduleStoreConformance`: the definition of the ScheduleStore port."""

from __future__ import annotations

from typing import Any, cast

from kernel.ports import ScheduleStore
from kernel_conformance.bench import Tuning
from kernel_conformance.schedule import parking
from kernel_conformance.schedule.bench import ScheduleBench
from kernel_conformance.suite import Suite, assembled


@assembled("schedule", parking)
class ScheduleStoreConformance(Suite[ScheduleBench]):
    """Subclass it as `Test...`, define `make(namespace)`, and run pytest."""

    def make(self, namespace: str) -> ScheduleStore:
        """An adapter that is not opened. Equal namespaces share all state, different ones none."""
        raise NotImplementedError(f"{type(self).__name__} must define make(namespace)")

    def new_bench(self, namespace: str, tuning: Tuning) -> ScheduleBench:
        """A bench of schedule stores."""
        return ScheduleBench(lambda: cast(Any, self.make(namespace)), namespace, tuning, self.service)
