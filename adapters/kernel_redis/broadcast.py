"""Broadcast channels: the publish and subscribe of Redis, which reaches whoever listens at the time."""

from __future__ import annotations

import weakref

from kernel.native import monotonic
from kernel_redis import faults
from kernel_redis.client import Client
from kernel_redis.keys import Keys
from kernel_redis.link import Link, checked, readable


class Channels:
    """The channels of one Redis, and the inboxes that this transport has open."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._inboxes: weakref.WeakSet[RedisInbox] = weakref.WeakSet()

    def publish(self, channel: str, payload: bytes) -> None:
        """Hand a copy to every inbox of the channel."""
        key = self._keys.channel(channel)
        self._client.one(key, "PUBLISH", key, payload)

    def listen(self, channel: str) -> RedisInbox:
        """Open an inbox."""
        inbox = RedisInbox(self._client, self._keys.channel(channel))
        self._inboxes.add(inbox)
        return inbox

    def close(self) -> None:
        """Close every inbox."""
        for inbox in list(self._inboxes):
            inbox.close()


class RedisInbox:
    """A listener's own end of a channel; see `kernel.ports.Inbox`. After `close` it is empty for ever.

    Its connection is its own. When that is lost, `get` raises `Unavailable` once and the next one listens again; what
    was published in between has been missed. A reader that is too slow is cut off by the server
    (`client-output-buffer-limit pubsub`), so nothing grows without bound.
    """

    def __init__(self, client: Client, channel: str) -> None:
        self._client = client
        self._channel = channel
        self._link: Link | None = None
        self._open = True
        client.check()
        self._subscribed()

    def get(self, timeout: float) -> list[bytes]:
        """Payloads that came since, waiting up to `timeout` seconds for the first."""
        found: list[bytes] = []
        until = monotonic() + timeout
        while self._open and not found:
            link = self._subscribed()
            try:
                if not readable([link], -1, max(0.0, until - monotonic()))[0]:
                    break
                # Not `link.has_data`: its poller belongs, under gevent, to the loop of the thread that made the inbox.
                while readable([link], -1, 0.0)[0]:
                    kind, _, payload = checked(link.read())
                    if kind == b"message":
                        found.append(payload)
            except faults.FAULTS as error:
                if self._link is not None:  # else `close` ended this wait
                    self._drop()
                    raise faults.translate(error, self._client.location.shown, "no") from error
        return found

    def close(self) -> None:
        """Stop listening. Idempotent."""
        self._open = False
        self._drop()

    def _subscribed(self) -> Link:
        if self._link is None:
            try:
                link = self._client.connect(self._client.address(self._channel), 2)
                link.connect()
                checked(link.call("SUBSCRIBE", self._channel))
            except faults.FAULTS as error:
                raise faults.translate(error, self._client.location.shown, "no") from error
            self._link = link
        return self._link

    def _drop(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()
