"""Keys: what they make of a frame, where they are read from, and that nothing shows them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from adapters.seal.keyrings import KINDS, inline, line, text
from hypothesis import given
from hypothesis import strategies as st
from kernel_seal import Ring
from kernel_seal.kinds import KINDS as MAKERS
from kernel_seal.kinds import Aes256Gcm, Ed25519, Ed25519Public, Forged

from kernel import discovery
from kernel.errors import ConfigError, SealError

ROOT = Path(__file__).parents[3]
FRAME, CONTEXT = b"a frame that travels", b"where it belongs"


def printed(*words: str) -> str:
    """What the program that makes keys prints."""
    given = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "adapters")))}
    command = [sys.executable, "-m", "kernel_seal", *words]
    return subprocess.run(command, env=given, capture_output=True, text=True, check=True, timeout=30).stdout


# -- what a key does ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("byte", "context", "expected"),
    [
        (1, b"", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"),
        (3, b"c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"),
    ],
)
def test_the_cipher_is_the_one_of_its_specification(byte: int, context: bytes, expected: str) -> None:
    """The vectors of the C2SP specification; the two keys take both branches of the doubling."""
    key = Aes256Gcm(bytes((byte,)) * 32)
    assert key.encrypt(b"XAES-256-GCM", context, b"ABCDEFGHIJKLMNOPQRSTUVWX").hex() == expected


def test_the_signature_is_the_one_of_rfc_8032() -> None:
    """Test 2 of section 7.1."""
    key = Ed25519(bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"))
    signature = (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    assert key.seal(b"\x72", b"").hex() == signature + "72"


@pytest.mark.parametrize("kind", KINDS)
def test_every_bit_counts(kind: str) -> None:
    key = MAKERS[kind](bytes(range(32)))
    box = key.seal(FRAME, CONTEXT)
    assert key.open(box, CONTEXT) == FRAME
    assert len(box) == len(FRAME) + key.overhead
    changed = [box[:at] + bytes((box[at] ^ 1 << at % 8,)) + box[at + 1 :] for at in range(len(box))]
    for wrong in [*changed, box[:-1], box + b"x", b"", FRAME]:
        with pytest.raises(Forged):
            key.open(wrong, CONTEXT)
    with pytest.raises(Forged):
        key.open(box, CONTEXT + b"!")
    with pytest.raises(Forged):
        MAKERS[kind](bytes(32)).open(box, CONTEXT)


@pytest.mark.parametrize("kind", MAKERS)
@given(box=st.binary(max_size=300), context=st.binary(max_size=50))
def test_any_bytes_are_refused_in_the_same_way(kind: str, box: bytes, context: bytes) -> None:
    material = Ed25519(bytes(range(32))).public if kind.endswith("public") else bytes(range(32))
    with pytest.raises(Forged):
        MAKERS[kind](material).open(box, context)


def test_what_is_encrypted_shows_nothing_of_itself() -> None:
    key = MAKERS["aes"](bytes(range(32)))
    first, second = key.seal(FRAME, CONTEXT), key.seal(FRAME, CONTEXT)
    assert FRAME[:6] not in first
    assert first[24:] != second[24:]


def test_a_public_key_opens_and_cannot_seal() -> None:
    secret = Ed25519(bytes(range(32)))
    public = Ed25519Public(secret.public)
    assert public.open(secret.seal(FRAME, CONTEXT), CONTEXT) == FRAME
    with pytest.raises(NotImplementedError):
        public.seal(FRAME, CONTEXT)


# -- rings -------------------------------------------------------------------------------------------------


def test_the_first_key_of_the_kind_seals_and_every_key_opens(keys: Callable[..., str]) -> None:
    old = Ring.from_url(keys("hmac", line("2026-01", "hmac")))
    both = Ring.from_url(
        keys("aes", "# a comment", "", line("2026-01", "hmac"), line("2026-07", "aes"), line("x", "aes"))
    )
    assert (both.key, both.keys) == ("2026-07", ("2026-07", "2026-01", "x"))
    assert both.open("2026-01", old.seal(FRAME, CONTEXT), CONTEXT) == FRAME
    with pytest.raises(SealError, match="'2026-07', which is not among 2026-01"):
        old.open("2026-07", both.seal(FRAME, CONTEXT), CONTEXT)
    with pytest.raises(SealError, match="altered, or sealed for another place"):
        both.open("x", both.seal(FRAME, CONTEXT), CONTEXT)


def test_a_ring_of_public_keys_only_opens(keys: Callable[..., str]) -> None:
    secret = Ring.from_url(keys("ed25519", line("k1", "ed25519"), name="secret"))
    public = Ring.from_url(keys("ed25519", *printed("public", "secret").splitlines()))
    assert public.key == ""
    assert public.open("k1", secret.seal(FRAME, CONTEXT), CONTEXT) == FRAME
    with pytest.raises(ConfigError, match="public keys only"):
        public.seal(FRAME, CONTEXT)


@pytest.mark.parametrize("kind", KINDS)
def test_a_generated_key_is_one(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [printed("generate", kind), printed("generate", kind, "mine")]
    monkeypatch.setenv("SHOP_KEYS", ";".join(each.strip() for each in lines))
    ring = Ring.from_url(f"{kind}://?env=SHOP_KEYS")
    assert ring.keys[1] == "mine"
    assert ring.open(ring.key, ring.seal(FRAME, CONTEXT), CONTEXT) == FRAME


def test_a_scheme_finds_its_ring() -> None:
    for kind in KINDS:
        assert discovery.seal(inline(kind)).key == "k1"
    with pytest.raises(ConfigError, match="unknown seal 'hmacs', did you mean 'hmac'"):
        discovery.seal("hmacs://?env=X")


SECRET = text("a key in the wrong place")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (SECRET, "is no URL of a seal"),
        (f"hmac://{SECRET}", "write hmac://?file=NAME"),
        (f"hmac:///{SECRET}", "write hmac://?file=NAME"),
        (f"hmac://?key={SECRET}", "the id of a key has"),
        (f"hmac://?key=k1:{SECRET[:-3]}", "44 characters"),
        (f"hmac://?key=k1:{SECRET}&file=x", "say where the keys are, once"),
        (f"hmac://?keys=k1:{SECRET}", "say where the keys are, once"),
        ("hmac://?file=nowhere", "nowhere, which is to hold the keys: No such file"),
        ("hmac://?file=/dev/zero", "more than 1048576 bytes"),
        ("hmac://?env=SHOP_NOTHING", "SHOP_NOTHING, which is to hold the keys, is not set"),
        ("hmac://", "say where the keys are"),
    ],
)
def test_a_url_that_cannot_be_says_why_and_shows_no_key(url: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        discovery.seal(url)
    assert told in str(caught.value)
    assert SECRET[:8] not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "holds no key"),
        (SECRET, "seal.keys, line 1: a key is written as three words"),
        (f"\nk1 hmac {SECRET} too much", "seal.keys, line 2: a key is written as three words"),
        (f"k1 hmac {SECRET[:10]}", "line 1: a key is 32 bytes in base64"),
        (f"k1 {SECRET} hmac", "line 1: the kind of a key is one of ed25519, ed25519-public, hmac, aes"),
        (f"{SECRET}! hmac {SECRET}", "line 1: the id of a key has"),
        (f"k1 hmac {SECRET}\nk1 aes {SECRET}", "line 2: the id of this key is taken"),
        (f"k1 aes {SECRET}", "holds no key of the kind hmac"),
    ],
)
def test_a_file_that_cannot_be_says_where_and_shows_no_key(keys: Callable[..., str], content: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Ring.from_url(keys("hmac", content))
    assert told in str(caught.value)
    assert SECRET[:8] not in str(caught.value)


def test_a_file_that_is_not_text_is_none(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(os.urandom(4000) + b"\xff")
    with pytest.raises(ConfigError, match="no file of keys"):
        Ring.from_url("hmac://?file=binary")


@pytest.mark.parametrize("kind", KINDS)
def test_no_view_of_a_ring_shows_its_key(kind: str) -> None:
    ring = Ring.from_url(inline(kind))
    shown = repr(ring) + str(ring) + "".join(map(repr, ring._keys.values()))
    assert text("k1")[:8] not in shown
