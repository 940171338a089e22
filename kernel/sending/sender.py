"""How messages leave an application: within a deadline that is a total, with one clear line when they did not."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from math import inf
from typing import Protocol

from kernel.envelope import HOP, decode
from kernel.errors import CodecError, Sent, Unavailable
from kernel.hooks import Hooks
from kernel.native import monotonic
from kernel.ports import Outgoing, Transport
from kernel.sending.batcher import in_chunks
from kernel.sending.claims import Claims
from kernel.sending.errand import Errands, Overdue
from kernel.sending.exchanges import Exchanges
from kernel.steady import persist, send_all

#: A call may last so much longer than its caller has, as a part of it, before it is made where its caller can leave it:
#: an adapter whose time limit is that of the sender, as by default, needs a moment to say so.
TOLERANCE = 0.1
#: Messages that are gathered at most before they are handed over, in as many parts as the transport wants.
MOST = 1000


class Fallback(Protocol):
    """What a message goes to that the transport does not answer for: `kernel.sending.outbox.Spool`."""

    def post(
        self, messages: Sequence[Outgoing], deadline: float, hand: Callable[[Sequence[Outgoing], float], None]
    ) -> None:
        """Send by `hand` until the deadline it is given, else keep; errors of what could be neither."""

    def close(self) -> None:
        """End what it has started. Idempotent."""


class Sender:
    """Hands messages to the transport, which it opens when there is something to send.

    The deadline holds for everything together: name look-up, connecting, waiting for whoever opens the same ports, a
    server that is frozen, tries and pauses. A send of more messages than the transport takes at once has it for the
    first part and, as parts get through, for each part after it.
    """

    def __init__(
        self,
        find: Callable[[], Transport],
        hooks: Hooks,
        timeout: float,
        errands: Errands,
        exchanges: Exchanges,
    ) -> None:
        """`find` opens the transport, or returns it at once when it is open. `timeout` in seconds."""
        self._find = find
        self._hooks = hooks
        self._errands = errands
        self._exchanges = exchanges
        #: Give every message a key by which the transport knows it when it is sent again.
        self.once = False
        #: Takes what the transport does not answer for.
        self.fallback: Fallback | None = None
        #: Makes the claims of unique calls, where it was wired.
        self.claims: Claims | None = None
        self._transport: Transport | None = None
        self.timeout = timeout

    def reach(self) -> tuple[int, float]:
        """How many messages the transport takes at once, and the seconds that are left for the first of them once it
        is open. `Unavailable` when opening it takes too long."""
        deadline = monotonic() + self.timeout
        if self._transport is None and self.fallback is not None:
            return MOST, self.timeout  # nothing waits for a transport that may be away
        transport = self._transport or self._open(deadline)
        return transport.features.max_batch, max(0.0, deadline - monotonic())

    def post(self, messages: Sequence[Outgoing], patience: float = inf) -> None:
        """Store all messages durably; errors as of `Transport.send`, `Unavailable` after the timeout at the latest, or
        after `patience` seconds where that is less."""
        self.announce(messages)
        if self.once:
            for message in messages:
                message.dedup_key = message.dedup_key or _key(message.payload)
        deadline = monotonic() + min(patience, self.timeout)
        if self.fallback is None:
            self._hand(messages, deadline)
        else:
            self.fallback.post(messages, deadline, self._hand)

    def announce(self, messages: Sequence[Outgoing]) -> None:
        """Tell the plugins what is going to be sent."""
        for hook in self._hooks.sending:
            hook([(decode(message.payload), message.queue) for message in messages])

    def close(self) -> None:
        """End the threads that wait. Idempotent."""
        if self.fallback is not None:
            self.fallback.close()
        self._errands.close()

    # -- inside --------------------------------------------------------------------------------------------

    def _hand(self, messages: Sequence[Outgoing], deadline: float) -> None:
        transport = self._transport or self._open(deadline)
        if len(messages) <= transport.features.max_batch:
            self._send(transport, messages, deadline)
            return

        def send(chunk: Sequence[Outgoing]) -> None:
            nonlocal deadline
            self._send(transport, chunk, deadline)
            deadline = monotonic() + self.timeout

        in_chunks(send, transport.features.max_batch)(messages)

    def _open(self, deadline: float) -> Transport:
        """Open the transport, or wait for somebody else who opens it."""
        left = deadline - monotonic()
        try:
            self._transport = self._errands.run(lambda: persist(self._find, left), left)
        except Overdue:
            raise self._told("connecting takes longer", "no") from None
        except Unavailable as error:
            raise self._told(str(error), "no") from error
        return self._transport

    def _send(self, transport: Transport, messages: Sequence[Outgoing], deadline: float) -> None:
        features = transport.features
        lasts = inf if features.borrowed and _borrows(features.borrowed, messages) else features.answers_within
        if self._exchanges.doubtful:
            self._exchanges.check(transport, messages)

        def send(batch: Sequence[Outgoing]) -> None:
            left = deadline - monotonic()
            # A hand to another thread and back takes as long as a whole send to a service that is near.
            if lasts <= left * (1 + TOLERANCE):
                transport.send(batch)
                return
            try:
                self._errands.run(lambda: transport.send(batch), left)
            except Overdue:
                raise Unavailable("no answer yet", sent="unknown") from None

        try:
            send_all(send, messages, deadline - monotonic())
        except Unavailable as error:
            raise self._told(str(error), error.sent) from error

    def _told(self, reason: str, sent: Sent) -> Unavailable:
        what = "nothing was sent" if sent == "no" else "it is unknown whether it was sent"
        return Unavailable(f"{what}; given up after {self.timeout:g} s: {reason}", sent=sent)


def _borrows(abilities: Set[str], messages: Sequence[Outgoing]) -> bool:
    """Whether a message uses one of these abilities."""
    for message in messages:
        if (message.dedup_key and "dedup" in abilities) or (message.not_before and "delay" in abilities):
            return True
    return False


def _key(payload: bytes) -> str:
    """The same for every copy of one send, another one for a retry, a hop and a requeue; "" for what is no call."""
    try:
        call = decode(payload)
    except CodecError:
        return ""
    return f"{call.id}:{call.generation}:{call.attempt}:{call.extra.get(HOP, 0)}"
