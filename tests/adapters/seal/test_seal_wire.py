"""The page about the wire is true of sealed frames."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernel_seal import Ring
from kernel_seal.kinds import KINDS, NONCE, Aes256Gcm

from kernel.clock import FakeClock
from kernel.envelope import LATEST, Sealed, bound_to, decode, decode_sealed, encode_sealed
from kernel.errors import DecodeError, SealError
from kernel.sealing.sealing import QUEUE, RESULT, Sealing

PAGE = (Path(__file__).parents[3] / "docs" / "wire.md").read_text("utf-8")
VECTORS: list[dict[str, Any]] = json.loads(re.findall(r"```json sealed\n(.*?)```", PAGE, re.DOTALL)[0])
named = pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
RING = Ring("hmac", {"k1": ("hmac", KINDS["hmac"](bytes(32)))}, "here")


def context(vector: dict[str, Any]) -> bytes:
    sealed = Sealed(vector["key"], vector["sent_at"], vector["eta"], b"")
    return bound_to(vector["purpose"], vector["place"], sealed)


@named
def test_a_writer_produces_the_bytes_of_the_page(vector: dict[str, Any]) -> None:
    key = KINDS[vector["kind"]](bytes(range(32)))
    inside, bound = bytes.fromhex(vector["inside"]), context(vector)
    assert bound.hex() == vector["context"]
    if isinstance(key, Aes256Gcm):
        nonce = bytes.fromhex(vector["nonce"])
        assert len(nonce) == NONCE
        box = nonce + key.encrypt(inside, bound, nonce)
    else:
        box = key.seal(inside, bound)
    assert encode_sealed(Sealed(vector["key"], vector["sent_at"], vector["eta"], box)).hex() == vector["hex"]


@named
def test_a_reader_understands_the_bytes_of_the_page(vector: dict[str, Any]) -> None:
    scheme = vector["kind"]
    ring = Ring(scheme, {vector["key"]: (scheme, KINDS[scheme](bytes(range(32))))}, "here")
    sealing = Sealing(ring, "refuse", FakeClock())
    opened, due_at = sealing.open(bytes.fromhex(vector["hex"]), vector["purpose"], vector["place"])
    assert (opened.hex(), due_at) == (vector["inside"], max(vector["sent_at"], vector["eta"]))


@given(st.binary(max_size=100), st.text(max_size=20), st.floats(0.0, LATEST))
def test_what_is_sealed_opens_at_its_own_place_only(data: bytes, place: str, eta: float) -> None:
    sealing = Sealing(RING, "refuse", FakeClock())
    sealed = sealing.seal(data, QUEUE, place, eta)
    assert sealing.open(sealed, QUEUE, place) == (data, max(eta, 1_000_000_000.0))
    assert len(sealed) <= len(data) + sealing.overhead
    for purpose, other in ((QUEUE, f"{place}."), (RESULT, place)):
        with pytest.raises(SealError, match="altered, or sealed for another place"):
            sealing.open(sealed, purpose, other)


def test_the_times_are_sealed_too() -> None:
    sealing = Sealing(RING, "refuse", FakeClock())
    read = decode_sealed(sealing.seal(b"x", QUEUE, "mail", 1_000_000_060.0))
    assert read is not None
    for forged in (Sealed("k1", read.sent_at + 1, read.eta, read.box), Sealed("k1", read.sent_at, 2e9, read.box)):
        with pytest.raises(SealError):
            sealing.open(encode_sealed(forged), QUEUE, "mail")


def test_without_a_seal_it_is_said_which_setting_is_missing() -> None:
    sealed = Sealing(RING, "refuse", FakeClock()).seal(b"x", QUEUE, "mail")
    with pytest.raises(DecodeError, match=r"sealed with the key 'k1', and no seal is configured here: set seal="):
        decode(sealed)


@given(st.binary(max_size=200))
def test_any_bytes_that_claim_to_be_sealed_are_refused(tail: bytes) -> None:
    sealing = Sealing(RING, "accept", FakeClock())
    for read in (decode, lambda data: sealing.open(data, QUEUE, "mail")):
        with pytest.raises(SealError):
            read(b"\xe0" + tail)
