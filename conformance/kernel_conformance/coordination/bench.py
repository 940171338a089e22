"""The bench of the coordination tests: one fact at a time."""

from __future__ import annotations

from typing import cast

from kernel.ports import Acquire, Claim, Coordination, CoordinationFeatures, Take, Tally
from kernel_conformance.bench import Bench


class CoordinationBench(Bench[Coordination]):
    """Coordination services of one namespace."""

    @property
    def f(self) -> CoordinationFeatures:
        """The claims of the adapter."""
        return cast(CoordinationFeatures, self.features)

    @property
    def ttl(self) -> float:
        """A time to live that a test can wait for."""
        return 60.0 if self.tuning.clock else self.tuning.lease_for

    def claim(self, owner: str, *, key: str = "k", renew: bool = False, by: Coordination | None = None) -> str:
        """One claim."""
        return (by or self.first).claim([Claim(key, owner, self.ttl, renew)])[0]

    def tally(self, member: str, *, key: str = "k", by: Coordination | None = None) -> int:
        """One member."""
        return (by or self.first).tally([Tally(key, member, self.ttl)])[0]

    def take(
        self,
        n: float,
        *,
        rate: float = 1.0,
        burst: float = 10.0,
        bucket: str = "b",
        ahead: float = 0.0,
        every: float = 0.0,
    ) -> float:
        """Some tokens."""
        return self.first.take([Take(bucket, n, rate, burst, ahead, every)])[0]

    def acquire(
        self, owner: str, *, key: str = "k", limit: int = 2, heir_of: str = "", by: Coordination | None = None
    ) -> bool:
        """One slot."""
        return (by or self.first).acquire([Acquire(key, owner, limit, self.ttl, heir_of)])[0]
