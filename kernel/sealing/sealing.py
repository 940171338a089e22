"""What is sealed, for where, and what is taken unsealed: the kernel's side of the `Seal` port."""

from __future__ import annotations

from kernel.clock import Clock
from kernel.envelope import SEALED, Sealed, bound_to, decode_sealed, encode_sealed
from kernel.errors import ConfigError, SealError
from kernel.ports.seal import Seal

#: What a seal is bound to beside its place: bytes sealed as one of these never open as another.
QUEUE, RESULT, CHANNEL = "queue", "result", "channel"
#: Bytes around a box and the id of its key: first byte, array, two times, the lengths of id and box.
FRAMING = 1 + 1 + 2 * 9 + 2 + 5
_FIRST = bytes((SEALED,))


class Sealing:
    """Seals and opens for one application. Holds no state but its settings; any thread."""

    def __init__(self, seal: Seal, unsealed: str, clock: Clock) -> None:
        """`unsealed`: what becomes of bytes without a seal: "refuse", "accept", or "send" (accepted and sent too)."""
        self._seal = seal
        self._now = clock.now
        self.takes_unsealed = unsealed != "refuse"
        #: Whether what is sent and stored is sealed.
        self.seals = unsealed != "send"
        if self.seals and not seal.key:
            self._why_not = "this application has public keys only, which open messages and cannot seal any"
        else:
            self._why_not = ""
        #: Bytes by which a frame becomes longer.
        self.overhead = FRAMING + len(seal.key.encode()) + seal.overhead if self.seals else 0

    def __repr__(self) -> str:
        return f"<Sealing {self.in_words}>"

    @property
    def in_words(self) -> str:
        """For the banner: kind and keys by their ids."""
        seal = self._seal
        others = [key for key in seal.keys if key != seal.key]
        opens = f", opens {', '.join(others)} too" if others else ""
        unsealed = "" if not self.takes_unsealed else "; unsealed messages are taken"
        sends = f"seals with {seal.key}" if self.seals and seal.key else "seals nothing"
        return f"{seal.kind}, {sends}{opens}{unsealed}"

    def need_key(self) -> None:
        """`ConfigError` where nothing can be sealed: for a worker at its start, because it sends on what it runs."""
        if self._why_not:
            raise ConfigError(f"{self._why_not}: a worker needs a key of its own for what it sends on")

    def seal(self, data: bytes, purpose: str, place: str, eta: float = 0.0) -> bytes:
        """The sealed form of `data`, which opens for this purpose and place only. `ConfigError` without a key."""
        if self._why_not:
            raise ConfigError(f"{self._why_not}: nothing was sent")
        seal = self._seal
        sealed = Sealed(seal.key, self._now(), eta, b"")
        sealed.box = seal.seal(data, bound_to(purpose, place, sealed))
        return encode_sealed(sealed)

    def open(self, data: bytes, purpose: str, place: str) -> tuple[bytes, float]:
        """What is in it, and the later of the times at which it was sealed and due; 0.0 for what has no seal.

        `SealError` says why it does not open, or that it has no seal and needs one.
        """
        sealed = decode_sealed(data)
        if sealed is None:
            if self.takes_unsealed:
                return data, 0.0
            raise SealError("not sealed, and only sealed messages are taken here (unsealed = refuse)")
        opened = self._seal.open(sealed.key, sealed.box, bound_to(purpose, place, sealed))
        return opened, max(sealed.sent_at, sealed.eta)


def is_sealed(data: bytes) -> bool:
    """Whether bytes claim to be sealed."""
    return data[:1] == _FIRST
