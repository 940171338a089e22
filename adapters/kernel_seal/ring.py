"""The keys of one URL, as the `Seal` port.

    ed25519://?file=/run/secrets/shop.keys     a file of keys
    aes://?env=SHOP_KEYS                       the same text in an environment variable
    hmac://?key=2026-07:<base64>               one key in the URL itself, for tests

The scheme says which kind of key seals: the first of that kind. Every key opens, whatever its kind, so that a change
from one kind to another is a rotation like any other.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import parse_qsl, urlsplit

from kernel.errors import ConfigError, SealError
from kernel_seal.keys import read_key, read_keys
from kernel_seal.kinds import Forged, Key

#: Scheme of a URL: the kind of its keys, as `Seal.kind` has it.
NAMES: Mapping[str, str] = MappingProxyType({"ed25519": "ed25519", "hmac": "hmac-sha256", "aes": "aes-256-gcm"})
#: Options of a URL, of which it has one.
PLACES = ("file", "env", "key")
#: A file of keys is not longer than this, in bytes: something else was named by mistake, such as a device.
LONGEST_FILE = 1 << 20


class Ring:
    """Several keys that open, of which one seals."""

    def __init__(self, scheme: str, keys: Mapping[str, tuple[str, Key]], shown: str) -> None:
        """`keys`: kind and key by id. ConfigError where none of them is of the kind that `scheme` names."""
        kinds = [kind for kind, _ in keys.values()]
        if scheme not in kinds and f"{scheme}-public" not in kinds:
            raise ConfigError(f"{shown}: holds no key of the kind {scheme}")
        sealing = [id for id, (kind, key) in keys.items() if kind == scheme and key.secret]
        self.kind = NAMES[scheme]
        self.key = sealing[0] if sealing else ""
        self.keys = tuple(sorted(keys, key=lambda id: id != self.key))
        self._keys = {id: key for id, (_, key) in keys.items()}
        self._shown = shown
        self._sealing = self._keys.get(self.key)
        self.overhead = self._sealing.overhead if self._sealing is not None else 0

    @classmethod
    def from_url(cls, url: str) -> Ring:
        """Read the keys that a URL names; `ConfigError` names what is wrong, and never a key."""
        parts = urlsplit(url)
        scheme = parts.scheme
        shown = f"{scheme}://"
        if scheme not in NAMES or parts.netloc or parts.path or parts.fragment:
            raise ConfigError(f"{shown}: write {shown}?file=NAME or {shown}?env=NAME, and nothing else")
        options = parse_qsl(parts.query, keep_blank_values=True)
        if len(options) != 1 or options[0][0] not in PLACES or not options[0][1]:
            # Without the name of what is there: it may be a key.
            raise ConfigError(
                f"{shown}: say where the keys are, once: file=NAME, env=NAME or, for tests, key=ID:BASE64"
            )
        file, variable, inline = (dict(options).get(place, "") for place in PLACES)
        if inline:
            id, _, text = inline.partition(":")
            where = f"{shown}?key=***"
            return cls(scheme, {id: (scheme, read_key(id, scheme, text, where))}, where)
        keys = keys_of(file) if file else read_keys(_variable(variable), variable)
        return cls(scheme, keys, file or variable)

    def __repr__(self) -> str:
        return f"<Ring {self.kind}: {', '.join(self.keys)}>"

    def seal(self, frame: bytes, context: bytes) -> bytes:
        """As the port says."""
        if self._sealing is None:
            raise ConfigError(f"{self._shown}: holds public keys only, which open messages and cannot seal any")
        return self._sealing.seal(frame, context)

    def open(self, key: str, box: bytes, context: bytes) -> bytes:
        """As the port says."""
        found = self._keys.get(key)
        if found is None:
            raise SealError(f"sealed with the key {key!r:.80}, which is not among {', '.join(self.keys)}")
        try:
            return found.open(box, context)
        except Forged:
            raise SealError(f"not what the key {key!r} sealed: altered, or sealed for another place") from None


def keys_of(name: str) -> dict[str, tuple[str, Key]]:
    """Kind and key by id, of a file; `ConfigError`."""
    return read_keys(_file(name), name)


def _variable(name: str) -> str:
    try:
        return os.environ[name]
    except KeyError:
        raise ConfigError(f"the environment variable {name}, which is to hold the keys, is not set") from None


def _file(name: str) -> str:
    try:
        with open(name, encoding="ascii") as file:
            text = file.read(LONGEST_FILE + 1)
    except OSError as error:
        raise ConfigError(f"{name}, which is to hold the keys: {error.strerror}") from None
    except ValueError:
        raise ConfigError(f"{name}: is no file of keys: it has bytes that are not ASCII") from None
    if len(text) > LONGEST_FILE:
        raise ConfigError(f"{name}: is no file of keys: it has more than {LONGEST_FILE} bytes")
    return text
