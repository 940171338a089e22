"""Reading results from a store: at once, waiting, and for many coroutines through one thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from kernel import discovery
from kernel.clock import SYSTEM, Clock
from kernel.configuration.settings import Tasks
from kernel.errors import DecodeError
from kernel.ids import made_at
from kernel.native import sleep
from kernel.outcome import Entry, decode_entry
from kernel.parts import parts
from kernel.ports import Record, ResultStore, Serializer, Waits
from kernel.results.desk import FIRST_LOOK, LAST_LOOK, Desk, Entries, any_final
from kernel.results.joining import check_join
from kernel.results.revocations import records_of
from kernel.steady import persist


class StoredResults:
    """The `Results` of an application that has a store."""

    def __init__(
        self,
        store: ResultStore,
        serializer: Callable[[str], Serializer],
        accept: Sequence[str],
        patience: float,
        clock: Clock = SYSTEM,
        ttl: float = 86400.0,
        revoked_for: float = 604800.0,
        joins: bool = True,
    ) -> None:
        """`patience`: seconds for which an unavailable store is tried again before the caller hears of it; `ttl`: for
        which what is saved is kept; `revoked_for`: for which it is known what is revoked. `joins`: tasks may wait."""
        self._joins = joins
        self._store = store
        self._teller: Waits | None = store if isinstance(store, Waits) else None
        self._serializer = serializer
        self._accept = frozenset(accept)
        self._patience = patience
        self._clock = clock
        self._ttl = ttl
        self._revoked_for = revoked_for
        self._desk = Desk(self, clock.monotonic)

    @classmethod
    def of(cls, store: ResultStore, tasks: Tasks, clock: Clock) -> StoredResults:
        """As these settings want it."""
        expire = tasks.result_expires, tasks.revokes_expire
        joins = not tasks.disable_sync_subtasks
        return cls(store, discovery.serializer, tasks.accept, tasks.send_timeout, clock, *expire, joins)

    def entries(self, ids: list[str]) -> Entries:
        """What stands now."""
        return _decoded(persist(lambda: self._batches(ids), self._patience))

    def _batches(self, ids: list[str]) -> list[bytes | None]:
        size = self._store.features.max_batch
        values: list[bytes | None] = []
        for part in parts(ids, size):
            values += self._store.get(part)
        return values

    def await_any(self, ids: list[str], timeout: float | None) -> Entries:
        """Wait until at least one of them is final, or time is over."""
        if timeout is not None and timeout <= 0.0:
            return self.entries(ids)
        if not self._joins:
            check_join()
        deadline = None if timeout is None else self._clock.monotonic() + timeout
        return self._desk.wait(ids, deadline) if self.tells(ids) else self._poll(ids, deadline)

    def _poll(self, ids: list[str], deadline: float | None) -> Entries:
        pause = FIRST_LOOK
        while True:
            entries = self.entries(ids)
            left = LAST_LOOK if deadline is None else deadline - self._clock.monotonic()
            if any_final(entries) or left <= 0.0:
                return entries
            sleep(min(pause, left))
            pause = min(LAST_LOOK, pause * 1.5)

    def tells(self, ids: list[str]) -> bool:
        """Whether the store tells by itself when one of these is final; for more than a batch of them it is asked."""
        features = self._store.features
        return self._teller is not None and features.wait and len(ids) <= features.max_batch

    def told(self, ids: list[str], timeout: float) -> Entries:
        """What stands when the store has news of one of these, when it is roused or when `timeout` seconds are over."""
        teller = self._teller
        assert teller is not None
        return _decoded(persist(lambda: teller.wait(ids, timeout), self._patience))

    def rouse(self) -> None:
        """End the wait of who is told, or the next one."""
        if self._teller is not None:
            self._teller.rouse()

    async def aawait_any(self, ids: list[str], timeout: float | None) -> Entries:
        """The same for a coroutine."""
        if not self._joins:
            check_join()
        return await self._desk.ask(ids, None if timeout is None else self._clock.monotonic() + timeout)

    def forget(self, ids: list[str]) -> None:
        """Delete."""
        size = self._store.features.max_batch
        for part in parts(ids, size):
            persist(partial(self._store.delete, part), self._patience)

    def gone(self, id: str) -> bool:
        """Whether its record may have been there and have expired, by the time in its id: for how long results are kept
        is known here, and for how long this one was, is not."""
        since = made_at(id)
        return self._ttl > 0.0 and since is not None and since + self._ttl < self._clock.now()

    def revoke(self, ids: list[str], terminate: bool = False, stamps: Mapping[str, Any] | None = None) -> None:
        """Write what keeps them from running."""
        records = records_of(ids, stamps or {}, terminate, self._clock.now())
        size = self._store.features.max_batch
        for part in parts(records, size):
            persist(partial(self._store.put, part, self._revoked_for), self._patience)

    def save(self, key: str, value: bytes) -> None:
        """Keep something beside the results; the last one stands."""
        record = Record(key, value, False, (0, 0, 0))
        persist(lambda: self._store.put([record], self._ttl), self._patience)

    def saved(self, key: str) -> bytes | None:
        """What was kept."""
        return persist(lambda: self._batches([key]), self._patience)[0]

    def load(self, entry: Entry) -> Any:
        """Decode a value; refused when its codec is one that this application does not accept."""
        serializer = self._serializer(entry.codec)
        if not serializer.safe and entry.codec not in self._accept:
            raise DecodeError(
                f"the result is {entry.codec!r}, which can run code when it is read: "
                f"add it to `accept` if you trust who wrote it"
            )
        return serializer.loads(entry.body)


def _decoded(values: list[bytes | None]) -> Entries:
    return [None if value is None else decode_entry(value) for value in values]
