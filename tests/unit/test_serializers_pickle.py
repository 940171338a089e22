"""The pickle codec."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.errors import DecodeError, EncodeError
from kernel.serializers.pickle_ import PickleSerializer

codec = PickleSerializer()


class Stubborn:
    def __reduce__(self) -> Any:
        raise RuntimeError("no")


class Explosive:
    def __reduce__(self) -> Any:
        return (int, ("not a number",))


def test_values_come_back() -> None:
    value = [[(1, 2), {3}], {"at": datetime(2024, 1, 1, tzinfo=UTC)}]
    data = codec.dumps(value)
    assert codec.loads(data) == value
    assert data[:2] == b"\x80\x05"


@pytest.mark.parametrize("value", [lambda: None, Stubborn(), (item for item in [1])])
def test_what_cannot_be_pickled_is_an_encode_error(value: Any) -> None:
    with pytest.raises(EncodeError, match="cannot pickle"):
        codec.dumps(value)


def test_an_error_inside_of_a_class_is_a_decode_error() -> None:
    with pytest.raises(DecodeError, match="invalid literal"):
        codec.loads(pickle.dumps(Explosive()))


@given(st.binary(max_size=64).filter(lambda data: not data.startswith(b"c")))
def test_damaged_bytes_are_decode_errors(data: bytes) -> None:
    # Truncation and noise; bytes chosen by an attacker run code, which is why the codec is not safe.
    with pytest.raises(DecodeError):
        codec.loads(codec.dumps([1, "text"])[:-1] if not data else b"\xff" + data)


def test_it_is_not_safe() -> None:
    assert (codec.name, codec.safe) == ("pickle", False)
