"""The ScheduleStore port on Redis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from struct import Struct
from typing import Any

from kernel.errors import Rejected
from kernel.ports import Parked, ScheduleFeatures
from kernel_redis.client import Client, checked
from kernel_redis.keys import Keys
from kernel_redis.scripts import Script
from kernel_redis.url import Location, parse

#: Most entries in one call.
MAX_BATCH = 1000

_ADD = Script("clock", "space", "add")
_TAKE = Script("clock", "space", "take_due")
_REMOVE = Script("clock", "space", "remove")
_NEXT = Script("clock", "space", "next")
#: The time of an entry before its payload; `lua/space.lua` reads it.
_DUE = Struct(">d")


class RedisSchedules:
    """Parked entries on a Redis; see `kernel.ports.schedule` for what each method promises.

    `now` decides what is due; leases run by the clock of the server, whatever `now` says.
    """

    def __init__(self, location: Location) -> None:
        self._client = Client(location)
        self._keys = Keys(location.prefix)
        self._features = ScheduleFeatures(survives="process", max_batch=MAX_BATCH)

    @classmethod
    def from_url(cls, url: str) -> RedisSchedules:
        """The store that a URL describes; `ConfigError` for what is none."""
        return cls(parse(url))

    @property
    def features(self) -> ScheduleFeatures:
        """What this store can do."""
        return self._features

    def open(self) -> None:
        """Connect and look at the server. Idempotent; a closed store stays closed."""
        self._features = replace(self._features, survives=self._client.open().survives)

    def close(self) -> None:
        """Let go of the connections. Idempotent."""
        self._client.close()

    def add(self, entries: Sequence[Parked]) -> None:
        """Store entries; one with the same space and key replaces the old and its lease."""
        self._by_space(_ADD, entries, lambda entry: _DUE.pack(entry.due_at) + entry.payload)

    def take(self, space: str, now: float, limit: int, lease: float) -> list[Parked]:
        """Up to `limit` due entries, earliest first, hidden from other takers for `lease` seconds."""
        limit = min(limit, MAX_BATCH)
        if limit <= 0:
            self._client.check()
            return []
        base = self._keys.space(space)
        arguments = (repr(now), limit, max(1, int(lease * 1000)))
        found = self._client.one(base, *_TAKE.command((base,), *arguments))
        return [
            Parked(space, key.decode("utf-8", "surrogatepass"), _DUE.unpack_from(entry)[0], entry[_DUE.size :])
            for key, entry in zip(found[::2], found[1::2], strict=True)
        ]

    def remove(self, entries: Sequence[Parked]) -> None:
        """Delete entries that are still as given."""
        self._by_space(_REMOVE, entries, lambda entry: _DUE.pack(entry.due_at))

    def next_at(self, space: str) -> float | None:
        """The earliest time at which an entry of the space can be taken; None when it is empty."""
        base = self._keys.space(space)
        at = self._client.one(base, *_NEXT.command((base,)))
        return None if at is None else float(at)

    def _by_space(self, script: Script, entries: Sequence[Parked], value: Any) -> None:
        if len(entries) > MAX_BATCH:
            raise Rejected(f"{len(entries)} in one call; at most {MAX_BATCH}")
        arguments: dict[str, list[Any]] = {}
        for entry in entries:
            arguments.setdefault(self._keys.space(entry.space), []).extend((entry.key, value(entry)))
        self._client.check()
        for answer in self._client.many([(base, script.command((base,), *each)) for base, each in arguments.items()]):
            checked(answer)
