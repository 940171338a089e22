"""Effects that must not happen twice, although a task may run twice.

Two strengths. `run_once_within` puts a key into the transaction of the effect itself: both happen or neither, exactly
once, for effects in one SQL database. `run_once` is for effects elsewhere, such as a payment by HTTP: one caller at a
time, under a claim with an expiry, and what it came to is recorded and given to everybody who asks later. A process
that dies between the effect and the record leaves the question open whether there was an effect; when its claim has run
out, the next one runs it again. No library can close that gap: hand the key on to a service that knows it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, ParamSpec, TypeVar, cast

from kernel import discovery
from kernel.current import application
from kernel.errors import ConfigError, StillRunning
from kernel.ids import new_id
from kernel.native import Signal, Thread, monotonic, sleep
from kernel.outcome import Entry, decode_entry, encode_entry
from kernel.ports import Claim, Coordination, Record, ResultStore
from kernel.steady import persist

P = ParamSpec("P")
T = TypeVar("T")

#: Seconds after which somebody else may run what a process that died had begun.
CLAIM_FOR: Final = 60.0
#: Seconds for which what was done is remembered: 30 days.
KEEP_FOR: Final = 30 * 86400.0
#: Seconds to wait for somebody who is at it.
WAIT_FOR: Final = 10.0
#: Seconds between two looks at whether that one has ended, at first and at most.
FIRST_LOOK, LAST_LOOK = 0.01, 0.5
#: Before the keys of claims and records.
_SPACE: Final = "once:"


class Once:
    """What a `with once(...)` block is given."""

    __slots__ = ("first", "value")

    def __init__(self, first: bool, value: Any = None) -> None:
        #: Whether the effect has to be made now.
        self.first = first
        #: The recorded value; the one to be recorded when the block ends, None by default.
        self.value = value


def run_once(key: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """`function(*args, **kwargs)`, unless that was done under this key before: then what it returned then.

    As `once`, which says how long and what is raised.
    """
    with once(key) as it:
        if it.first:
            it.value = function(*args, **kwargs)
    return cast(T, it.value)


@contextmanager
def once(
    key: str, *, wait: float = WAIT_FOR, keep: float = KEEP_FOR, ttl: float = CLAIM_FOR, app: Any = None
) -> Iterator[Once]:
    """`with once("charge:7") as it:` of all who enter with one key, one at a time finds `it.first` true.

    When its block ends, the key is done and `it.value` recorded for `keep` seconds; when it raises, nothing is
    recorded and the next one is first. When its process dies, the next one is first once `ttl` seconds have passed; a
    block that lasts longer renews that. Values travel by the serializer of the application.

    `StillRunning` when somebody else is at it for more than `wait` seconds, `ConfigError` without a result store and a
    coordination service, `Unavailable` when one of them is away: with the effect made and not recorded when that
    happens at the end.
    """
    records = _Records(app or _current(), key, keep, ttl)
    standing = records.standing() or records.claim(wait)
    if standing is not None:
        yield Once(False, records.load(standing))
        return
    it = Once(True)
    renewal = _Renewal(records, ttl)
    try:
        yield it
        value = records.dump(it.value)
    except BaseException:
        renewal.stop()
        records.drop()
        raise
    renewal.stop()
    # Not dropped when this fails: nobody knows then, and whoever comes next should not come at once.
    winner = records.record(value)
    records.drop()
    if winner is not None:  # an overtaken one: what was recorded first is what everybody is told
        it.value = records.load(winner)


def run_once_within(transaction: object, key: str) -> bool:
    """Note a key in a transaction of a database, as `Kernel.within` takes it; whether it is new.

    Where it is, make the effect in the same transaction: they are committed together or not at all. Who notes a key
    that another open transaction has noted waits for its end. `kernel outbox ddl` prints the table too.
    """
    return discovery.transaction(transaction).note(key)


async def arun_once_within(transaction: object, key: str) -> bool:
    """`run_once_within` for asynchronous sessions."""
    return await discovery.transaction(transaction).anote(key)


def _current() -> Any:
    if not application:
        raise ConfigError("there is no application in this process: create one with Kernel(...) first")
    return application[0]


class _Records:
    """One key in the result store and the coordination service."""

    def __init__(self, app: Any, key: str, keep: float, ttl: float) -> None:
        ports, self._tasks = app.ports, app.config.tasks
        if ports.results is None or ports.coordination is None:
            missing = "results" if ports.results is None else "coordination"
            raise ConfigError(f"once needs a result store and a coordination service: set {missing}=")
        self._store: ResultStore = ports.results
        self._coordination: Coordination = ports.coordination
        self._name = key
        self._key = f"{_SPACE}{key}"
        self._keep = keep
        self._ttl = ttl
        self._owner = new_id()
        self._now = app.clock.now

    def standing(self) -> Entry | None:
        """What is recorded."""
        found = persist(lambda: self._store.get([self._key]), self._tasks.send_timeout)[0]
        return None if found is None else decode_entry(found)

    def claim(self, wait: float) -> Entry | None:
        """Become the one who runs, None; or the record of somebody who was faster."""
        until = monotonic() + wait
        pause = FIRST_LOOK
        while not self.renew():
            left = until - monotonic()
            if left <= 0:
                raise StillRunning(f"{self._name!r} is being run by somebody else, for more than {wait:g} s")
            sleep(min(pause, left))
            pause = min(LAST_LOOK, pause * 1.5)
            if (found := self.standing()) is not None:
                return found
        # Who had it before may have recorded between our look and our claim.
        found = self.standing()
        if found is not None:
            self.drop()
        return found

    def renew(self) -> bool:
        """Claim, or claim for longer; whether it is ours."""
        claims = [Claim(self._key, self._owner, self._ttl)]
        return persist(lambda: self._coordination.claim(claims), self._tasks.send_timeout)[0] == self._owner

    def drop(self) -> None:
        """End the claim."""
        persist(lambda: self._coordination.drop([(self._key, self._owner)]), self._tasks.send_timeout)

    def dump(self, value: Any) -> bytes:
        """The record of a value; `EncodeError` for one that has no form."""
        codec = discovery.serializer(self._tasks.serializer)
        return encode_entry(Entry("SUCCESS", codec.name, codec.dumps(value), at=self._now()))

    def record(self, value: bytes) -> Entry | None:
        """Write it; the record that stands already, None where this one does."""
        record = Record(self._key, value, final=True, rank=(0, 0, 0))
        stands = persist(lambda: self._store.put([record], self._keep), self._tasks.send_timeout)[0]
        return None if stands is None else decode_entry(stands)

    def load(self, entry: Entry) -> Any:
        """The value of a record."""
        return discovery.serializer(entry.codec).loads(entry.body)


class _Renewal:
    """Keeps the claim of a block that lasts."""

    def __init__(self, records: _Records, ttl: float) -> None:
        self._records = records
        self._every = ttl / 3
        self._ended = Signal()
        self._thread = Thread(self._run, "kernel-once", failed=lambda error: None)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(self._every):
            self._records.renew()

    def stop(self) -> None:
        """End it."""
        self._ended.set()
        self._thread.join(self._every)
