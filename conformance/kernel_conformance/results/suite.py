"""`ResultStoreConformance`: the definition of the ResultStore port."""

from __future__ import annotations

from typing import Any, cast

from kernel.ports import ResultStore
from kernel_conformance.bench import Tuning
from kernel_conformance.results import lifecycle, ranking, waiting
from kernel_conformance.results.bench import StoreBench
from kernel_conformance.suite import Suite, assembled


@assembled("results", lifecycle, ranking, waiting)
class ResultStoreConformance(Suite[StoreBench]):
    """Subclass it as `Test...`, define `make(namespace)`, and run pytest."""

    def make(self, namespace: str) -> ResultStore:
        """An adapter that is not opened. Equal namespaces share all state, different ones none."""
        raise NotImplementedError(f"{type(self).__name__} must define make(namespace)")

    def new_bench(self, namespace: str, tuning: Tuning) -> StoreBench:
        """A bench of result stores."""
        return StoreBench(lambda: cast(Any, self.make(namespace)), namespace, tuning, self.service)
