"""Runs a call here and now, inside of its caller: `Task.apply`, and each call of an application that is `always_eager`.

It is the same call as one that is sent: checked, encoded and decoded, with the hooks of its class and of plugins, and
run again where it asks for a retry, at once and not later. What only a worker and its services can do is not done here:
limits of time and of concurrency, expiry, queues, workflows. `kernel.testing` runs those too.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from math import inf
from threading import Lock
from typing import Any, Protocol, TypeVar

from kernel import discovery
from kernel import envelope as wire
from kernel.arity import is_coroutine
from kernel.body.compose import body_of
from kernel.body.reading import Reading
from kernel.body.rites import Rites
from kernel.clock import Clock
from kernel.compression import method
from kernel.configuration.config import Config
from kernel.current import Place, running
from kernel.envelope import Envelope, decode
from kernel.errors import (
    Ignore,
    MaxRetriesExceeded,
    Reject,
    Replace,
    ResultTimeout,
    Retry,
    Snooze,
    UnknownTask,
    Unsupported,
)
from kernel.hooks import Hooks
from kernel.opened import Opened
from kernel.outcome import FINAL, Again, Drop, Entry, Failed, Ok, Outcome, decode_entry, describe, encode_entry
from kernel.policy import allowed_retries, retry_policy
from kernel.ports import Outgoing, Record, Transport
from kernel.ports.results import Rank, outranked
from kernel.results.inquiry import StoredResults
from kernel.results.live import Live
from kernel.results.result import NO_STORE, AsyncResult, Results
from kernel.sending.connection import Connection
from kernel.sending.connection import sender as connected_sender
from kernel.sending.errand import Errands
from kernel.sending.exchanges import Exchanges
from kernel.sending.sender import MOST, Sender
from kernel.steady import persist
from kernel.task import Task
from kernel.versions import FIRST

T = TypeVar("T")

#: Runs of one call after which it is taken to go on for ever.
MOST_RUNS = 1000
#: Results that an application keeps which is always eager; the oldest go first.
MOST_KEPT = 10_000
#: What a workflow needs, which nobody keeps here.
_WORKFLOW = frozenset({wire.JOIN, wire.FLOW})


class Application(Protocol):
    """What running needs of an application."""

    @property
    def hooks(self) -> Hooks:
        """Its plugins."""

    @property
    def clock(self) -> Clock:
        """Its clock."""

    @property
    def ports(self) -> Opened:
        """Its adapters."""

    @property
    def sender(self) -> Sender:
        """How its messages leave."""

    @property
    def config(self) -> Config:
        """Its configuration."""

    @property
    def tasks(self) -> dict[str, Task[..., Any, Any]]:
        """Its tasks."""


class Shelf:
    """Results in this process: the `Results` of who waits for them, and where a task puts what it tells."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}
        self._lock = Lock()

    def put(self, items: Sequence[Record], ttl: float) -> list[bytes | None]:
        """As of a result store."""
        standing: list[bytes | None] = []
        with self._lock:
            for item in items:
                old = self._records.get(item.key)
                if old is not None and outranked(item.final, item.rank, old.final, old.rank):
                    standing.append(old.value)
                    continue
                self._records[item.key] = item
                standing.append(None)
            while len(self._records) > MOST_KEPT:
                del self._records[next(iter(self._records))]
        return standing

    def entries(self, ids: list[str]) -> list[Entry | None]:
        """What stands."""
        records = [self._records.get(id) for id in ids]
        return [None if record is None else decode_entry(record.value) for record in records]

    def await_any(self, ids: list[str], timeout: float | None) -> list[Entry | None]:
        """What stands: nothing comes later. `ResultTimeout` where none has ended."""
        entries = self.entries(ids)
        if not any(entry is not None and entry.state in FINAL for entry in entries):
            raise ResultTimeout(f"task {ids[0]} has run already and left no outcome: it was ignored, or is long ago")
        return entries

    async def aawait_any(self, ids: list[str], timeout: float | None) -> list[Entry | None]:
        """The same."""
        return self.await_any(ids, timeout)

    def forget(self, ids: list[str]) -> None:
        """Delete."""
        for id in ids:
            self._records.pop(id, None)

    def gone(self, id: str) -> bool:
        """What was kept longest ago is, but nothing tells that of what was never there."""
        return False

    def revoke(self, ids: list[str], terminate: bool = False, stamps: Mapping[str, Any] | None = None) -> None:
        """Nothing to do: what has run has ended."""

    def save(self, key: str, value: bytes) -> None:
        """Keep something beside the results."""
        self.put([Record(key, value, False, (0, 0, 0))], inf)

    def saved(self, key: str) -> bytes | None:
        """What was kept there."""
        record = self._records.get(key)
        return None if record is None else record.value

    def load(self, entry: Entry) -> Any:
        """Decode a value."""
        return discovery.serializer(entry.codec).loads(entry.body)


