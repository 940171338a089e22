"""The codecs that ship with kernel."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from kernel_conformance import SerializerConformance

from kernel.serializers.json_ import JsonSerializer
from kernel.serializers.pickle_ import PickleSerializer

VALUES = [
    (1, "two"),
    {1, 2},
    frozenset("ab"),
    {1: "one", None: 0, (1, 2): []},
    {"$tuple": [1]},
    b"\x00\xff",
    Decimal("1.10"),
    UUID(int=7),
    date(2024, 2, 29),
    datetime(2024, 2, 29, 12, 30, tzinfo=UTC),
    timedelta(days=-1, microseconds=5),
]


class TestJson(SerializerConformance):
    label = "json"
    values = VALUES

    def make(self) -> JsonSerializer:
        return JsonSerializer()


class TestPickle(SerializerConformance):
    label = "pickle"
    values = [*VALUES, float("inf"), 1 + 2j, range(3)]

    def make(self) -> PickleSerializer:
        return PickleSerializer()
