"""The ResultStore port in memory."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import inf
from time import monotonic

from kernel.clock import SYSTEM, Clock
from kernel.errors import PartialPut, PortError, Rejected, Unavailable, Unsupported
from kernel.native import Signal
from kernel.ports import Record, StoreFeatures
from kernel.ports.results import outranked
from kernel_memory.options import RESULT_MASKS, Limits, check_mask, parse
from kernel_memory.space import Space


class MemoryResults:
    """Ranked records in the memory of this process; see `kernel.ports.results` for what each method promises."""

    def __init__(
        self,
        space: Space | None = None,
        clock: Clock = SYSTEM,
        mask: Collection[str] = (),
        limits: Limits | None = None,
    ) -> None:
        check_mask(mask, RESULT_MASKS)
        limits = limits or Limits()
        self._space = space or Space()
        self._clock = clock
        self._features = StoreFeatures(
            survives="process",
            max_value=limits.max_value,
            guarded="guarded" not in mask,
            wait="wait" not in mask,
            max_batch=limits.max_batch,
        )
        self._waiting: set[Signal] = set()
        self._roused = False
        self._state = "new"

    @classmethod
    def from_url(cls, url: str) -> MemoryResults:
        """The store that a URL describes; `ConfigError` for an option that is none."""
        options = parse(url)
        return cls(Space.named(options.name), mask=options.mask & RESULT_MASKS, limits=options.limits)

    @property
    def features(self) -> StoreFeatures:
        """What this store can do."""
        return self._features

    def open(self) -> None:
        """Make ready. Idempotent; a closed store stays closed."""
        if self._state == "closed":
            raise Unavailable("the memory result store is closed")
        self._state = "open"

    def close(self) -> None:
        """Let go; a blocked `wait` ends with `Unavailable`. The records stay in the space."""
        self._state = "closed"
        with self._space.lock:
            waiting = list(self._waiting)
        for signal in waiting:
            signal.set()

    def put(self, items: Sequence[Record], ttl: float) -> list[bytes | None]:
        """Write every record that is not outranked."""
        self._check(len(items))
        now = self._clock.monotonic()
        until = now + ttl if ttl else inf
        largest = self._features.max_value or inf
        standing: list[bytes | None] = []
        errors: dict[int, PortError] = {}
        records, readers = self._space.records, self._space.readers
        with self._space.lock:
            for item in items:
                old = records.get(item.key, now)
                if len(item.value) > largest:
                    errors[len(standing)] = Rejected(f"value of {len(item.value)} bytes, at most {largest:g} are kept")
                    standing.append(None)
                elif old is not None and outranked(item.final, item.rank, old.final, old.rank):
                    standing.append(old.value)
                else:
                    records.put(item.key, Record(item.key, item.value, item.final, item.rank), until, now)
                    standing.append(None)
                    if item.final and item.key in readers:
                        for signal in readers[item.key]:
                            signal.set()
        if errors:
            raise PartialPut(errors, standing)
        return standing

    def get(self, keys: Sequence[str]) -> list[bytes | None]:
        """The standing value of each key."""
        self._check(len(keys))
        now = self._clock.monotonic()
        with self._space.lock:
            found = [self._space.records.get(key, now) for key in keys]
        return [None if record is None else record.value for record in found]

    def delete(self, keys: Sequence[str]) -> None:
        """Forget."""
        self._check(len(keys))
        with self._space.lock:
            for key in keys:
                self._space.records.pop(key)

    def wait(self, keys: Sequence[str], timeout: float) -> list[bytes | None]:
        """As `get`, once one of the keys has a final record, or after `timeout` seconds of real time."""
        self._check(len(keys))
        if not self._features.wait:
            raise Unsupported("this memory result store has no 'wait': it is masked")
        ends = monotonic() + timeout
        signal = Signal()
        self._watch(keys, signal)
        try:
            while True:
                signal.clear()
                self._check(0)
                now = self._clock.monotonic()
                with self._space.lock:
                    found = [self._space.records.get(key, now) for key in keys]
                remaining = ends - monotonic()
                if remaining <= 0 or self._roused or any(record is not None and record.final for record in found):
                    return [None if record is None else record.value for record in found]
                signal.wait(remaining)
        finally:
            self._roused = False
            self._unwatch(keys, signal)

    def rouse(self) -> None:
        """End a blocked `wait`, or the next one."""
        self._roused = True
        for signal in list(self._waiting):
            signal.set()

    def _check(self, size: int) -> None:
        if self._state != "open":
            raise Unavailable(f"the memory result store is {'not open' if self._state == 'new' else 'closed'}")
        if size > self._features.max_batch:
            raise Rejected(f"{size} records in one call, at most {self._features.max_batch} are taken")

    def _watch(self, keys: Sequence[str], signal: Signal) -> None:
        with self._space.lock:
            self._waiting.add(signal)
            for key in keys:
                self._space.readers.setdefault(key, set()).add(signal)

    def _unwatch(self, keys: Sequence[str], signal: Signal) -> None:
        readers = self._space.readers
        with self._space.lock:
            self._waiting.discard(signal)
            for key in set(keys):
                readers[key].discard(signal)
                if not readers[key]:
                    del readers[key]
