"""The private I/O thread, and the calls that wait for it. pika's rule of one thread per connection ends here."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, TypeVar, cast

from kernel.errors import Unavailable
from kernel.native import Signal, Thread, allocate_lock
from kernel_rabbitmq.loop import Loop
from kernel_rabbitmq.steps import Run, Steps

T = TypeVar("T")

#: Seconds that `close` waits for the thread.
CLOSE_FOR = 3.0


class Call(Generic[T]):
    """One call on its way through the I/O thread."""

    __slots__ = ("_lock", "abandoned", "error", "finished", "signal", "value")

    def __init__(self) -> None:
        self.signal = Signal()
        self.value: T | None = None
        self.error: BaseException | None = None
        self.finished = False
        #: The caller has gone; who finishes it must look after the value.
        self.abandoned = False
        self._lock = allocate_lock()

    def finish(self, value: T | None, error: BaseException | None) -> bool:
        """It has ended; False when nobody waits for it any more."""
        with self._lock:
            if self.abandoned:
                return False
            self.value, self.error, self.finished = value, error, True
        self.signal.set()
        return True

    def has_ended(self) -> bool:
        """Whether there is a result."""
        return self.finished

    def abandon(self) -> bool:
        """Give up waiting; False when it has ended meanwhile."""
        with self._lock:
            self.abandoned = not self.finished
            return self.abandoned

    def result(self) -> T:
        """What it came to."""
        if self.error is not None:
            raise self.error
        return cast(T, self.value)


class Engine:
    """Runs steps in one native thread. Started once, by the process that uses it; a forked child has no part of it."""

    def __init__(self) -> None:
        self.loop = Loop()
        self._owner = os.getpid()
        self._thread = Thread(self._run, "kernel-rabbitmq", self._failed)
        self._calls: set[Call[Any]] = set()
        self._error: BaseException | None = None
        self._thread.start()

    def start(self, steps: Callable[[], Steps[T]], unclaimed: Callable[[T], None] | None = None) -> Call[T]:
        """Start a call. `unclaimed` is given, in the I/O thread, the value of one that was abandoned."""
        if self._error is not None or os.getpid() != self._owner:
            raise Unavailable("RabbitMQ: closed" if self._error is not None else "RabbitMQ: opened by another process")
        call: Call[T] = Call()
        self.loop.call(partial(self._begin, call, steps, unclaimed))
        return call

    def call(self, steps: Callable[[], Steps[T]], timeout: float, what: str) -> T:
        """Run a call to its end; `Unavailable` when that takes longer than `timeout` seconds: its effect is unknown."""
        call = self.start(steps)
        if not call.signal.wait(timeout) and call.abandon():
            raise Unavailable(f"RabbitMQ did not answer within {timeout:g} s: {what}", sent="unknown")
        return call.result()

    def stop(self, last: Callable[[], Steps[None]]) -> None:
        """Run `last`, then end the thread and every call that still waits. In a forked child nothing happens."""
        if os.getpid() != self._owner:
            return
        try:
            self.call(last, CLOSE_FOR, "closing")
        except Unavailable:
            pass  # frozen, or stopped before: the sockets are closed by the end of the thread
        self.loop.call(self.loop.stop)
        self._thread.join(CLOSE_FOR)

    def _begin(self, call: Call[T], steps: Callable[[], Steps[T]], unclaimed: Callable[[T], None] | None) -> None:
        if call.abandoned:
            return
        self._calls.add(call)

        def ended(value: T, error: BaseException | None) -> None:
            self._calls.discard(call)
            if not call.finish(value, error) and error is None and unclaimed is not None:
                unclaimed(value)

        Run(steps(), ended)

    def _run(self) -> None:
        self.loop.start()
        self._end(Unavailable("RabbitMQ: closed"))

    def _failed(self, error: BaseException) -> None:
        """A defect: whoever waits must hear of it, and the next call too."""
        failure = Unavailable(f"RabbitMQ: the I/O thread has failed: {error!r}", sent="unknown")
        failure.__cause__ = error
        self._end(failure)

    def _end(self, error: BaseException) -> None:
        self._error = error
        for call in list(self._calls):
            call.finish(None, error)
        self._calls.clear()
        self.loop.close()
