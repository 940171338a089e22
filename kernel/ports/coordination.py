"""The Coordination port: shared facts, each with an owner and an expiry.

No lock without owner and expiry, so a dead owner blocks nobody for longer than its time to live. All times to
live are in seconds, by the clock of the service. Threads and errors: as for the Transport port. Batch-first:
results are in the order of the items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf
from typing import Protocol

import msgspec

from kernel.ports.features import Survives


@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinationFeatures:
    """Abilities of a coordination service."""

    #: What a stored fact outlives.
    survives: Survives
    #: Most items in one call.
    max_batch: int = 1000


class Claim(msgspec.Struct, frozen=True, gc=False):
    """`owner` wants `key` for `ttl` seconds."""

    key: str
    owner: str
    ttl: float
    #: Only if it is the owner's already: a key that is free stays so.
    renew: bool = False


class Tally(msgspec.Struct, frozen=True, gc=False):
    """`member` joins the set `key`, which lives for `ttl` seconds from its last write."""

    key: str
    member: str
    ttl: float


class Take(msgspec.Struct, frozen=True, gc=False):
    """Take `n` tokens from a bucket that fills at `rate` per second up to `burst`."""

    bucket: str
    n: float
    rate: float
    burst: float
    #: Tokens that will be there within so many seconds are taken too: inf reserves them however late they come.
    ahead: float = 0.0
    #: Tokens come together, those of so many seconds each time, counted from the first take of a full bucket; 0.0:
    #: one by one.
    every: float = 0.0


class Drawn(msgspec.Struct, frozen=True, gc=False):
    """A bucket after tokens were taken from it."""

    #: Below 0.0 where they were taken ahead.
    tokens: float
    #: When the last ones came, by the clock that is asked.
    filled_at: float
    #: Seconds until it is full again, which is the same as not being there; inf: never.
    full_in: float


#: A part of a token that is no token: what divisions leave.
_SLACK = 1e-9


def draw(item: Take, bucket: tuple[float, float] | None, now: float) -> tuple[float, Drawn | None]:
    """The arithmetic of `Coordination.take`, for every adapter that does not leave it to its service.

    `bucket` is what is left of it and since when, None for one that is not there. The answer of `take`, and the bucket
    as it is then; None where nothing is taken.
    """
    tokens, at = bucket or (item.burst, now)
    now = max(at, now)
    filled_at = at + (now - at) // item.every * item.every if item.every else now
    tokens = min(item.burst, tokens + (filled_at - at) * item.rate)
    wait_for = _until(item.n - tokens, item, now - filled_at)
    if item.n > item.burst or wait_for == inf:
        return inf, None
    if wait_for > item.ahead:
        return wait_for, None
    tokens -= item.n
    return wait_for, Drawn(tokens, filled_at, _until(item.burst - tokens, item, now - filled_at))


def _until(missing: float, item: Take, since: float) -> float:
    """Seconds until so many tokens more are there, when the last came `since` seconds ago."""
    if missing <= 0.0:
        return 0.0
    if item.rate <= 0.0:
        return inf
    return ceil(missing / (item.rate * item.every) - _SLACK) * item.every - since if item.every else missing / item.rate


class Acquire(msgspec.Struct, frozen=True, gc=False):
    """`owner` wants one of the `limit` slots of `key` for `ttl` seconds."""

    key: str
    owner: str
    limit: int
    ttl: float
    #: An owner that leaves its slot to this one, so that it is never free in between; "" for nobody.
    heir_of: str = ""


class Coordination(Protocol):
    """Claims, sets, token buckets and slots."""

    @property
    def features(self) -> CoordinationFeatures:
        """What this service can do; final once `open` has returned."""

    def open(self) -> None:
        """Connect and prepare. Idempotent."""

    def close(self) -> None:
        """Let go of everything. Idempotent."""

    def claim(self, items: Sequence[Claim]) -> list[str]:
        """Who owns each key now: the asking owner when the key was free, expired or its own (then the expiry is
        renewed), else the other one; "" for a key that was free and only to be renewed."""

    def drop(self, items: Sequence[tuple[str, str]]) -> None:
        """End claims, given as (key, owner); a claim of somebody else stays. Idempotent."""

    def tally(self, items: Sequence[Tally]) -> list[int]:
        """Add each member and return the size of its set after that; adding twice counts once."""

    def take(self, items: Sequence[Take]) -> list[float]:
        """The seconds until the tokens are there, 0.0 for now. They are taken where that is no more than `ahead`, else
        nothing is; inf, and nothing taken, for more than a bucket ever holds."""

    def acquire(self, items: Sequence[Acquire]) -> list[bool]:
        """Whether each owner now holds a slot; one that holds a live slot already renews it and gets True.

        The live slot of `heir_of` becomes the owner's, whatever the limit; where it has ended, the owner asks like
        anybody else. An owner that inherits beside a slot of its own keeps one."""

    def release(self, items: Sequence[tuple[str, str]]) -> None:
        """Free slots, given as (key, owner). Idempotent."""
