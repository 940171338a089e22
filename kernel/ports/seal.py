"""The Seal port: keys that make messages unforgeable, or unreadable too.

The kernel decides what is sealed and for where, and lays it out on the wire (`docs/wire.md`); an adapter only has keys
and knows what to do with them. It is found by the scheme of its URL in the entry points `kernel.seals`, which is called
with the URL and returns an object that is ready: keys are read then, so that a file that is missing or damaged is a
`ConfigError` at the start of a program and not of its first task. Nothing is opened or closed.

Threads: every method by any thread, several at a time. Nothing blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Seal(Protocol):
    """A ring of keys: one of them seals, all of them open. No method shows a key, and neither does `repr`."""

    @property
    def key(self) -> str:
        """Id of the key that seals; "" for a ring that only opens."""

    @property
    def keys(self) -> Sequence[str]:
        """Ids of all keys that open, the one that seals first."""

    @property
    def kind(self) -> str:
        """What sealing means here in a word or two, for the banner: "ed25519", "aes-256-gcm"."""

    @property
    def overhead(self) -> int:
        """Bytes by which `seal` makes a frame longer, at most."""

    def seal(self, frame: bytes, context: bytes) -> bytes:
        """The frame under the key that seals, bound to `context`, which is not part of what is returned.

        `ConfigError` from a ring that only opens.
        """

    def open(self, key: str, box: bytes, context: bytes) -> bytes:
        """The frame that the key of this id sealed into `box` with this very `context`.

        `SealError`, whose message says why and shows neither the bytes nor a key, for an id that is not on the ring and
        for every byte of box or context that is not as it was. No bytes whatsoever raise anything else.
        """