class EagerResult(AsyncResult[T]):
    """The result of a call that has run inside of its caller; errors are those of any other result."""

    __slots__ = ()


class EagerRun:
    """One run of a call, as the running task sees it."""

    node = "eager"
    redelivered = 0
    store = True
    soft_limit = hard_limit = 0.0
    place: Place = "eager"

    def __init__(
        self, task: Task[..., Any, Any], envelope: Envelope, queue: str, loads: Callable[[bytes], Any]
    ) -> None:
        self.task = task
        self.envelope = envelope
        self.queue = queue
        self.ttl = 0.0
        self.live: Live | None = None
        self.children: list[str] | None = None
        self.added: list[Any] | None = None
        self._loads = loads

    @property
    def rank(self) -> Rank:
        """As of a first delivery."""
        return (self.envelope.generation, self.envelope.attempt, 0)

    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """Decoded from the message, as in a worker."""
        args, kwargs = self._loads(self.envelope.body)
        return args, kwargs


class Eager:
    """Runs calls of one application."""

    def __init__(self, app: Application, shelf: Shelf) -> None:
        self._app = app
        self._shelf = shelf

    def run(self, payload: bytes, queue: str, throw: bool) -> None:
        """Run a message to its end and keep its outcome; with `throw`, raise what the task raises.

        `UnknownTask` for one that this process does not know, `Unsupported` for a part of a workflow.
        """
        envelope = decode(payload)
        task = self._app.tasks.get(envelope.task)
        if task is None:
            raise UnknownTask(f"{envelope.task} is not known in this process, which is to run it: import its module")
        if not _WORKFLOW.isdisjoint(envelope.extra):
            raise Unsupported(
                f"{envelope.task} is a part of a workflow: kernel.testing runs those, always_eager does not"
            )
        settings = self._app.config.tasks
        coroutine, rites = is_coroutine(task.function), Rites.of(task)
        body = self._app.hooks.wrapped(task, body_of(task, coroutine, rites))
        if rites is not None:
            rites.bridge(block_on)
        reading = Reading.of_task(task, settings)
        codec = discovery.serializer(task.options.get("serializer") or settings.serializer)
        for _ in range(MOST_RUNS):
            run = EagerRun(task, envelope, queue, self._loads(envelope, reading))
            run.live = Live(run, self._shelf, settings, self._app.clock)
            value, error = None, None
            token = running.set(run)
            try:
                args, kwargs = run.arguments()
                value = block_on(body(*args, **kwargs)) if coroutine else body(*args, **kwargs)
                outcome: Outcome = Ok(codec.dumps(reading.plain(value)))
            except Exception as raised:
                error = raised
                outcome = self._judge(run, raised)
            finally:
                running.reset(token)
            if rites is not None:
                rites.told(run, outcome, value, error)
            if type(outcome) is not Again:
                self._keep(run, outcome, codec.name)
                if throw and error is not None and not isinstance(error, Ignore):
                    raise (error.cause or error) if isinstance(error, Retry) else error
                return
            envelope, queue = _next(run, outcome), outcome.queue or queue
        raise RuntimeError(f"{envelope.task} asked to be run again {MOST_RUNS} times")

    def _loads(self, envelope: Envelope, reading: Reading) -> Callable[[bytes], Any]:
        extra = envelope.extra
        packed = method(extra[wire.ENCODING]) if wire.ENCODING in extra else None
        return reading.of(discovery.serializer(envelope.codec).loads, extra.get(wire.SCHEMA, FIRST), packed)

    def _judge(self, run: EagerRun, error: Exception) -> Outcome:
        if isinstance(error, Snooze) or (isinstance(error, Reject) and error.requeue):
            return Again(0.0, hop=True)
        if isinstance(error, Ignore):
            return Drop("ignored by the task")
        if isinstance(error, Replace):
            return Failed(describe(Unsupported(f"{run.task.name} replaces itself by a workflow, which takes a worker")))
        policy = retry_policy(run.task.options, self._app.config.tasks)
        asked = error if isinstance(error, Retry) else None
        if asked is None and not policy.automatic(error):
            return Failed(describe(error))
        cause = error if asked is None else asked.cause
        allowed = allowed_retries(policy, run.envelope, asked)
        if allowed is not None and run.envelope.attempt >= allowed:
            none_left = MaxRetriesExceeded(f"{run.task.name} asked for a retry and none of {allowed} is left")
            return Failed(describe(cause or none_left))
        again = Again(0.0, None if cause is None else describe(cause))
        if asked is not None and isinstance(asked.call, Envelope):
            again.call, again.queue = asked.call, asked.queue
        return again

    def _keep(self, run: EagerRun, outcome: Outcome, codec: str) -> None:
        now, attempt = self._app.clock.now(), run.envelope.attempt
        match outcome:
            case Ok(value):
                entry = Entry("SUCCESS", codec, value, None, now, attempt, node=run.node, children=run.children or [])
            case Failed(described):
                entry = Entry("FAILURE", "", b"", described, now, attempt, node=run.node, children=run.children or [])
            case _:
                return
        self._shelf.put([Record(run.envelope.id, encode_entry(entry), True, run.rank)], inf)


