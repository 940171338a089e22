"""`CoordinationConformance`: the definition of the Coordination port."""

from __future__ import annotations

from typing import Any, cast

from kernel.ports import Coordination
from kernel_conformance.bench import Tuning
from kernel_conformance.coordination import facts, shares
from kernel_conformance.coordination.bench import CoordinationBench
from kernel_conformance.suite import Suite, assembled


@assembled("coordination", facts, shares)
class CoordinationConformance(Suite[CoordinationBench]):
    """Subclass it as `Test...`, define `make(namespace)`, and run pytest."""

    def make(self, namespace: str) -> Coordination:
        """An adapter that is not opened. Equal namespaces share all state, different ones none."""
        raise NotImplementedError(f"{type(self).__name__} must define make(namespace)")

    def new_bench(self, namespace: str, tuning: Tuning) -> CoordinationBench:
        """A bench of coordination services."""
        return CoordinationBench(lambda: cast(Any, self.make(namespace)), namespace, tuning, self.service)
