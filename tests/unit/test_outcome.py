"""Outcomes and entries as data; and exceptions that do not want to be described."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.errors import DecodeError
from kernel.outcome import (
    FINAL,
    MESSAGE_LIMIT,
    TRACEBACK_LIMIT,
    Entry,
    Error,
    State,
    decode_entry,
    describe,
    encode_entry,
    printable,
)

_TEXT = st.text()
_ERRORS = st.builds(Error, _TEXT, _TEXT, _TEXT)
_ENTRIES = st.builds(
    Entry,
    st.sampled_from(get_args(State)),
    _TEXT,
    st.binary(),
    st.none() | _ERRORS,
    st.floats(allow_nan=False),
    st.integers(0, 2**31),
    st.sampled_from([None, "failed", "unprocessable"]),
    _TEXT,
    _TEXT,
    st.floats(allow_nan=False),
)


@given(_ENTRIES)
def test_an_entry_comes_back_as_it_was(entry: Entry) -> None:
    assert decode_entry(encode_entry(entry)) == entry


@given(st.binary() | _ENTRIES.map(encode_entry).flatmap(lambda data: st.integers(0, len(data)).map(lambda n: data[:n])))
def test_any_bytes_are_an_entry_or_a_decode_error(data: bytes) -> None:
    try:
        assert isinstance(decode_entry(data), Entry)
    except DecodeError:
        pass


def test_a_damaged_entry_is_called_that() -> None:
    for data in (b"", b"\xc1", b"\x91\xa1\x80", b"\x91\xa0", b"\x91" * 5000):
        with pytest.raises(DecodeError, match=r"damaged (result|packed) record"):
            decode_entry(data)


def test_the_states_that_nothing_follows() -> None:
    assert set(get_args(State)) - FINAL == {"PENDING", "UNKNOWN", "STARTED", "RETRY", "REPLACED"}


# -- describe ----------------------------------------------------------------------------------------------


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def test_an_exception_as_data() -> None:
    error = describe(raised(ValueError("boom")))
    assert (error.type, error.message) == ("ValueError", "boom")
    assert error.traceback.startswith("Traceback")
    assert error.traceback.endswith("ValueError: boom\n")
    assert describe(DecodeError("x")).type == "kernel.errors.DecodeError"


def test_causes_and_notes_are_in_the_traceback() -> None:
    error = ValueError("second")
    error.__cause__ = KeyError("first")
    error.add_note("a note")
    assert all(part in describe(error).traceback for part in ("KeyError: 'first'", "direct cause", "a note"))


class Raises(Exception):
    def __init__(self, inner: BaseException) -> None:
        self.inner = inner

    def __str__(self) -> str:
        raise self.inner


class NoText(Exception):
    def __str__(self) -> str:
        return None  # type: ignore[return-value]  # noqa: PLE0307


class Endless(Exception):
    def __str__(self) -> str:
        return str(self)


class Sly(str):
    """Text that is none."""

    def __len__(self) -> int:
        raise ValueError("no length")

    def encode(self, *_args: Any) -> bytes:
        raise ValueError("no bytes")


class SlyText(Exception):
    def __str__(self) -> str:
        return Sly("sly")


class BadNotes(Exception):
    @property
    def __notes__(self) -> Any:  # type: ignore[override]
        raise ValueError("no notes")


class Homeless(Exception):
    pass


Homeless.__module__ = None  # type: ignore[assignment]

FIGHTERS = [
    Raises(ValueError("inner")),
    Raises(SystemExit(3)),
    Raises(KeyboardInterrupt()),
    Raises(GeneratorExit()),
    NoText(),
    Endless(),
    SlyText(),
    BadNotes("x"),
    Homeless("x"),
    ExceptionGroup("many", [Raises(ValueError("inner")), Endless()]),
    ValueError("\ud800"),
    ValueError("x" * 10**6),
    ValueError(b"\xff"),
    ValueError("a\0b"),
]


@pytest.mark.parametrize("fighter", FIGHTERS, ids=lambda fighter: type(fighter).__name__)
def test_an_exception_that_fights_back_is_described_and_can_be_stored(fighter: BaseException) -> None:
    error = describe(raised(fighter))
    entry = Entry("FAILURE", error=error)
    assert decode_entry(encode_entry(entry)) == entry
    assert error.type
    assert type(error.message) is str
    assert error.traceback
    assert len(error.message) <= MESSAGE_LIMIT + 100
    assert len(error.traceback) <= TRACEBACK_LIMIT + 100


def test_a_circle_of_causes_ends() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert "first" in describe(first).traceback


def test_a_deep_recursion_keeps_head_and_tail() -> None:
    def down(depth: int) -> None:
        if depth % 2:
            down(depth + 1)
        down(depth + 1)

    with pytest.raises(RecursionError) as caught:
        down(0)
    error = describe(caught.value)
    assert error.traceback.startswith("Traceback")
    assert "RecursionError" in error.traceback[-300:]


def test_what_is_cut_says_so_and_keeps_both_ends() -> None:
    message = describe(ValueError("<" + "x" * (MESSAGE_LIMIT + 50) + ">")).message
    assert (message[0], message[-1]) == ("<", ">")
    assert "... 52 characters left out ..." in message


@given(st.text(st.characters(codec=None), max_size=50))
def test_any_text_can_be_stored(text: str) -> None:
    shown = printable(text)
    assert shown.encode().decode() == shown
    if not any("\ud800" <= letter <= "\udfff" for letter in text):
        assert shown == text
