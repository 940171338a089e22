"""The bench of the serializer tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kernel.ports import Serializer
from kernel_conformance.bench import facts_of


@dataclass(frozen=True, slots=True)
class SerializerFeatures:
    """What a serializer says of itself, in the form of a features value."""

    name: str
    content_type: str
    safe: bool


class SerializerBench:
    """One serializer and the values that its author promises to carry beyond plain data."""

    def __init__(self, serializer: Serializer, values: list[Any]) -> None:
        self.first = serializer
        self.values = values
        self.declined = ""

    @property
    def features(self) -> SerializerFeatures:
        """The claims of the serializer."""
        return SerializerFeatures(self.first.name, self.first.content_type, self.first.safe)

    def facts(self) -> dict[str, Any]:
        """What a report says of it."""
        return facts_of(self.first, self.features)

    def end(self) -> None:
        """Nothing to take down: a serializer has no state."""
