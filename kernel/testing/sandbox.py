"""An application in test mode."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from datetime import datetime
from heapq import heappop, heappush
from math import inf
from threading import Lock, local
from typing import Any

import msgspec

from kernel.app import Kernel
from kernel.canvas.names import COLLECT, DEADLINE
from kernel.envelope import Envelope, decode
from kernel.errors import ConfigError, DecodeError
from kernel.hooks import Settled, hookimpl
from kernel.options import wall_clock
from kernel.ports import Outgoing
from kernel.task import Task
from kernel.testing.calls import Enqueued, Wanted, enqueued
from kernel.testing.clock import VirtualClock
from kernel.testing.ports import MemoryPorts
from kernel.testing.swap import swapped
from kernel.testing.threaded import WorkerThread
from kernel.worker.worker import Worker

#: Runs after which a test is taken to go on for ever, unless it says another number.
LIMIT = 1000
#: Tasks that workflows need for themselves.
INNER = frozenset({COLLECT, DEADLINE})
#: Settled tasks that the message of that error looks back on.
LAST = 50


class Sandbox:
    """What a test does with an application in test mode: look at what was sent, run it, move the time.

    Everything is kept in this process. Nothing runs by itself, unless `inline` was asked for or a `worker` is there.
    """

    def __init__(self, app: Kernel, inline: bool) -> None:
        """`of` makes one, and puts the application in test mode."""
        self.app = app
        #: Virtual time; `app.clock` is the same.
        self.clock = VirtualClock()
        self.ports = MemoryPorts(self.clock, self)
        #: Runs after which a test is taken to go on for ever.
        self.limit = LIMIT
        self._inline = inline
        self._sent: dict[tuple[str, int], tuple[Envelope, str]] = {}
        self._settled: list[Settled] = []
        #: Times at which something that is delayed becomes due.
        self._due: list[float] = []
        self._lock = Lock()
        #: Held by whoever runs what is sent inline.
        self._running = Lock()
        #: Says of a thread that it is about to send for a caller, and not for a worker.
        self._caller = local()
        #: Workers that are driven by hand and have nothing to do. One that waits inside of a task is not among them.
        self._idle: deque[Worker] = deque()
        self._made: list[Worker] = []
        self._threads: list[WorkerThread] = []

    # -- what was sent -------------------------------------------------------------------------------------

    def enqueued(self, task: Task[..., Any, Any] | str | None = None, queue: str | None = None) -> list[Enqueued]:
        """The calls that were sent so far, whether or not they have run since, in order: of one task, to one queue.

        What a workflow or a task sends counts too; another try of the same call does not.
        """
        with self._lock:
            sent = list(self._sent.values())
        name = _name(task)
        return [enqueued(*each) for each in sent if name in (None, each[0].task) and queue in (None, each[1])]

    def assert_enqueued(
        self,
        task: Task[..., Any, Any] | str,
        *,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        queue: str | None = None,
        countdown: float | None = None,
        eta: datetime | float | None = None,
        expires: float | None = None,
        priority: int | None = None,
        headers: Mapping[str, Any] | None = None,
        times: int | None = None,
    ) -> list[Enqueued]:
        """Fail, with the differences, unless the task was sent with all that is named here: `times` times, or at least
        once. Returns the calls. Compared with `==`, so that `ANY` and `approx` work inside."""
        wanted = Wanted(
            _name(task) or "",
            {
                "args": args, "kwargs": kwargs, "queue": queue, "countdown": countdown, "expires": expires,
                "eta": None if eta is None else wall_clock(eta), "priority": priority, "headers": headers,
            },
        )  # fmt: skip
        calls = self.enqueued()
        found = wanted.found(calls)
        if len(found) != times and (times is not None or not found):
            raise AssertionError(wanted.report(calls, len(found), times))
        return found

    def leftovers(self) -> list[Enqueued]:
        """What waits in the queues now, delayed or not."""
        queues = self.ports.watched
        return [
            enqueued(envelope, name)
            for name in queues.live()
            for payload in queues.peek(name, LIMIT)
            if (envelope := _readable(payload)) is not None and envelope.task not in INNER
        ]

    # -- running it ----------------------------------------------------------------------------------------

    def run_one(self) -> Settled | None:
        """Run the next task that may start now, here; what came of it, None where nothing is there."""
        return next(self._steps(1), None)

    def run_all(self) -> list[Settled]:
        """Run the tasks that may start now, and not those that they send; what came of each."""
        queues = self.ports.watched
        return list(self._steps(sum(size.ready or 0 for size in queues.sizes(queues.live()))))

    def run_until_idle(self, limit: int = 0) -> list[Settled]:
        """Run what may start now, and what that sends, until nothing is left but what is delayed; what came of each.

        AssertionError after `limit` runs (0: `self.limit`): tasks that send each other would go on for ever.
        """
        return self._until(self.clock.now(), limit)

    def run_for(self, seconds: float, limit: int = 0) -> list[Settled]:
        """`run_until_idle` at every moment of the next `seconds` at which something becomes due. The clock stands at
        each of these moments in turn, and at the end of the time afterwards."""
        ends = self.clock.now() + seconds
        done = self._until(ends, limit)
        self.clock.advance(max(0.0, ends - self.clock.now()))
        return done

    def _until(self, ends: float, limit: int = 0) -> list[Settled]:
        limit = limit or self.limit
        done: list[Settled] = []
        while True:
            done += self._steps(limit - len(done))
            if len(done) >= limit:
                names = ", ".join(sorted({each.envelope.task for each in done[-LAST:]}))
                raise AssertionError(f"still not idle after {limit} runs, the last ones of {names}")
            if not self._leap(ends):
                return done

    def _leap(self, ends: float) -> bool:
        """Move the clock to the next moment at which something is due; False when that is not before `ends`."""
        with self._lock:
            now = self.clock.now()
            while self._due and self._due[0] <= now:
                heappop(self._due)
            if not self._due or self._due[0] > ends:
                return False
            self.clock.advance(self._due[0] - now)
            return True

    def _steps(self, limit: int) -> Iterator[Settled]:
        """Run up to `limit` messages, one at a time, by a worker of its own."""
        try:
            worker = self._idle.pop()
        except IndexError:
            settings = msgspec.structs.replace(self.app.config.worker, pool="solo", concurrency=1)
            worker = Worker(self.app, guest=True, settings=settings)
            self._made.append(worker)
        queues = self.app.config.worker.queues
        try:
            for _ in range(limit):
                before = len(self._settled)
                # In a context of its own: what runs here is not a part of what the caller runs.
                if not copy_context().run(worker.step, queues):
                    return
                yield from self._settled[before:]
        finally:
            self._idle.append(worker)

    # -- a worker in a thread ------------------------------------------------------------------------------

    @contextmanager
    def worker(self, pool: str = "", concurrency: int = 0) -> Iterator[Worker]:
        """A worker in a thread, with this pool or that of the configuration, for the length of a block. The clock goes
        on meanwhile. RuntimeError for tasks that do not end with it."""
        settings = self.app.config.worker
        if pool or concurrency:
            settings = msgspec.structs.replace(settings, pool=pool or settings.pool, concurrency=concurrency)
        thread = WorkerThread(self.app, settings)
        manager = self.app.hooks.manager
        manager.register(thread)
        self.clock.run()
        self._threads.append(thread)
        try:
            thread.start()
            yield thread.worker
        finally:
            try:
                thread.stop()
            finally:
                self._threads.remove(thread)
                self.clock.stand()
                manager.unregister(thread)

    def close(self) -> None:
        """End the workers that were driven by hand. `of` does it."""
        while self._made:
            self._made.pop().close()
        self._idle.clear()

    # -- told by the ports and the application -------------------------------------------------------------

    @hookimpl
    def kernel_sending(self, batch: Sequence[tuple[Envelope, str]]) -> None:
        """A caller sends; a hook."""
        self._caller.sends = True

    @hookimpl
    def kernel_settled(self, batch: Sequence[Settled]) -> None:
        """A worker is done with these; a hook."""
        self._settled += batch

    def sent(self, messages: Sequence[Outgoing]) -> None:
        """These are stored: keep them in mind, and run them where that is the mode."""
        with self._lock:
            for message in messages:
                envelope = _readable(message.payload)
                # Inline nothing is late: a leap to the deadline of a workflow would end it before its tasks are sent.
                watch = self._inline and envelope is not None and envelope.task == DEADLINE
                if message.not_before > self.clock.now() and not watch:
                    heappush(self._due, message.not_before)
                if envelope is not None and envelope.task not in INNER:
                    self._sent.setdefault((envelope.id, envelope.generation), (envelope, message.queue))
        called, self._caller.sends = getattr(self._caller, "sends", False), False
        if self._inline and called:
            self._run_inline()

    def _run_inline(self) -> None:
        """Run everything, unless somebody is at it: who sends inside of a task is told so by what holds the lock, and
        what it sent runs after it. Looked at again after letting go: the holder may have looked just before."""
        while self._waits() and self._running.acquire(blocking=False):
            try:
                self._until(inf)
            finally:
                self._running.release()

    def _waits(self) -> bool:
        queues = self.ports.watched
        with self._lock:
            due = bool(self._due)
        return due or any(size.ready for size in queues.sizes(queues.live()))

    def helps(self) -> bool:
        """Somebody waits for a result. Inline that is run now, also inside of a task."""
        if self._inline and self._waits():
            self._until(inf)
        return any(thread.alive for thread in self._threads)


@contextmanager
def of(app: Kernel, *, inline: bool = False, **config: Any) -> Iterator[Sandbox]:
    """Put an application in test mode for the length of a block: its ports are in memory, its time is virtual, and
    afterwards all is as it was. `config` are settings that win over all others, such as `max_retries=0`.

    `inline`: whatever is sent has run when the call returns, its retries and delays too, for which the clock leaps.
    """
    sandbox = Sandbox(app, inline)
    with swapped(app, sandbox.clock, sandbox.ports, sandbox, config):
        _sandboxes.append(sandbox)
        try:
            yield sandbox
        finally:
            _sandboxes.remove(sandbox)
            sandbox.close()


#: Those of this process, the innermost last.
_sandboxes: list[Sandbox] = []


def current() -> Sandbox:
    """The sandbox of this process, the innermost of several; ConfigError where there is none."""
    if not _sandboxes:
        raise ConfigError(
            "no application is in test mode: use `with kernel.testing.of(app):`, or the fixture kernel_app"
        )
    return _sandboxes[-1]


def _name(task: Task[..., Any, Any] | str | None) -> str | None:
    return task.name if isinstance(task, Task) else task


def _readable(payload: bytes) -> Envelope | None:
    try:
        return decode(payload)
    except DecodeError:
        return None
