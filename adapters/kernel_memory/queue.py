"""One queue: what is ready by priority, what is delayed, and who waits; all under the lock of the space."""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import Any

import msgspec

from kernel.native import Signal

_order = count()


class Message(msgspec.Struct, gc=False):
    """A stored message, for one delivery at most."""

    payload: bytes
    queue: str
    #: Wall clock at which it became deliverable for the first time; a release does not make it younger.
    ready_at: float
    expires_at: float
    priority: int = 0
    order_key: str = ""
    redelivered: int = 0
    #: Monotonic time beyond which no renewal can hold this delivery.
    most_until: float = inf
    #: The lease it is under; None while it waits.
    hold: Any = None


class Queue:
    """Ten levels of ready messages, a heap of delayed ones, and an order per key."""

    __slots__ = ("delayed", "keys", "levels", "recent", "watchers")

    def __init__(self) -> None:
        #: Most urgent first: priority p is at index 9 - p.
        self.levels: tuple[deque[Message], ...] = tuple(deque() for _ in range(10))
        #: (due, tie breaker, message).
        self.delayed: list[tuple[float, int, Message]] = []
        #: Order keys with a message that is ready or leased, each with those that wait behind it.
        self.keys: dict[str, deque[Message]] = {}
        #: Dedup keys with the monotonic end of their window, the oldest first.
        self.recent: dict[str, float] = {}
        #: Receivers to tell when there is something new.
        self.watchers: set[Signal] = set()

    def tell(self) -> None:
        """Wake every receiver that waits for this queue. All of them: one alone may be on its way out."""
        for signal in self.watchers:
            signal.set()

    def seen(self, key: str, monotonic: float, until: float) -> bool:
        """Whether `key` came within its window; if not, its window begins now."""
        recent = self.recent
        while recent:
            oldest = next(iter(recent))
            if recent[oldest] > monotonic:
                break
            del recent[oldest]
        if recent.get(key, monotonic) > monotonic:
            return True
        recent.pop(key, None)
        recent[key] = until
        return False

    def place(self, message: Message, not_before: float, now: float) -> None:
        """Put a new message where it belongs: with the delayed, behind others of its key, or to the ready ones."""
        if not_before > now:
            message.ready_at = not_before
            heappush(self.delayed, (not_before, next(_order), message))
        elif message.order_key in self.keys:
            self.keys[message.order_key].append(message)
        else:
            if message.order_key:
                self.keys[message.order_key] = deque()
            self.levels[9 - message.priority].append(message)

    def promote(self, now: float) -> None:
        """Move what is due to the ready ones. A message with an order key takes its place in the order here."""
        while self.delayed and self.delayed[0][0] <= now:
            self.place(heappop(self.delayed)[2], 0.0, now)

    def take(self, room: int, taken: list[Message]) -> None:
        """Move up to `room` ready messages to `taken`, the most urgent first."""
        for level in self.levels:
            if level:
                if len(level) > room:
                    popleft = level.popleft
                    taken.extend([popleft() for _ in range(room)])
                    return
                taken.extend(level)
                room -= len(level)
                level.clear()

    def take_fresh(self, room: int, taken: list[Message], now: float) -> None:
        """As `take`, and drop what has expired on the way."""
        while room > 0:
            found: list[Message] = []
            self.take(room, found)
            if not found:
                return
            for message in found:
                if not 0.0 < message.expires_at <= now:
                    taken.append(message)
                    room -= 1
                elif message.order_key:
                    self.next_of(message.order_key)

    def next_of(self, key: str) -> None:
        """The message of `key` in front is gone: the next one may be delivered."""
        waiting = self.keys.get(key)
        if waiting:
            message = waiting.popleft()
            self.levels[9 - message.priority].append(message)
            self.tell()
        else:
            self.keys.pop(key, None)

    def ready(self, now: float, expiry: bool) -> list[Message]:
        """All messages that are not delayed, the next to be delivered first, those behind others of a key last."""
        messages = [message for level in self.levels for message in level]
        messages += [message for waiting in self.keys.values() for message in waiting]
        return [m for m in messages if not 0.0 < m.expires_at <= now] if expiry else messages

    def purge(self) -> int:
        """Drop all that is not leased; returns how many."""
        waiting = sum(len(level) for level in self.levels) + sum(len(others) for others in self.keys.values())
        dropped = waiting + len(self.delayed)
        for level in self.levels:
            for message in level:
                self.keys.pop(message.order_key, None)
            level.clear()
        for others in self.keys.values():
            others.clear()
        self.delayed.clear()
        return dropped
