"""A result store whose values are sealed, each for its own key: what one task returned is no result of another."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from msgspec.structs import replace as replaced

from kernel.errors import PartialPut, SealError
from kernel.ports import Record, ResultStore, StoreFeatures, Waits
from kernel.sealing.sealing import RESULT, Sealing

log = logging.getLogger("kernel.results")


class SealedResults:
    """Seals what is put and opens what is read.

    A value that does not open is a `SealError` for who reads it. A worker that finds one standing goes by its own
    outcome instead: `put` returns no bytes for it, which are no record.
    """

    def __init__(self, inner: ResultStore, sealing: Sealing) -> None:
        own = inner.features
        most = own.max_value and max(1, own.max_value - sealing.overhead)
        self._inner = inner
        self._sealing = sealing
        self._features = replace(own, max_value=most)

    @property
    def features(self) -> StoreFeatures:
        """What the store can do, with this decorator around it."""
        return self._features

    def open(self) -> None:
        """Open the inner store. Idempotent."""
        self._inner.open()

    def close(self) -> None:
        """Close the inner store. Idempotent."""
        self._inner.close()

    def put(self, items: Sequence[Record], ttl: float) -> list[bytes | None]:
        """Write every record that is not outranked, sealed."""
        sealing = self._sealing
        if sealing.seals:
            items = [replaced(item, value=sealing.seal(item.value, RESULT, item.key)) for item in items]
        try:
            return self._standing(items, self._inner.put(items, ttl))
        except PartialPut as partial:
            raise PartialPut(partial.errors, self._standing(items, partial.standing)) from partial

    def get(self, keys: Sequence[str]) -> list[bytes | None]:
        """The standing value of each key."""
        return self._opened(keys, self._inner.get(keys))

    def delete(self, keys: Sequence[str]) -> None:
        """Forget. Idempotent."""
        self._inner.delete(keys)

    def _opened(self, keys: Sequence[str], values: Sequence[bytes | None]) -> list[bytes | None]:
        return [None if value is None else self._open(key, value) for key, value in zip(keys, values, strict=True)]

    def _standing(self, items: Sequence[Record], values: Sequence[bytes | None]) -> list[bytes | None]:
        return [
            None if value is None else self._readable(item.key, value)
            for item, value in zip(items, values, strict=True)
        ]

    def _open(self, key: str, value: bytes) -> bytes:
        try:
            return self._sealing.open(value, RESULT, key)[0]
        except SealError as error:
            raise SealError(f"the result of {key} is {error}") from None

    def _readable(self, key: str, value: bytes) -> bytes:
        try:
            return self._open(key, value)
        except SealError as error:
            log.error("a record that stands counts for nothing: %s", error)
            return b""


class SealedWaiting(SealedResults):
    """The same around a store that tells of final records."""

    def __init__(self, inner: ResultStore, teller: Waits, sealing: Sealing) -> None:
        super().__init__(inner, sealing)
        self._teller = teller

    def wait(self, keys: Sequence[str], timeout: float) -> list[bytes | None]:
        """As `get`, when there is news."""
        return self._opened(keys, self._teller.wait(keys, timeout))

    def rouse(self) -> None:
        """End a blocked `wait`, or the next one."""
        self._teller.rouse()


def sealed_results(store: ResultStore, sealing: Sealing) -> ResultStore:
    """The store with its values sealed; it tells of news exactly if it does so without."""
    return SealedWaiting(store, store, sealing) if isinstance(store, Waits) else SealedResults(store, sealing)
