"""What a running task tells while it runs: a state of its own, its progress, and values before it ends.

A state is a record of the task that is not final, under the rank of this run: who has overtaken it is not disturbed.
A value is a record under a key of its own, made of the task's id and its position, and final: the first value of a
position stands. A task that runs twice says everything twice, and a caller hears everything once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from math import inf
from typing import Any, Protocol, TypeVar, get_args

from kernel import discovery
from kernel.clock import Clock
from kernel.configuration.settings import Tasks
from kernel.current import Running
from kernel.errors import ConfigError, PortError, Rejected
from kernel.outcome import LONGEST_STATE, Entry, State, encode_entry, value_key
from kernel.ports import Record
from kernel.steady import persist

T = TypeVar("T")

log = logging.getLogger("kernel.task")

#: A tight loop that tells its progress writes at most once in so many seconds.
PROGRESS_EVERY = 0.5
#: Values that one run may emit: they are kept for as long as a result.
MOST_VALUES = 10_000

_TAKEN = frozenset(get_args(State))


class Keeps(Protocol):
    """Where records go: a result store."""

    def put(self, items: Sequence[Record], ttl: float) -> list[bytes | None]:
        """Write each that is not outranked; what stands against the others."""


class Live:
    """What one run has told so far; made with its first word, so a silent one has none."""

    __slots__ = ("_clock", "_done", "_job", "_lock", "_serializer", "_settings", "_store", "_told_at", "values")

    def __init__(self, job: Running, store: Keeps | None, settings: Tasks, clock: Clock) -> None:
        """`store` is None where the application has none."""
        self._job = job
        self._store = store if job.store else None
        self._settings = settings
        self._clock = clock
        self._serializer = discovery.serializer(job.task.options.get("serializer") or settings.serializer)
        self._told_at = -inf
        self._done: float = -1.0
        self._lock = threading.Lock()
        #: Values emitted.
        self.values = 0

    def state(self, state: str, meta: Any) -> bool:
        """Record a state; whether it stands. One that cannot be written now is left out: the next one says more."""
        if not isinstance(state, str) or not 0 < len(state) <= LONGEST_STATE or state in _TAKEN:
            raise ConfigError(
                f"{state!r:.80} cannot be a state of a task's own: take a name of up to {LONGEST_STATE} characters, "
                f"and none of {', '.join(sorted(_TAKEN))}"
            )
        if self._store is None:
            return False
        record = Record(self._job.envelope.id, self._entry(state, meta), False, self._job.rank)
        try:
            return self._store.put([record], self._job.ttl)[0] is None
        except PortError as error:
            log.warning("state %s of task %s was not recorded: %s", state, self._job.envelope.id, error)
            return False

    def progress(self, done: float, total: float, message: str) -> bool:
        """Record PROGRESS, unless that was done just now; the end is always told."""
        now = self._clock.monotonic()
        if now - self._told_at < PROGRESS_EVERY and not (done >= total and done != self._done):
            return False
        self._told_at, self._done = now, done
        percent = min(100.0, max(0.0, 100.0 * done / total)) if total else 100.0
        return self.state("PROGRESS", {"done": done, "total": total, "percent": percent, "message": message})

    def emit(self, value: Any) -> bool:
        """Store the next value; whether it is the one that stands.

        Raises `EncodeError` for one without a form, `Rejected` beyond `MOST_VALUES`, `Unavailable` when the store stays
        away for `send_timeout` seconds.
        """
        store, envelope = self._store, self._job.envelope
        if store is None:
            return False
        entry = self._entry("SUCCESS", value)
        with self._lock:  # a coroutine may emit several at once, and a position that was left out would be the last
            if self.values >= MOST_VALUES:
                raise Rejected(f"{envelope.task} has emitted {MOST_VALUES} values: return the rest, or store it")
            record = Record(value_key(envelope.id, self.values), entry, True, (envelope.generation, 0, 0))
            standing = persist(lambda: store.put([record], self._job.ttl), self._settings.send_timeout)
            self.values += 1
        return standing[0] is None

    def _entry(self, state: str, value: Any) -> bytes:
        job, serializer = self._job, self._serializer
        entry = Entry(state, serializer.name, serializer.dumps(value), None, self._clock.now(), job.envelope.attempt)
        entry.node = job.node
        return encode_entry(entry)


async def in_thread(function: Callable[..., T], *args: Any) -> T:
    """Call a function that waits for a store, for a coroutine; it sees the task that runs."""
    from asyncio import to_thread  # imported already by whoever awaits; `import kernel` must not load it

    return await to_thread(function, *args)