def _next(run: EagerRun, again: Again) -> Envelope:
    """The call of the next run."""
    envelope = again.call or run.envelope
    return envelope if again.hop else envelope.but(attempt=run.envelope.attempt + 1)


def block_on(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end: on a loop of its own, in a thread of its own where this one has a loop that runs."""
    import asyncio  # for asynchronous tasks alone; `import kernel` must not load it
    from concurrent.futures import ThreadPoolExecutor
    from contextvars import copy_context

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(copy_context().run, asyncio.run, coroutine).result()


def apply(app: Application, message: tuple[str, Outgoing], throw: bool) -> EagerResult[Any]:
    """Run one call that was made ready for sending."""
    task_id, out = message
    shelf = Shelf()
    Eager(app, shelf).run(out.payload, out.queue, throw)
    return EagerResult(task_id, shelf)


class EagerSender(Sender):
    """What an application that is always eager has in place of a way to its transport, which it never opens."""

    def __init__(self, app: Application, propagates: bool) -> None:
        super().__init__(_never, app.hooks, inf, Errands(), Exchanges(lambda: None))
        self.shelf = Shelf()
        self._eager = Eager(app, self.shelf)
        self._propagates = propagates

    def reach(self) -> tuple[int, float]:
        """As many as come."""
        return MOST, inf

    def post(self, messages: Sequence[Outgoing], patience: float = inf) -> None:
        """Run them, one after the other; with `eager_propagates`, raise what the first one raises that fails."""
        self.announce(messages)
        for message in messages:
            self._eager.run(message.payload, message.queue, self._propagates)


def sender_of(app: Application, connection: Connection) -> Sender:
    """How the messages of an application leave, or do not."""
    tasks = app.config.tasks
    if tasks.always_eager:
        return EagerSender(app, tasks.eager_propagates)
    return connected_sender(connection, app.config, app.hooks, app.clock)


def results_of(app: Application) -> Results:
    """Where the results of an application are read."""
    tasks = app.config.tasks
    if tasks.always_eager and isinstance(app.sender, EagerSender):
        return app.sender.shelf
    # Opened for whoever reads first, who is as patient as with one that is open.
    store = persist(lambda: app.ports.results, tasks.send_timeout)
    return NO_STORE if store is None else StoredResults.of(store, tasks, app.clock)


def _never() -> Transport:
    raise AssertionError("an eager application opens no transport")
