"""Refusal of what an adapter would ignore or deny, with the remedy in the message."""

from __future__ import annotations

from collections.abc import Sequence

from kernel.clock import Clock
from kernel.emulate.passthrough import Passthrough
from kernel.errors import Unsupported
from kernel.ports import Delivery, Outgoing, Transport


class Refuse(Passthrough):
    """Stands outermost, so that nothing of a batch is sent when one message of it asks for the impossible."""

    def __init__(self, inner: Transport, clock: Clock, *, delay: bool, dedup: bool) -> None:
        super().__init__(inner, inner.features)
        self._now = clock.now
        self._delay = delay
        self._dedup = dedup

    def send(self, batch: Sequence[Outgoing]) -> None:
        """Store all messages; `Unsupported` before anything is sent."""
        self._check(batch)
        self._inner.send(batch)

    def commit(self, batch: Sequence[tuple[Delivery, Sequence[Outgoing]]]) -> list[Delivery]:
        """As the inner transport; `Unsupported` before anything is sent."""
        for _, sends in batch:
            self._check(sends)
        return super().commit(batch)

    def _check(self, batch: Sequence[Outgoing]) -> None:
        if self._delay and [out for out in batch if out.not_before and out.not_before > self._now()]:
            raise Unsupported("this transport cannot delay a message: configure a schedule store")
        if self._dedup and [out for out in batch if out.dedup_key]:
            raise Unsupported("this transport cannot tell duplicates: configure a coordination service")
