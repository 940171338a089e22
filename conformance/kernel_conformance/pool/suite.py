"""`PoolConformance`: the definition of the Pool port."""

from __future__ import annotations

import time
from collections.abc import Callable

from kernel.ports import Pool
from kernel_conformance.bench import Tuning
from kernel_conformance.pool import ending, running
from kernel_conformance.pool.bench import PoolBench
from kernel_conformance.suite import Suite, assembled


@assembled("pool", running, ending)
class PoolConformance(Suite[PoolBench]):
    """Subclass it as `Test...`, define `make(slots)`, and run pytest on the main thread."""

    #: How a job of this pool sleeps: the green form in a pool of greenlets.
    sleep: Callable[[float], None] = staticmethod(time.sleep)

    def make(self, slots: int) -> Pool:
        """A pool, not started, of that many slots (a pool that has fewer by its nature says so in `slots`)."""
        raise NotImplementedError(f"{type(self).__name__} must define make(slots)")

    def new_bench(self, namespace: str, tuning: Tuning) -> PoolBench:
        """A bench of pools."""
        return PoolBench(self.make, tuning, self.sleep)
