"""Threads, locks and queues of the operating system, also where gevent or eventlet has patched the standard ones.

Under a green pool the kernel's own loops (intake, outlet, housekeeper) run in native threads, so that a greenlet
that computes for a minute cannot keep leases from being renewed. For that they need primitives that block a
thread, not a greenlet. This module is imported before any patching by our own command line; where an application
patches first, the originals are asked back from the patcher.
"""

from __future__ import annotations

import sys
from _thread import LockType
from collections.abc import Callable
from typing import Any


def original(module: str, name: str) -> Any:
    """The attribute as it was before monkey-patching; gevent keeps originals, eventlet hands out clean modules."""
    if "gevent.monkey" in sys.modules:
        return sys.modules["gevent.monkey"].get_original(module, name)
    if "eventlet.patcher" in sys.modules:
        return getattr(sys.modules["eventlet.patcher"].original(module), name)
    return getattr(__import__(module), name)


allocate_lock: Callable[[], LockType] = original("_thread", "allocate_lock")
start_new_thread: Callable[..., int] = original("_thread", "start_new_thread")
get_ident: Callable[[], int] = original("_thread", "get_ident")
sleep: Callable[[float], None] = original("time", "sleep")
#: An unbounded queue whose `put` may be called from a signal handler; `get(timeout=...)` raises `queue.Empty`.
SimpleQueue: Any = original("_queue", "SimpleQueue")


class Signal:
    """A flag that one thread waits for and any thread or signal handler sets.

    `threading.Event` is not used because its condition is patched, and because setting it takes a lock that the
    interrupted thread may hold: a handler that sets it can deadlock.
    """

    __slots__ = ("_lock", "_set")

    def __init__(self) -> None:
        self._set = False
        self._lock = allocate_lock()
        self._lock.acquire()

    def set(self) -> None:
        """Raise the flag; idempotent."""
        self._set = True
        try:
            self._lock.release()
        except RuntimeError:
            pass  # the waiter has been told already

    def clear(self) -> None:
        """Lower the flag."""
        self._set = False
        self._lock.acquire(blocking=False)

    def is_set(self) -> bool:
        """Whether the flag is up."""
        return self._set

    def wait(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for the flag; returns whether it is up. One waiter at a time."""
        if not self._set and timeout > 0 and self._lock.acquire(timeout=timeout):
            # Leave the lock free while the flag is up, so that the next wait returns at once too.
            self.set() if self._set else None
        return self._set


class Thread:
    """A native thread with a bounded join; what it raises is given to `failed`, never lost."""

    def __init__(self, target: Callable[[], None], name: str, failed: Callable[[BaseException], None]) -> None:
        self.name = name
        self.ident = 0
        self._target = target
        self._failed = failed
        self._done = Signal()

    def start(self) -> None:
        """Start it, once."""
        self.ident = start_new_thread(self._run, ())

    def _run(self) -> None:
        try:
            self._target()
        except BaseException as error:
            self._failed(error)
        finally:
            self._done.set()

    def join(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for its end; returns whether it has ended."""
        return self._done.wait(timeout)
