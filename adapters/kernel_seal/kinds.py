"""What each kind of key does to a frame.

A box is what the key adds, and then the frame: a signature of 64 bytes, a digest of 32, or a nonce of 24 before the
encrypted frame. What is bound beside the frame (the context) comes first in what is signed; it says by itself where it
ends, so no other pair of context and frame has the same bytes.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable, Mapping
from typing import Protocol

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

#: Bytes of every key, secret or public.
KEY_BYTES = 32
#: Bytes that a box has more than its frame, for each kind.
SIGNATURE, DIGEST, NONCE, TAG = 64, 32, 24, 16


class Forged(Exception):
    """A box that this key did not make of this context."""


class Key(Protocol):
    """One key. `repr` shows nothing of it."""

    #: Whether it can seal.
    secret: bool
    overhead: int

    def seal(self, frame: bytes, context: bytes) -> bytes:
        """The box."""

    def open(self, box: bytes, context: bytes) -> bytes:
        """The frame; `Forged` for any box that `seal` did not return for this context."""


class Ed25519Public:
    """The public half (RFC 8032): opens what the secret half has sealed, and cannot seal."""

    secret = False
    overhead = SIGNATURE

    def __init__(self, material: bytes) -> None:
        #: The key itself, which is no secret.
        self.public = material
        self._verify = Ed25519PublicKey.from_public_bytes(material).verify

    def seal(self, frame: bytes, context: bytes) -> bytes:
        """Never."""
        raise NotImplementedError("a public key cannot seal")

    def open(self, box: bytes, context: bytes) -> bytes:
        """As the protocol says."""
        frame = box[SIGNATURE:]
        try:
            self._verify(box[:SIGNATURE], context + frame)
        except InvalidSignature:
            raise Forged from None
        return frame


class Ed25519:
    """The secret half: who has it can seal, and publish the other half to those who need only open."""

    secret = True
    overhead = SIGNATURE

    def __init__(self, material: bytes) -> None:
        key = Ed25519PrivateKey.from_private_bytes(material)
        self._sign = key.sign
        #: The public half.
        self.public = key.public_key().public_bytes_raw()
        self._verifier = Ed25519Public(self.public)

    def seal(self, frame: bytes, context: bytes) -> bytes:
        """As the protocol says."""
        return self._sign(context + frame) + frame

    def open(self, box: bytes, context: bytes) -> bytes:
        """As the protocol says."""
        return self._verifier.open(box, context)


class HmacSha256:
    """One secret for all (RFC 2104): who can open can seal too.

    Of the standard library: its one-shot function takes half the time of an object that is made, fed and asked.
    """

    secret = True
    overhead = DIGEST

    def __init__(self, material: bytes) -> None:
        self._digest: Callable[[bytes], bytes] = lambda text: hmac.digest(material, text, "sha256")

    def seal(self, frame: bytes, context: bytes) -> bytes:
        """As the protocol says."""
        return self._digest(context + frame) + frame

    def open(self, box: bytes, context: bytes) -> bytes:
        """As the protocol says."""
        frame = box[DIGEST:]
        if not hmac.compare_digest(box[:DIGEST], self._digest(context + frame)):
            raise Forged
        return frame


class Aes256Gcm:
    """AES-256-GCM with a key of its own for each frame: XAES-256-GCM as C2SP specifies it.

    Plain AES-GCM has nonces of 12 bytes, and a key must not see the same one twice. Chosen at random, that is likely
    enough to matter after some billion frames, which a busy queue has in days. Here a nonce has 24 bytes: half of them
    derive the key (NIST SP 800-108, CMAC), the other half is the nonce of that key.
    """

    secret = True
    overhead = NONCE + TAG

    def __init__(self, material: bytes) -> None:
        self._cipher = Cipher(algorithms.AES(material), modes.ECB())
        start = int.from_bytes(self._cipher.encryptor().update(bytes(16)))
        # The subkey K1 of CMAC (NIST SP 800-38B): doubled in GF(2^128).
        self._mask = (start << 1 & (1 << 128) - 1) ^ (0x87 if start >> 127 else 0)

    def _derived(self, salt: bytes) -> AESGCM:
        blocks = [(int.from_bytes(bytes((0, number, 0x58, 0)) + salt) ^ self._mask).to_bytes(16) for number in (1, 2)]
        return AESGCM(self._cipher.encryptor().update(b"".join(blocks)))

    def seal(self, frame: bytes, context: bytes) -> bytes:
        """As the protocol says."""
        nonce = os.urandom(NONCE)
        return nonce + self.encrypt(frame, context, nonce)

    def encrypt(self, frame: bytes, context: bytes, nonce: bytes) -> bytes:
        """The box without its nonce."""
        return self._derived(nonce[:12]).encrypt(nonce[12:], frame, context)

    def open(self, box: bytes, context: bytes) -> bytes:
        """As the protocol says."""
        if len(box) < NONCE + TAG:
            raise Forged
        try:
            return self._derived(box[:12]).decrypt(box[12:NONCE], box[NONCE:], context)
        except InvalidTag:
            raise Forged from None


#: How a key is made of its bytes, by the word that stands for its kind.
KINDS: Mapping[str, Callable[[bytes], Key]] = {
    "ed25519": Ed25519,
    "ed25519-public": Ed25519Public,
    "hmac": HmacSha256,
    "aes": Aes256Gcm,
}
