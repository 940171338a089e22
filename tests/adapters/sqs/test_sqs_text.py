"""Names and bodies: one to one, and total."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernel_sqs import body, names, sending

from kernel.errors import Rejected


def plain(name: str) -> str:
    """What `names.encoded` was given: proof that each name can be read back."""
    codes = {"-": lambda _: ".", "_-": lambda _: "-", "__": lambda _: "_"}
    pattern = r"-|_-|__|_x([0-9a-f]+)_"
    return re.sub(pattern, lambda m: codes[m[0]](m) if m[0] in codes else bytes.fromhex(m[1]).decode(), name)


@given(st.text(st.characters(exclude_categories=["Cs"])) | st.text("a._-x61", max_size=8))
def test_a_name_can_be_read_back(queue: str) -> None:
    name = names.encoded(queue)
    assert re.fullmatch(r"[A-Za-z0-9_-]*", name)
    assert plain(name) == queue


def test_common_names_are_readable() -> None:
    assert names.full("app-", "mail.dead", fifo=False) == "app-mail-dead"
    assert names.full("", "mail.p1", fifo=True) == "mail-p1.fifo"
    assert names.full("", "send_mail", fifo=False) == "send__mail"


@pytest.mark.parametrize("queue", ["", "q" * 81, "\ud800"])
def test_a_name_that_cannot_be_is_rejected(queue: str) -> None:
    with pytest.raises(Rejected):
        names.full("", queue, fifo=False)


def test_the_dead_letter_queue_is_the_kernels() -> None:
    assert names.dead_of("work") == names.dead_of("work.p3") == "work.dead"
    assert names.dead_of("work.dead") == names.dead_of("work.dead.p1") == ""


@given(st.binary(max_size=300))
def test_a_payload_comes_back(payload: bytes) -> None:
    text = body.encode(payload)
    assert text
    assert text.isascii()
    assert body.decode(text) == payload


@given(st.text(max_size=100))
def test_any_body_is_a_payload(text: str) -> None:
    assert isinstance(body.decode(text), bytes)


def test_the_largest_payload_fits_exactly() -> None:
    for size in (1024, 262_144, 1_048_576):
        assert len(body.encode(bytes(body.largest(size)))) <= size < len(body.encode(bytes(body.largest(size) + 1)))


@given(st.text(max_size=200))
def test_any_key_is_a_token(key: str) -> None:
    token = sending.token(key)
    assert re.fullmatch(r"[!-~]{1,128}", token)
    assert (sending.token(key) == token) is bool(key), "equal keys are equal, no key is equal to nothing"


def test_a_simple_key_is_its_own_token() -> None:
    assert sending.token("customer-7") == "customer-7"
    assert sending.token("~x") != "~x", "what is made here begins with ~"
