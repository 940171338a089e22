"""Messages for exchanges, and their refusal where a transport has none."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kernel.errors import Rejected, Unsupported
from kernel.ports import Outgoing, Transport


class Exchanges:
    """Whether an application may send to exchanges.

    A call is refused as it is made where the transport is open, and as it is sent where it was not: it must not be
    opened for the sake of a call that runs here, or goes into an outbox. What names no exchange is never looked at.
    """

    def __init__(self, find: Callable[[], Transport | None]) -> None:
        """`find` returns the transport once it is open."""
        self._find = find
        #: A message for an exchange was made before the transport was known, so what is sent has to be checked.
        self.doubtful = False

    def need(self, exchange: str) -> None:
        """A message for this exchange is made; `Unsupported` where there are known to be none."""
        transport = self._find()
        if transport is None:
            self.doubtful = True
        elif not transport.features.exchanges:
            raise Unsupported(_missing(exchange))

    def check(self, transport: Transport, messages: Sequence[Outgoing]) -> None:
        """Messages are sent; `Unsupported`, and none is, where one of them cannot be."""
        for error in strangers(transport, messages).values():
            raise Unsupported(str(error))


def strangers(transport: Transport, messages: Sequence[Outgoing]) -> dict[int, Rejected]:
    """The messages, by index, that are for exchanges which this transport does not have."""
    if transport.features.exchanges:
        return {}
    return {index: Rejected(_missing(out.exchange)) for index, out in enumerate(messages) if out.exchange}


def _missing(exchange: str) -> str:
    return (
        f"exchange {exchange!r}: this transport has no exchanges (RabbitMQ has, for messages without a seal): "
        f"name a queue"
    )
