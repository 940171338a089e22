"""The Coordination port on Redis. Every key has an expiry, so a dead owner blocks nobody for long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from kernel.errors import Rejected
from kernel.ports import Acquire, Claim, CoordinationFeatures, Take, Tally
from kernel_redis.client import Client, Command, checked
from kernel_redis.keys import Keys
from kernel_redis.scripts import Script
from kernel_redis.url import Location, parse

#: Most items in one call.
MAX_BATCH = 1000
#: Longest time to live, in milliseconds: beyond it Redis refuses a time.
LONGEST = 10**12
#: In place of infinity, which Lua does not read; seconds.
MOST = 1e300

_CLAIM = Script("claim_fact")
_DROP = Script("drop")
_TALLY = Script("tally")
_TAKE = Script("take")
_ACQUIRE = Script("acquire")
_FREE = Script("free")


class RedisCoordination:
    """Claims, sets, buckets and slots on a Redis; see `kernel.ports.coordination` for what each method promises."""

    def __init__(self, location: Location) -> None:
        self._client = Client(location)
        self._keys = Keys(location.prefix)
        self._features = CoordinationFeatures(survives="process", max_batch=MAX_BATCH)

    @classmethod
    def from_url(cls, url: str) -> RedisCoordination:
        """The service that a URL describes; `ConfigError` for what is none."""
        return cls(parse(url))

    @property
    def features(self) -> CoordinationFeatures:
        """What this service can do."""
        return self._features

    def open(self) -> None:
        """Connect and look at the server. Idempotent; a closed service stays closed."""
        self._features = replace(self._features, survives=self._client.open().survives)

    def close(self) -> None:
        """Let go of the connections. Idempotent."""
        self._client.close()

    def claim(self, items: Sequence[Claim]) -> list[str]:
        """Who owns each key now."""
        found = self._each(
            _CLAIM, "claim", [(item.key, item.owner, _milliseconds(item.ttl), int(item.renew)) for item in items]
        )
        return [owner.decode("utf-8", "surrogatepass") for owner in found]

    def drop(self, items: Sequence[tuple[str, str]]) -> None:
        """End claims of their owners. Idempotent."""
        self._each(_DROP, "claim", items)

    def tally(self, items: Sequence[Tally]) -> list[int]:
        """Add each member and return the size of its set."""
        return self._each(_TALLY, "tally", [(item.key, item.member, _milliseconds(item.ttl)) for item in items])

    def take(self, items: Sequence[Take]) -> list[float]:
        """The seconds until the tokens are there, taken where that is within `ahead`."""
        given = [
            (
                item.bucket,
                repr(item.n),
                repr(item.rate),
                repr(item.burst),
                repr(min(item.ahead, MOST)),
                repr(item.every),
            )
            for item in items
        ]
        return [float(wait) for wait in self._each(_TAKE, "bucket", given)]

    def acquire(self, items: Sequence[Acquire]) -> list[bool]:
        """Whether each owner now holds a slot."""
        given = [(item.key, item.owner, item.limit, _milliseconds(item.ttl), item.heir_of) for item in items]
        return [got == 1 for got in self._each(_ACQUIRE, "slots", given)]

    def release(self, items: Sequence[tuple[str, str]]) -> None:
        """Free slots. Idempotent."""
        self._each(_FREE, "slots", items)

    def _each(self, script: Script, kind: str, items: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Run a script on items that begin with their key: once for all, on a cluster once for each."""
        if len(items) > MAX_BATCH:
            raise Rejected(f"{len(items)} in one call; at most {MAX_BATCH}")
        if not items:
            self._client.check()
            return []
        keys = [self._keys.fact(kind, item[0]) for item in items]
        groups = [range(len(items))] if self._client.spans else [range(at, at + 1) for at in range(len(items))]
        commands: list[Command] = []
        for group in groups:
            arguments = [argument for at in group for argument in items[at][1:]]
            commands.append((keys[group[0]], script.command(tuple(keys[at] for at in group), *arguments)))
        return [value for answer in self._client.many(commands) for value in checked(answer)]


def _milliseconds(ttl: float) -> int:
    return int(min(max(1.0, ttl * 1000), LONGEST))
