"""One asyncio loop in a thread, for coroutine tasks in pools that have no loop of their own."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any

from kernel.native import Signal, Thread, allocate_lock

#: While a thread waits for a coroutine it comes back to Python this often, in seconds, so that an interrupt reaches it.
GLANCE = 0.1


class BackgroundLoop:
    """Started on first use; all coroutine tasks of the process share it."""

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: Thread | None = None
        self._ready = Signal()

    def start_task(self, coroutine: Coroutine[Any, Any, Any], done: Callable[[Any], None]) -> Callable[[], None]:
        """Run a coroutine in the caller's context; `done(future)` is called on the loop's thread. Returns a cancel."""
        loop = self._running()
        context = contextvars.copy_context()
        tasks: list[asyncio.Task[Any]] = []

        def begin() -> None:
            task = loop.create_task(_contained(coroutine), context=context)
            tasks.append(task)
            task.add_done_callback(done)

        loop.call_soon_threadsafe(begin)
        return lambda: _quietly(loop, lambda: [task.cancel() for task in tasks])

    def block_on(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end while the calling thread waits; an error raised in the waiting cancels it."""
        ended = Signal()
        outcome: list[Any] = []

        def done(future: Any) -> None:
            outcome.append(future)
            ended.set()

        cancel = self.start_task(coroutine, done)
        try:
            while not ended.wait(GLANCE):
                pass
        except BaseException:
            cancel()
            ended.wait(GLANCE)
            raise
        return value_of(outcome[0])

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._thread is None:
                self._thread = Thread(self._serve, "kernel-loop")
                self._thread.start()
        while self._loop is None:
            self._ready.wait(GLANCE)
        return self._loop

    def _serve(self) -> None:
        loop = asyncio.new_event_loop()
        loop.call_soon(self._announce, loop)
        try:
            loop.run_forever()
        finally:
            loop.close()

    def _announce(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ready.set()

    def stop(self, timeout: float) -> None:
        """End the loop's thread, within `timeout` seconds. Idempotent."""
        loop, thread = self._loop, self._thread
        if loop is not None and thread is not None:
            _quietly(loop, loop.stop)
            thread.join(timeout)


class _Escaping(Exception):
    """What a coroutine raised and a loop would not survive."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(repr(error))
        self.error = error


async def _contained(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Await it. A loop ends with SystemExit and KeyboardInterrupt of a coroutine, and everybody's tasks with it."""
    try:
        return await coroutine
    except (SystemExit, KeyboardInterrupt) as error:
        raise _Escaping(error) from None


def value_of(future: Any) -> Any:
    """The value of a task that has ended, or what its coroutine raised."""
    try:
        return future.result()
    except _Escaping as escaping:
        raise escaping.error from None
    except asyncio.CancelledError as error:
        raise concurrent.futures.CancelledError("the coroutine was cancelled") from error


def _quietly(loop: asyncio.AbstractEventLoop, call: Callable[[], Any]) -> None:
    try:
        loop.call_soon_threadsafe(call)
    except RuntimeError:
        pass  # the loop has been closed already
