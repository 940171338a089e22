"""The JSON codec: equal value, same type, or a refusal that says where."""

from __future__ import annotations

import json
import math
import timeit
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.errors import DecodeError, EncodeError
from kernel.serializers.json_ import MAX_DEPTH, JsonSerializer

codec = JsonSerializer()


def shape(value: Any) -> Any:
    """What must not change, also where == overlooks it: 1 and True, -0.0, fold, zone; sets in one order."""
    kind = type(value)
    if isinstance(value, set | frozenset):
        return kind, sorted(map(repr, map(shape, value)))
    if isinstance(value, list | tuple):
        return kind, [shape(item) for item in value]
    if isinstance(value, dict):
        return kind, [(shape(key), shape(item)) for key, item in value.items()]
    return kind, repr(value)


def same(left: Any, right: Any) -> bool:
    """Equal and of the same type at every depth."""
    return bool(left == right and shape(left) == shape(right))


zones = st.sampled_from(["Europe/Paris", "America/New_York", "Asia/Kolkata"]).map(ZoneInfo)
offsets = st.integers(-86399, 86399).map(lambda seconds: timezone(timedelta(seconds=seconds)))
moments = st.datetimes(timezones=st.none() | zones | offsets | st.just(UTC), allow_imaginary=True)
times = st.times(timezones=st.none() | offsets | zones)
hashable = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**200), 2**200)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(["$", "$tuple", "$dict", "$unknown", "$$"])
    | st.binary()
    | moments
    | st.dates()
    | times
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.uuids(),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=5,
)
values = st.recursive(
    hashable,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner)
        | st.dictionaries(st.text() | st.sampled_from(["$tuple", "$dict", "$x"]), inner, max_size=3)
        | st.dictionaries(hashable, inner, max_size=3)
        | st.sets(hashable, max_size=3)
    ),
    max_leaves=12,
)


@given(values)
@settings(max_examples=400)
def test_every_value_comes_back_equal_and_of_its_type(value: Any) -> None:
    data = codec.dumps(value)
    json.loads(data)
    assert same(codec.loads(data), value)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text().filter(lambda key: key[:1] != "$"), inner),
        max_leaves=20,
    )
)
def test_plain_data_is_plain_json(value: Any) -> None:
    assert same(json.loads(codec.dumps(value)), value)


@pytest.mark.parametrize(
    "value",
    [
        (1, 2),
        (),
        [(), [()]],
        {1: "a", None: "b", (1, 2): "c", "x": "d"},
        {1: 1, "1": 2},
        {True: "yes"},
        {"$tuple": [1]},
        {"$dict": {"$dict": 1}},
        {"$": 0},
        {"$a": 1, "$b": 2},
        [{"$kernel": "x"}],
        {1, 2},
        frozenset({(1, b"x")}),
        b"",
        -0.0,
        2**64,
        -(2**63) - 1,
        Decimal("1.10"),
        Decimal("-0"),
        Decimal("Infinity"),
        Decimal("1E+1000"),
        datetime(2024, 10, 27, 2, 30, 0, 1, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
        datetime(2024, 10, 27, 2, 30, fold=1),
        datetime(2024, 10, 27, tzinfo=timezone(timedelta(hours=-1, seconds=3)), fold=1),
        datetime.max,
        time(1, 2, 3, 4, tzinfo=UTC, fold=1),
        date.min,
        timedelta(-1, 5, 999999),
        UUID(int=7),
    ],
    ids=repr,
)
def test_known_corner(value: Any) -> None:
    for wrapped in (value, [[value], {}], {"a": [value]}):
        assert same(codec.loads(codec.dumps(wrapped)), wrapped)


class Colour(Enum):
    RED = 1


class Level(IntEnum):
    LOW = 1


class Word(StrEnum):
    A = "a"


class Name(str):
    __slots__ = ()


@dataclass
class Point:
    x: int


class Packed(msgspec.Struct):
    x: int


Pair = namedtuple("Pair", "a b")


class Zone(tzinfo):
    """A time zone of a user's own."""

    def utcoffset(self, _: datetime | None) -> timedelta:
        return timedelta(hours=1)

    def dst(self, _: datetime | None) -> None:
        return None

    def tzname(self, _: datetime | None) -> str:
        return "ours"


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        -math.inf,
        "\ud800",
        Colour.RED,
        Level.LOW,
        Word.A,
        Name("x"),
        Point(1),
        Packed(1),
        Pair(1, 2),
        OrderedDict(a=1),
        bytearray(b"x"),
        Decimal("nan"),
        1j,
        object(),
        datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=1), "named")),
        datetime(2024, 1, 1, tzinfo=timezone(timedelta(microseconds=1))),
        datetime(2024, 1, 1, tzinfo=Zone()),
        10**5000,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_would_change_is_refused_with_its_path(value: Any) -> None:
    with pytest.raises(EncodeError, match="value as JSON"):
        codec.dumps(value)
    with pytest.raises(EncodeError, match=r"value\[0\]\[1\]\['when'\] as JSON"):
        codec.dumps([[0, {"when": value}], {}])
    with pytest.raises(EncodeError, match=r"value\['k'\]\[0\] as JSON"):
        codec.dumps({"k": (value,)})


