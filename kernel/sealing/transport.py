"""A transport whose messages are sealed: everything that goes through it, whoever sends and for whatever reason.

It is the outermost decorator, so a message is sealed for the queue that its sender names, whatever becomes of it
underneath: a queue for each priority, a queue for each delay, a schedule store. There are no calls to forget: what a
worker sends on is sealed like what a caller sends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from msgspec.structs import replace as replaced

from kernel.clock import Clock
from kernel.emulate.broadcast import Broadcasting
from kernel.emulate.passthrough import Passthrough
from kernel.envelope import dead_queue, locked
from kernel.errors import PortError, Rejected, SealError
from kernel.ports import Delivery, Inbox, Outgoing, Transport
from kernel.sealing.sealing import CHANNEL, QUEUE, Sealing, is_sealed
from kernel.sealing.window import Window

#: Reads what was found in a queue: the frame without its seal, or `SealError`.
Read = Callable[[bytes, str], bytes]
_DEAD = dead_queue("")


class _Refused(bytes):
    """In place of a payload that does not open. No frame, and never sent: whatever sends on what it received would
    otherwise put its own seal on the bytes of a stranger."""


REFUSED = _Refused()


class Opened(Delivery):
    """A delivery without its seal. It settles what it was made of, because it has the same receipt."""

    #: What the transport delivered.
    original: bytes = b""
    #: Why it does not open; "" when it does.
    fault: str = ""


def original(delivery: Delivery) -> bytes:
    """The payload as it was delivered, with its seal."""
    return delivery.original if isinstance(delivery, Opened) else delivery.payload


def fault(delivery: Delivery) -> str:
    """Why its payload does not open, "" when it does or has no seal."""
    return delivery.fault if isinstance(delivery, Opened) else ""


class SealedTransport(Passthrough):
    """Seals what is sent and opens what is received."""

    def __init__(self, inner: Transport, sealing: Sealing, window: float, clock: Clock) -> None:
        """`window`: seconds of the replay window, 0.0 for none."""
        own = inner.features
        most = own.max_payload and max(1, own.max_payload - sealing.overhead)
        # Sealed for one queue, it does not open in another one that an exchange leads it to.
        exchanges = own.exchanges and not sealing.seals
        super().__init__(inner, replace(own, max_payload=most, exchanges=exchanges))
        self._sealing = sealing
        self._clock = clock
        self._window = Window(window) if window else None

    def send(self, batch: Sequence[Outgoing]) -> None:
        """Store all messages, sealed."""
        self._inner.send(self._sealed(batch))

    def commit(self, batch: Sequence[tuple[Delivery, Sequence[Outgoing]]]) -> list[Delivery]:
        """As the inner transport."""
        return super().commit([(delivery, self._sealed(sends)) for delivery, sends in batch])

    def receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        """Take up to `limit` messages, opened; one that does not open is an `Opened` with its fault."""
        if self._window is None:
            return [self._opened(delivery) for delivery in self._inner.receive(queues, limit, timeout)]
        return self._watched(self._window, queues, limit, timeout)

    def read(self, payload: bytes, queue: str) -> bytes:
        """What is in a message that was found in `queue`, for tools; however old it is. `SealError`."""
        return self._sealing.open(payload, QUEUE, queue)[0]

    def publish(self, channel: str, payload: bytes) -> None:
        """Hand a sealed copy to every inbox of the channel."""
        sealing = self._sealing
        super().publish(channel, sealing.seal(payload, CHANNEL, channel) if sealing.seals else payload)

    def listen(self, channel: str) -> Inbox:
        """Open an inbox, in which nothing arrives that does not open."""
        return _SealedInbox(super().listen(channel), channel, self._sealing)

    # -- one message ---------------------------------------------------------------------------------------

    def _sealed(self, batch: Sequence[Outgoing]) -> list[Outgoing]:
        seal, seals = self._sealing.seal, self._sealing.seals
        sealed = []
        for out in batch:
            payload = out.payload
            if isinstance(payload, _Refused):
                raise Rejected("a message whose seal does not open is not sent on")
            # The second: the original of a message that has outgrown the transport goes to the dead letters as it is.
            if seals and not (is_sealed(payload) and out.queue.endswith(_DEAD)):
                out = replaced(out, payload=seal(payload, QUEUE, out.queue, out.not_before))
            sealed.append(out)
        return sealed

    def _opened(self, delivery: Delivery) -> Delivery:
        payload, queue = delivery.payload, delivery.queue
        try:
            opened, due_at = self._sealing.open(payload, QUEUE, queue)
        except SealError as error:
            return self._refused(delivery, str(error))
        if self._window is not None and due_at and not delivery.redelivered and not queue.endswith(_DEAD):
            late = self._window.stale(queue, due_at, self._clock.now())
            if late:
                return self._refused(delivery, f"too old by {late:.0f} s: its queue has been empty since it was due")
        return Opened(opened, queue, delivery.receipt, delivery.redelivered, payload)

    def _refused(self, delivery: Delivery, fault: str) -> Delivery:
        return Opened(REFUSED, delivery.queue, delivery.receipt, delivery.redelivered, delivery.payload, fault)

    def _watched(self, window: Window, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        """`receive`, and what its answer says about the queues."""
        clock = self._clock
        asked_at, ends_at = clock.now(), clock.monotonic() + timeout
        try:
            batch = self._inner.receive(queues, limit, timeout)
        except PortError:
            window.lost()
            raise
        # One that was woken, or only looked, may have missed what is there.
        if not batch and timeout > 0.0 and clock.monotonic() >= ends_at:
            for queue in queues:
                window.nothing(queue, asked_at)
        return [self._opened(delivery) for delivery in batch]


class _SealedInbox:
    """An inbox of sealed payloads."""

    def __init__(self, inner: Inbox, channel: str, sealing: Sealing) -> None:
        self._inner = inner
        self._channel = channel
        self._sealing = sealing

    def get(self, timeout: float) -> list[bytes]:
        """Payloads that came since; those that do not open are dropped, as the channel is anybody's."""
        opened = []
        for payload in self._inner.get(timeout):
            try:
                opened.append(self._sealing.open(payload, CHANNEL, self._channel)[0])
            except SealError:
                pass
        return opened

    def close(self) -> None:
        """Stop listening. Idempotent."""
        self._inner.close()


def read_plain(payload: bytes, queue: str) -> bytes:
    """`Read` where no seal is configured."""
    if is_sealed(payload):
        raise SealError(locked(payload))
    return payload


def reader(transport: Transport) -> Read:
    """How messages of this transport are read by tools; without a seal, what is sealed does not open."""
    inner = transport.inner if isinstance(transport, Broadcasting) else transport
    return inner.read if isinstance(inner, SealedTransport) else read_plain
