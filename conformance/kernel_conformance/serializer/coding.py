"""Encoding and decoding: unchanged, or refused."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernel.errors import DecodeError, EncodeError
from kernel_conformance.bench import Call
from kernel_conformance.clause import Ability, claims
from kernel_conformance.serializer.bench import SerializerBench

_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=4)
        | st.tuples(inner, inner)
    ),
    max_leaves=12,
)
#: Fixed, so that a run of the suite is repeatable.
_RUN = settings(
    max_examples=150,
    deadline=None,
    database=None,
    derandomize=True,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)

#: What every codec carries: the arguments of ordinary tasks.
PLAIN: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    2**53 + 1,
    1.5,
    -0.0,
    1e300,
    "",
    "größe 列 \U0001f600",
    '\x00\n"\\',
    [],
    {},
    [[1, "two", None], {"k": [True, {"nested": {}}]}],
]


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal and of the same types, all the way down; -0.0 is not 0.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return len(one) == len(other) and all(
            same(k1, k2) and same(v1, v2) for (k1, v1), (k2, v2) in zip(one.items(), other.items(), strict=True)
        )
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other) and (not isinstance(one, float) or repr(one) == repr(other))


def _unsafe(bench: SerializerBench) -> None:
    assert bench.first.safe is False


SAFE: Ability[SerializerBench] = Ability("safe", lambda f: f.safe, _unsafe)


def test_names_are_fit_to_travel(bench: SerializerBench) -> None:
    """Z-NAME-1: `name` is short lower-case text, `content_type` a MIME type, `safe` a truth value.

    Fix: choose a name of up to 16 letters, digits, dots and hyphens; it is in every message.
    """
    name, content_type = bench.first.name, bench.first.content_type
    assert 1 <= len(name) <= 16
    assert name == name.lower()
    assert name.replace("-", "").replace(".", "").replace("_", "").isalnum()
    assert content_type.count("/") == 1
    assert isinstance(bench.first.safe, bool)


def test_plain_data_comes_back(bench: SerializerBench) -> None:
    """Z-ROUND-1: plain data comes back equal and of the same types.

    Fix: carry None, booleans, integers, floats, text, lists and dictionaries with text keys.
    """
    for value in PLAIN:
        data = bench.first.dumps(value)
        assert type(data) is bytes
        assert same(bench.first.loads(data), value), f"{value!r} came back as {bench.first.loads(data)!r}"


def test_promised_values_come_back(bench: SerializerBench) -> None:
    """Z-ROUND-2: every value that the author lists in `values` comes back equal and of the same type.

    Fix: add a tag for the type, or do not promise it.
    """
    for value in bench.values:
        assert same(bench.first.loads(bench.first.dumps(value)), value), f"{value!r} was changed"


def test_nothing_is_changed_silently(bench: SerializerBench) -> None:
    """Z-ROUND-3: whatever value is given, it comes back the same, or `dumps` raises `EncodeError`.

    Fix: refuse what the format would change: tuples into lists, integer keys into text, NaN into null.
    """

    @_RUN
    @given(_VALUES)
    def check(value: Any) -> None:
        try:
            data = bench.first.dumps(value)
        except EncodeError:
            return
        back = bench.first.loads(data)
        assert same(back, value) or value != value or _holds_nan(value), f"{value!r} came back as {back!r}"

    check()


def test_strangers_are_refused(bench: SerializerBench) -> None:
    """Z-ROUND-4: a value of a type that the codec does not know raises `EncodeError`, never another error.

    Fix: wrap what the library raises; never fall back to `str` or `repr`.
    """

    class Stranger:
        def __reduce__(self) -> Any:
            raise TypeError("not for transport")

    endless: list[Any] = []
    endless.append(endless)
    lock = Call(lambda: None)
    for value in (Stranger(), {"deep": [Stranger()]}, lock, (number for number in range(3))):
        with pytest.raises(EncodeError):
            bench.first.dumps(value)
    try:
        back = bench.first.loads(bench.first.dumps(endless))
    except EncodeError:
        return
    assert back[0] is back, "a list that holds itself was changed"


@claims(SAFE)
def test_any_bytes_are_a_value_or_an_error(bench: SerializerBench) -> None:
    """Z-DECODE-1: any bytes whatsoever end as a value or as `DecodeError`.

    Fix: wrap everything that the library can raise, the end of the stack included.
    """

    @_RUN
    @given(st.binary(max_size=200))
    def check(data: bytes) -> None:
        _total(bench.first.loads, data)

    check()
    for data in (b"[" * 100_000, b'{"a":' * 100_000, b"\xff" * 1000, b"1" * 10_000, b"\x93" * 50_000):
        _total(bench.first.loads, data)


@claims(SAFE)
def test_damaged_bytes_are_a_value_or_an_error(bench: SerializerBench) -> None:
    """Z-DECODE-2: bytes of its own making, damaged anywhere, end as a value or as `DecodeError`.

    Fix: check tags and lengths before using them.
    """
    rng = random.Random(7)
    for value in [*PLAIN, *bench.values]:
        data = bytearray(bench.first.dumps(value))
        for _ in range(20):
            damaged = bytearray(data)
            if damaged:
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
            _total(bench.first.loads, bytes(damaged[: rng.randrange(len(damaged) + 1)] or damaged))


def test_empty_bytes_are_an_error(bench: SerializerBench) -> None:
    """Z-DECODE-3: no bytes at all are a `DecodeError`.

    Fix: do not take them for None.
    """
    with pytest.raises(DecodeError):
        bench.first.loads(b"")


def test_equal_values_have_equal_bytes(bench: SerializerBench) -> None:
    """Z-STABLE-1: encoding the same value twice gives the same bytes.

    Fix: keep the order of dictionaries; add no time, counter or random salt.
    """
    for value in PLAIN:
        assert bench.first.dumps(value) == bench.first.dumps(value)


def test_threads_do_not_meet(bench: SerializerBench) -> None:
    """Z-THREAD-1: a serializer may be called by any number of threads at once.

    Fix: keep no buffer in the object.
    """
    value = {"k": list(range(50)), "t": "x" * 100}

    def run() -> bool:
        return all(same(bench.first.loads(bench.first.dumps(value)), value) for _ in range(100))

    assert all(call.result(30.0) for call in [Call(run) for _ in range(4)])


def _holds_nan(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_nan, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(_holds_nan, value))
    return isinstance(value, float) and value != value


def _total(loads: Callable[[bytes], Any], data: bytes) -> None:
    try:
        loads(data)
    except DecodeError:
        pass
    except (Exception, RecursionError) as error:
        pytest.fail(f"{data[:40]!r}... raised {error!r} instead of DecodeError")
