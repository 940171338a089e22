"""gevent and eventlet: many jobs at a time in greenlets, for applications that are monkey-patched.

The hub runs on the main thread, where the application was imported; intake, outlet and housekeeper run in native
threads and reach it through a pipe, which both libraries can wait for. (gevent's own `async` watcher was rejected:
eventlet has nothing like it, and one way is enough.)
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from time import monotonic
from typing import Any, Protocol

from kernel.native import Thread, original
from kernel.pools.background import BackgroundLoop, value_of
from kernel.pools.room import Room
from kernel.pools.solo import take_back
from kernel.ports.pool import PoolFeatures, Run, RunAsync

#: Greenlets at a time when nothing else is asked for.
DEFAULT_SLOTS = 100

#: eventlet's own `read` of an empty pipe would wait for an order in place of saying that there is none.
_read = original("os", "read")
_write = original("os", "write")


class Hub(Protocol):
    """What the two libraries do differently."""

    def spawn(self, call: Callable[[Any], None], argument: Any) -> Any:
        """A new greenlet."""

    def wait_readable(self, fd: int, timeout: float) -> None:
        """Let other greenlets run until the descriptor can be read or `timeout` seconds are over."""

    def throw(self, greenlet: Any, error: BaseException) -> None:
        """Raise in a greenlet when it is next switched to, without waiting for that."""

    def event(self) -> Any:
        """Something with `wait()` and `set()` for greenlets of this hub."""


class GeventHub:
    """gevent."""

    def __init__(self) -> None:
        import gevent
        import gevent.event
        import gevent.socket

        self._gevent = gevent
        self.event = gevent.event.Event

    def spawn(self, call: Callable[[Any], None], argument: Any) -> Any:
        """A new greenlet."""
        return self._gevent.spawn(call, argument)

    def wait_readable(self, fd: int, timeout: float) -> None:
        """Let other greenlets run meanwhile."""
        try:
            self._gevent.socket.wait_read(fd, timeout=timeout)
        except TimeoutError:
            pass

    def throw(self, greenlet: Any, error: BaseException) -> None:
        """Raise in a greenlet."""
        greenlet.kill(error, block=False)


class EventletHub:
    """eventlet."""

    def __init__(self) -> None:
        import eventlet
        import eventlet.event
        import eventlet.hubs

        self._eventlet = eventlet

    def spawn(self, call: Callable[[Any], None], argument: Any) -> Any:
        """A new greenlet."""
        return self._eventlet.spawn(call, argument)

    def wait_readable(self, fd: int, timeout: float) -> None:
        """Let other greenlets run meanwhile."""
        try:
            self._eventlet.hubs.trampoline(fd, read=True, timeout=timeout)
        except (TimeoutError, self._eventlet.Timeout):
            pass

    def throw(self, greenlet: Any, error: BaseException) -> None:
        """Raise in a greenlet."""
        self._eventlet.hubs.get_hub().schedule_call_global(0, greenlet.throw, error)

    def event(self) -> Any:
        """An event of this hub."""
        return _EventletEvent(self._eventlet.event.Event())


class _EventletEvent:
    """eventlet's event sends a value; only `set` and `wait` are needed here."""

    def __init__(self, event: Any) -> None:
        self._event = event

    def set(self) -> None:
        self._event.send(None)

    def wait(self) -> None:
        self._event.wait()


def gevent_pool(slots: int = 0) -> GreenPool:
    """The pool on gevent; ImportError without it, of which discovery makes `MissingExtra`."""
    return GreenPool(GeventHub(), slots)


def eventlet_pool(slots: int = 0) -> GreenPool:
    """The pool on eventlet; errors as for gevent."""
    return GreenPool(EventletHub(), slots)


