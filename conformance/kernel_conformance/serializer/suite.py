"""`SerializerConformance`: the definition of the Serializer port."""

from __future__ import annotations

from typing import Any, ClassVar

from kernel.ports import Serializer
from kernel_conformance.bench import Tuning
from kernel_conformance.serializer import coding
from kernel_conformance.serializer.bench import SerializerBench
from kernel_conformance.suite import Suite, assembled


@assembled("serializer", coding)
class SerializerConformance(Suite[SerializerBench]):
    """Subclass it as `Test...`, define `make()`, and run pytest."""

    #: Further values that the codec carries unchanged: every type that its documentation promises.
    values: ClassVar[list[Any]] = []

    def make(self) -> Serializer:
        """The serializer."""
        raise NotImplementedError(f"{type(self).__name__} must define make()")

    def new_bench(self, namespace: str, tuning: Tuning) -> SerializerBench:
        """A bench of one serializer."""
        return SerializerBench(self.make(), list(self.values))
