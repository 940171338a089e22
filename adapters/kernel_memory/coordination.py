"""The Coordination port in memory."""

from __future__ import annotations

from collections.abc import Sequence

from kernel.clock import SYSTEM, Clock
from kernel.errors import Rejected, Unavailable
from kernel.ports import Acquire, Claim, CoordinationFeatures, Take, Tally
from kernel.ports.coordination import draw
from kernel_memory.options import Limits, parse
from kernel_memory.space import Space


class MemoryCoordination:
    """Shared facts in the memory of this process; see `kernel.ports.coordination` for what each method promises."""

    def __init__(self, space: Space | None = None, clock: Clock = SYSTEM, limits: Limits | None = None) -> None:
        self._space = space or Space()
        self._clock = clock
        self._features = CoordinationFeatures(survives="process", max_batch=(limits or Limits()).max_batch)
        self._state = "new"

    @classmethod
    def from_url(cls, url: str) -> MemoryCoordination:
        """The service that a URL describes; `ConfigError` for an option that is none."""
        options = parse(url)
        return cls(Space.named(options.name), limits=options.limits)

    @property
    def features(self) -> CoordinationFeatures:
        """What this service can do."""
        return self._features

    def open(self) -> None:
        """Make ready. Idempotent; a closed service stays closed."""
        if self._state == "closed":
            raise Unavailable("the memory coordination is closed")
        self._state = "open"

    def close(self) -> None:
        """Let go. The facts stay in the space until they end."""
        self._state = "closed"

    def claim(self, items: Sequence[Claim]) -> list[str]:
        """Who owns each key now."""
        now = self._check(len(items))
        claims = self._space.claims
        owners: list[str] = []
        with self._space.lock:
            for item in items:
                owner = claims.get(item.key, now) or ("" if item.renew else item.owner)
                if owner == item.owner:
                    claims.put(item.key, owner, now + item.ttl, now)
                owners.append(owner)
        return owners

    def drop(self, items: Sequence[tuple[str, str]]) -> None:
        """End claims of their owners."""
        now = self._check(len(items))
        with self._space.lock:
            for key, owner in items:
                if self._space.claims.get(key, now) == owner:
                    self._space.claims.pop(key)

    def tally(self, items: Sequence[Tally]) -> list[int]:
        """Add each member; the size of its set after that."""
        now = self._check(len(items))
        tallies = self._space.tallies
        sizes: list[int] = []
        with self._space.lock:
            for item in items:
                members = tallies.get(item.key, now) or set()
                members.add(item.member)
                tallies.put(item.key, members, now + item.ttl, now)
                sizes.append(len(members))
        return sizes

    def take(self, items: Sequence[Take]) -> list[float]:
        """The seconds until the tokens are there, taken where that is within `ahead`; inf when they never will be."""
        now = self._check(len(items))
        with self._space.lock:
            return [self._take(item, now) for item in items]

    def acquire(self, items: Sequence[Acquire]) -> list[bool]:
        """Whether each owner now holds a slot."""
        now = self._check(len(items))
        held: list[bool] = []
        with self._space.lock:
            for item in items:
                owners = {o: until for o, until in (self._space.slots.get(item.key, now) or {}).items() if until > now}
                inherited = owners.pop(item.heir_of, None) is not None
                if inherited or item.owner in owners or len(owners) < item.limit:
                    owners[item.owner] = now + item.ttl
                held.append(item.owner in owners)
                if owners:
                    self._space.slots.put(item.key, owners, max(owners.values()), now)
        return held

    def release(self, items: Sequence[tuple[str, str]]) -> None:
        """Free slots of their owners."""
        now = self._check(len(items))
        with self._space.lock:
            for key, owner in items:
                (self._space.slots.get(key, now) or {}).pop(owner, None)

    def _take(self, item: Take, now: float) -> float:
        wait_for, drawn = draw(item, self._space.buckets.get(item.bucket, now), now)
        if drawn is not None:
            self._space.buckets.put(item.bucket, (drawn.tokens, drawn.filled_at), now + drawn.full_in, now)
        return wait_for

    def _check(self, size: int) -> float:
        """The monotonic time, when a call of this size may be made."""
        if self._state != "open":
            raise Unavailable(f"the memory coordination is {'not open' if self._state == 'new' else 'closed'}")
        if size > self._features.max_batch:
            raise Rejected(f"{size} items in one call, at most {self._features.max_batch} are taken")
        return self._clock.monotonic()
