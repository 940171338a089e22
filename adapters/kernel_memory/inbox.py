"""Broadcast channels of one space."""

from __future__ import annotations

from collections import deque
from time import monotonic

from kernel.errors import Unavailable
from kernel.native import Signal, allocate_lock

#: Payloads that an inbox keeps for a listener that does not read; older ones go, as each is delivered at most once.
CAPACITY = 10_000


class MemoryInbox:
    """A listener's own end of a broadcast channel; see `kernel.ports.Inbox`. One reader at a time."""

    def __init__(self, channels: Channels, channel: str, owner: object) -> None:
        self.channel = channel
        self.owner = owner
        self._channels = channels
        self._payloads: deque[bytes] = deque(maxlen=CAPACITY)
        self._signal = Signal()
        self._open = True

    def put(self, payload: bytes) -> None:
        """Take one copy."""
        self._payloads.append(payload)
        self._signal.set()

    def get(self, timeout: float) -> list[bytes]:
        """Payloads that came since, waiting up to `timeout` seconds for the first; `Unavailable` once closed."""
        ends = monotonic() + timeout
        while self._open:
            # Cleared before looking: what arrives after the look raises it again.
            self._signal.clear()
            payloads: list[bytes] = []
            while self._payloads:
                payloads.append(self._payloads.popleft())
            remaining = ends - monotonic()
            if payloads or remaining <= 0:
                return payloads
            if self._open:
                self._signal.wait(remaining)
        raise Unavailable("this inbox is closed")

    def close(self) -> None:
        """Stop listening. Idempotent."""
        self._open = False
        self._channels.remove(self)
        self._signal.set()


class Channels:
    """Who listens to what. Lists are replaced, never changed, so that publishing needs no lock."""

    __slots__ = ("__weakref__", "_listeners", "_lock")

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._listeners: dict[str, list[MemoryInbox]] = {}

    def listen(self, channel: str, owner: object) -> MemoryInbox:
        """Open an inbox for `owner`."""
        inbox = MemoryInbox(self, channel, owner)
        with self._lock:
            self._listeners[channel] = [*self._listeners.get(channel, ()), inbox]
        return inbox

    def publish(self, channel: str, payload: bytes) -> None:
        """Hand a copy to every inbox of the channel."""
        for inbox in self._listeners.get(channel, ()):
            inbox.put(payload)

    def remove(self, inbox: MemoryInbox) -> None:
        """Forget one inbox. Idempotent."""
        with self._lock:
            others = [other for other in self._listeners.get(inbox.channel, ()) if other is not inbox]
            if others:
                self._listeners[inbox.channel] = others
            else:
                self._listeners.pop(inbox.channel, None)

    def abandon(self, owner: object) -> None:
        """Close every inbox of `owner`."""
        for inboxes in list(self._listeners.values()):
            for inbox in inboxes:
                if inbox.owner is owner:
                    inbox.close()
