"""The state that adapters of one name share."""

from __future__ import annotations

from kernel.native import Signal, allocate_lock
from kernel.ports import Record
from kernel_memory.expiring import Expiring
from kernel_memory.inbox import Channels
from kernel_memory.queues import Queues
from kernel_memory.shelf import Shelf

_spaces: dict[str, Space] = {}
_spaces_lock = allocate_lock()


class Space:
    """Everything in one place, under one lock.

    The lock is a native one and is held for one batch at a time, for microseconds, never while anything waits. One lock
    for all ports, because under the interpreter's own lock more of them bring nothing.

    Adapters of one space should be given the same clock: a lease ends by the clock of whoever looks.
    """

    __slots__ = ("buckets", "channels", "claims", "lock", "queues", "readers", "records", "shelves", "slots", "tallies")

    def __init__(self) -> None:
        self.lock = allocate_lock()
        self.queues = Queues()
        self.channels = Channels()
        #: Standing records, as copies of what was put.
        self.records: Expiring[Record] = Expiring()
        #: Who waits for a final record of a key.
        self.readers: dict[str, set[Signal]] = {}
        #: Owners of claims.
        self.claims: Expiring[str] = Expiring()
        self.tallies: Expiring[set[str]] = Expiring()
        #: Tokens in a bucket and the monotonic time of that count.
        self.buckets: Expiring[tuple[float, float]] = Expiring()
        #: Monotonic end of each owner's slot.
        self.slots: Expiring[dict[str, float]] = Expiring()
        self.shelves: dict[str, Shelf] = {}

    @staticmethod
    def named(name: str) -> Space:
        """The space of this name in this process, made on first use and kept; a new private one for ""."""
        if not name:
            return Space()
        with _spaces_lock:
            return _spaces.setdefault(name, Space())

    @staticmethod
    def forget(name: str) -> None:
        """Let a named space go; adapters that have it keep it. Idempotent."""
        with _spaces_lock:
            _spaces.pop(name, None)
