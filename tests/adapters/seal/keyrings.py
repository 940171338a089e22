"""Keys for the tests of seals: the same every time, so that a failure can be run again."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from hashlib import sha256

KINDS = ("hmac", "ed25519", "aes")


def text(name: str) -> str:
    """32 bytes that belong to a name, as keys are written."""
    return urlsafe_b64encode(sha256(name.encode()).digest()).decode()


def line(id: str, kind: str) -> str:
    """A key as a line of a file."""
    return f"{id} {kind} {text(id)}"


def inline(kind: str, id: str = "k1") -> str:
    """The URL of one key."""
    return f"{kind}://?key={id}:{text(id)}"
