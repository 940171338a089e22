"""The ResultStore port: ranked records under opaque keys, with a time to live.

Threads and errors: as for the Transport port; every method by any thread.

The rank of a record is `(generation, attempt, fence)`. Two rules make the *standing record* the one truth about a
task, whichever of several executions comes first:

1. A final record stands until one of a higher *generation* comes. Within a generation the first final wins.
2. A record that is not final stands against lower ranks: who was overtaken by a redelivery writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import msgspec

from kernel.ports.features import StoreFeatures

#: (generation, attempt, fence): generation rises with a requeue, attempt with a retry, fence with a redelivery.
Rank = tuple[int, int, int]


class Record(msgspec.Struct, gc=False):
    """One write to the store."""

    key: str
    value: bytes
    #: The task has ended with this; nothing of the same generation may replace it.
    final: bool
    rank: Rank


def outranked(final: bool, rank: Rank, standing_final: bool, standing_rank: Rank) -> bool:
    """Whether a write must be refused because of the record that stands; the two rules above, for every adapter."""
    if standing_final:
        return rank[0] <= standing_rank[0]
    return rank < standing_rank


class ResultStore(Protocol):
    """Five methods, `open` and `close` among them; those of `Waits` are optional."""

    @property
    def features(self) -> StoreFeatures:
        """What this store can do; final once `open` has returned."""

    def open(self) -> None:
        """Connect and prepare. Idempotent. `Unavailable` when the service is away."""

    def close(self) -> None:
        """Let go of everything. Idempotent. After it every method raises `Unavailable`."""

    def put(self, items: Sequence[Record], ttl: float) -> list[bytes | None]:
        """Write every record that is not outranked, in order; durable on return.

        Per item: None when written, else the value of the record that stands and outranks it. `ttl` is in
        seconds and starts again with each write; 0.0 keeps for ever. `PartialPut` when some could not be stored
        for a reason of their own (too large); `Unavailable` when nothing is known to be stored.
        """

    def get(self, keys: Sequence[str]) -> list[bytes | None]:
        """The standing value of each key, None where there is none or it has expired."""

    def delete(self, keys: Sequence[str]) -> None:
        """Forget. Idempotent."""


@runtime_checkable
class Waits(Protocol):
    """Present exactly when `StoreFeatures.wait`."""

    def wait(self, keys: Sequence[str], timeout: float) -> list[bytes | None]:
        """As `get`, but returns only when at least one key has a *final* record, when it is roused, or after `timeout`
        seconds (0.0 only looks), with what is there then. By one thread at a time, as `receive`; every other method
        by any thread meanwhile. `close` ends it with `Unavailable`."""

    def rouse(self) -> None:
        """End a blocked `wait` of this store, or the next one if none is blocked.

        Several before one `wait` are one. Any thread, also that of an event loop: it never blocks, asks the service
        nothing and never raises; on a store that is not open it does nothing.
        """