@pytest.mark.parametrize("key", ["\ud800", Name("x"), Word.A, Level.LOW, math.nan], ids=repr)
def test_keys_are_held_to_the_same_rules(key: Any) -> None:
    with pytest.raises(EncodeError):
        codec.dumps([[], {key: 1}])


@pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: {"k": v}, lambda v: (v,), lambda v: frozenset({v})])
def test_depth_is_limited_on_the_way_out(wrap: Any) -> None:
    value: Any = ()
    for _ in range(MAX_DEPTH - 1):
        value = wrap(value)
    if isinstance(value, frozenset):
        assert codec.loads(codec.dumps(value)) == value
    else:
        assert same(codec.loads(codec.dumps(value)), value)
    for _ in range(3):
        value = wrap(value)
    with pytest.raises(EncodeError, match="nested deeper"):
        codec.dumps(value)


def test_a_value_that_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(EncodeError, match="contains itself"):
        codec.dumps(loop)


@given(st.binary() | st.text().map(str.encode) | st.sampled_from([b"[" * 10**6, b'{"$tuple":[' * 10**5, b"1" * 10**5]))
def test_any_bytes_end_as_a_value_or_a_decode_error(data: bytes) -> None:
    try:
        codec.loads(data)
    except DecodeError:
        pass


tag_names = st.sampled_from(
    ["tuple", "set", "frozenset", "map", "dict", "bytes", "decimal", "uuid", "date", "timedelta", "datetime", "time"]
).map("${}".format)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["Europe", "../x", "/etc/passwd", "sNaN"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | tag_names, inner, max_size=2),
)


@given(tag_names, json_values)
@settings(max_examples=400)
def test_damaged_tags_are_decode_errors(name: str, content: Any) -> None:
    try:
        codec.loads(json.dumps([{name: content}]).encode())
    except DecodeError:
        pass


@pytest.mark.parametrize(
    "data",
    [
        b'{"$nope": 1}',
        b'{"\\u0024nope": 1}',
        b'[{"$tuple": 1}]',
        b'{"$set": [[]]}',
        b'{"$map": [[[], 1]]}',
        b'{"$decimal": "NaN"}',
        b'{"$decimal": "1e99999999999999999999"}',
        b'{"$bytes": "?"}',
        b'{"$datetime": ["2024-01-01", "Europe", 0]}',
        b'{"$datetime": ["2024-01-01", "../../etc/passwd", 0]}',
        b'{"$datetime": ["2024-01-01", "Nowhere/Land", 0]}',
        b'{"$datetime": ["2024-01-01", null, 7]}',
        b'{"$timedelta": [999999999999, 0, 0]}',
        b'{"$timedelta": [true, 0, 0]}',
        b"NaN",
        b"",
        b"1 2",
        b'"\\ud800"',
    ],
)
def test_these_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        codec.loads(data)


def test_an_escaped_tag_of_another_writer_is_understood() -> None:
    assert codec.loads(b'{"\\u0024tuple": [1]}') == (1,)


def test_the_common_case_stays_cheap() -> None:
    # The budget is 1 us; ten times that still catches a walk that makes a copy, on a machine that is busy.
    call = [[1, 2], {}]
    encode = msgspec.json.Encoder().encode
    ours = min(timeit.repeat(lambda: codec.dumps(call), number=2000, repeat=7)) / 2000
    bare = min(timeit.repeat(lambda: encode(call), number=2000, repeat=7)) / 2000
    assert ours - bare < 10e-6


def test_it_names_itself() -> None:
    assert (codec.name, codec.content_type, codec.safe) == ("json", "application/json", True)
