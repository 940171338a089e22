"""Keys as text: one line each, `ID KIND KEY`, with the key as 32 bytes in base64.

    # the first key that can seal does, every key opens
    2026-07 ed25519 <44 characters>
    2026-01 ed25519-public <44 characters>

Empty lines and those that begin with `#` do not count. In an environment variable `;` ends a line too. No message shows
any part of a line but its number, because whoever puts a key in the wrong place has put it there.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode

from kernel.errors import ConfigError
from kernel_seal.kinds import KEY_BYTES, KINDS, Key

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{43}=?")


def read_keys(text: str, shown: str) -> dict[str, tuple[str, Key]]:
    """Kind and key by id, in the order of the lines; `shown` names the place in messages. `ConfigError`."""
    found: dict[str, tuple[str, Key]] = {}
    for number, line in enumerate(text.replace(";", "\n").splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        where = f"{shown}, line {number}"
        if len(words) != 3:
            raise ConfigError(f"{where}: a key is written as three words: ID KIND KEY")
        id, kind, key = words
        if id in found:
            raise ConfigError(f"{where}: the id of this key is taken by one before it")
        found[id] = kind, read_key(id, kind, key, where)
    if not found:
        raise ConfigError(f"{shown}: holds no key; `python -m kernel_seal generate KIND` prints one")
    return found


def read_key(id: str, kind: str, text: str, where: str) -> Key:
    """One key of its three words; `ConfigError` names the place."""
    if not _ID.fullmatch(id):
        raise ConfigError(f"{where}: the id of a key has 1 to 64 letters, digits, dots, hyphens and underscores")
    if kind not in KINDS:
        raise ConfigError(f"{where}: the kind of a key is one of {', '.join(KINDS)}")
    if not _BASE64.fullmatch(text):
        raise ConfigError(f"{where}: a key is {KEY_BYTES} bytes in base64, which are 44 characters")
    material = urlsafe_b64decode(text.rstrip("=").replace("+", "-").replace("/", "_") + "=")
    try:
        return KINDS[kind](material)
    except ValueError:
        raise ConfigError(f"{where}: these bytes are no {kind} key") from None


def written(id: str, kind: str, material: bytes) -> str:
    """A key as a line of text."""
    return f"{id} {kind} {urlsafe_b64encode(material).decode()}"
