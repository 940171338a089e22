"""The ResultStore port on Redis: a string per record, which also is the channel that tells of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from struct import Struct
from typing import Any

from kernel.errors import PartialPut, PortError, Rejected
from kernel.ports import Record, StoreFeatures
from kernel_redis.client import Client, Command, checked
from kernel_redis.keys import Keys
from kernel_redis.scripts import Script
from kernel_redis.url import Location, parse
from kernel_redis.watch import Watch

#: Most records in one call.
MAX_BATCH = 1000
#: Largest value in bytes.
MAX_VALUE = 64 * 1024 * 1024
#: Longest time to live in seconds, some three thousand years; taken for "for ever", so that there is one way to write.
LONGEST = 1e11

_PUT = Script("told", "put")
#: Final, generation, attempt, fence; `lua/put.lua` reads it.
_RANK = Struct(">BIII")
_pack = _RANK.pack
_SIZE = _RANK.size


class RedisResults:
    """Records on a Redis; see `kernel.ports.results` for what each method promises."""

    def __init__(self, location: Location) -> None:
        self._client = Client(location)
        self._keys = Keys(location.prefix)
        self._watch = Watch(self._client, self._fetch)
        self._features = StoreFeatures(
            survives="process", max_value=MAX_VALUE, guarded=True, wait=True, max_batch=MAX_BATCH
        )

    @classmethod
    def from_url(cls, url: str) -> RedisResults:
        """The store that a URL describes; `ConfigError` for what is none."""
        return cls(parse(url))

    @property
    def features(self) -> StoreFeatures:
        """What this store can do."""
        return self._features

    def open(self) -> None:
        """Connect and look at the server. Idempotent; a closed store stays closed."""
        self._features = replace(self._features, survives=self._client.open().survives)

    def close(self) -> None:
        """Let go of the connections. Idempotent."""
        self._client.close()
        self._watch.close()

    def put(self, items: Sequence[Record], ttl: float) -> list[bytes | None]:
        """Write every record that is not outranked; per item None, or the value that stands."""
        _check_size(items)
        errors: dict[int, PortError] = {
            at: Rejected(f"{len(item.value)} bytes exceed the {MAX_VALUE} of a record")
            for at, item in enumerate(items)
            if len(item.value) > MAX_VALUE
        }
        keys = [self._keys.result(item.key) for item in items]
        groups = self._groups([at for at in range(len(items)) if at not in errors], keys)
        lasts_for = max(1, int(min(ttl or LONGEST, LONGEST) * 1000))
        commands: list[Command] = []
        for indexes in groups:
            records = [_pack(item.final, *item.rank) + item.value for item in map(items.__getitem__, indexes)]
            named = tuple(keys[at] for at in indexes)
            commands.append((named[0], _PUT.command(named, lasts_for, *records)))
        standing: list[bytes | None] = [None] * len(items)
        for indexes, answer in zip(groups, self._client.many(commands) if commands else [], strict=True):
            if isinstance(answer, PortError):
                if len(groups) == 1 and not errors:
                    raise answer
                errors.update(dict.fromkeys(indexes, answer))
                continue
            for place, value in zip(answer[::2], answer[1::2], strict=True):
                standing[indexes[place]] = value[_SIZE:]
        if errors:
            raise PartialPut(errors, standing)
        return standing

    def get(self, keys: Sequence[str]) -> list[bytes | None]:
        """The standing value of each key."""
        _check_size(keys)
        records = self._fetch([self._keys.result(key) for key in keys])
        return [None if record is None else record[_SIZE:] for record in records]

    def delete(self, keys: Sequence[str]) -> None:
        """Forget. Idempotent."""
        _check_size(keys)
        names = [self._keys.result(key) for key in keys]
        groups = self._groups(range(len(names)), names)
        for answer in self._client.many([(names[g[0]], ("UNLINK", *[names[at] for at in g])) for g in groups]):
            checked(answer)

    def wait(self, keys: Sequence[str], timeout: float) -> list[bytes | None]:
        """As `get`, as soon as one of them is final, when roused, or after `timeout` seconds."""
        _check_size(keys)
        records = self._watch.wait([self._keys.result(key) for key in keys], timeout)
        return [None if record is None else record[_SIZE:] for record in records]

    def rouse(self) -> None:
        """End a blocked `wait`, or the next one."""
        self._watch.rouse()

    def _fetch(self, names: Sequence[str]) -> list[bytes | None]:
        groups = self._groups(range(len(names)), names)
        commands = [(names[group[0]], ("MGET", *[names[at] for at in group])) for group in groups]
        records: list[bytes | None] = [None] * len(names)
        for group, answer in zip(groups, self._client.many(commands) if commands else [], strict=True):
            for at, record in zip(group, checked(answer), strict=True):
                records[at] = record
        return records

    def _groups(self, indexes: Sequence[int], keys: Sequence[str]) -> list[list[int]]:
        """Indexes of keys that one command may name: all of them, but on a cluster those of one hash tag."""
        if self._client.spans:
            return [list(indexes)] if indexes else []
        groups: dict[str, list[int]] = {}
        for at in indexes:
            groups.setdefault(keys[at].partition("}")[0], []).append(at)
        return list(groups.values())


def _check_size(items: Sequence[Any]) -> None:
    if len(items) > MAX_BATCH:
        raise Rejected(f"{len(items)} in one call; at most {MAX_BATCH}")