class GreenPool:
    """Greenlets of one hub. All that touches greenlets happens on the hub's thread, as orders from the others."""

    def __init__(self, hub: Hub, slots: int = 0) -> None:
        """`slots` 0 means the default of 100."""
        self.slots = slots or DEFAULT_SLOTS
        self.features = PoolFeatures(interrupts_waits=True, green=True)
        self._hub = hub
        self._waiting: deque[Any] = deque()
        self._running: dict[Any, Any] = {}
        self._orders: deque[Callable[[], None]] = deque()
        self._room = Room(self.slots)
        self._background = BackgroundLoop()
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._closed = False
        self._failure: BaseException | None = None

    def start(self, run: Run, arun: RunAsync) -> None:
        """Remember what runs a job."""
        self._run = run

    def serve(self, intake: Callable[[], None]) -> None:
        """Run the hub on the calling thread until the intake has ended."""
        ended: list[bool] = []

        def take_in() -> None:
            try:
                intake()
            finally:
                self._order(lambda: ended.append(True))

        Thread(take_in, "kernel-intake", self._failed).start()
        while not ended:
            self._turn(1.0)
        if self._failure is not None:
            raise self._failure

    def _failed(self, error: BaseException) -> None:
        self._failure = error

    def _turn(self, timeout: float) -> None:
        """Wait for orders and carry them out. On the hub's thread."""
        if not self._orders:
            self._hub.wait_readable(self._reader, timeout)
        try:
            _read(self._reader, 4096)
        except BlockingIOError:
            pass
        while self._orders:
            self._orders.popleft()()

    def _order(self, order: Callable[[], None]) -> None:
        """Have the hub's thread do something. Any thread."""
        self._orders.append(order)
        try:
            _write(self._writer, b"!")
        except (BlockingIOError, OSError):
            pass  # full: it will wake up anyway; closed: there is nothing left to do

    def demand(self, buffer: int, timeout: float) -> int:
        """How many more jobs keep all greenlets busy and `buffer` waiting."""
        return self._room.demand(buffer, timeout)

    def submit(self, jobs: Sequence[Any]) -> None:
        """Hand the jobs to the hub, all at once."""
        self._room.take(len(jobs))
        self._waiting.extend(jobs)
        self._order(self._fill)

    def _fill(self) -> None:
        while self._waiting and len(self._running) < self.slots:
            try:
                job = self._waiting.popleft()
            except IndexError:
                return
            self._running[job] = None
            self._running[job] = self._hub.spawn(self._run_one, job)

    def _run_one(self, job: Any) -> None:
        try:
            self._run(job)
        except BaseException:  # an interrupt that came after the end of the body; the runner never raises
            pass
        self._running.pop(job, None)
        self._room.give(1)
        if self._waiting:
            self._fill()

    def block_on(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the background loop while other greenlets run."""
        ended = self._hub.event()
        outcome: list[Any] = []

        def done(future: Any) -> None:
            outcome.append(future)
            self._order(ended.set)

        cancel = self._background.start_task(coroutine, done)
        try:
            ended.wait()
        except BaseException:
            cancel()
            raise
        return value_of(outcome[0])

    def waiting(self) -> int:
        """Jobs submitted and not started."""
        return len(self._waiting)

    def recall(self, limit: int) -> list[Any]:
        """Take back the last ones."""
        jobs = take_back(self._waiting, limit)
        self._room.give(len(jobs))
        return jobs

    def interrupt(self, job: Any, error: BaseException) -> bool:
        """Raise in the greenlet when it is next switched to; one that never yields is not reached."""
        if job not in self._running or not job.interruptible:
            return False
        job.interrupted = error
        self._order(lambda: self._throw(job, error))
        return True

    def _throw(self, job: Any, error: BaseException) -> None:
        greenlet = self._running.get(job)
        if greenlet is not None and job.interruptible:
            self._hub.throw(greenlet, error)

    def stop(self, timeout: float) -> list[Any]:
        """Let the hub run until everything has ended or `timeout` seconds are over."""
        if self._closed:
            return []
        left = self.recall(len(self._waiting))
        deadline = monotonic() + timeout
        while self._running and (remaining := deadline - monotonic()) > 0:
            self._turn(min(0.02, remaining))
        left += list(self._running)
        self._closed = True
        self._background.stop(max(0.1, deadline - monotonic()))
        os.close(self._writer)
        os.close(self._reader)
        return left
