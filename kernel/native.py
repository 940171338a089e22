"""Threads, locks and queues of the operating system, also where gevent or eventlet has patched the standard ones.

Under a green pool the kernel's own loops (intake, outlet, housekeeper) run in native threads, so that a greenlet
that computes for a minute cannot keep leases from being renewed. For that they need primitives that block a
thread, not a greenlet. This module is imported before any patching by our own command line; where an application
patches first, the originals are asked back from the patcher.
"""

from __future__ import annotations

import logging
import os
import select
import sys
from _thread import TIMEOUT_MAX, LockType
from collections.abc import Callable
from typing import Any

log = logging.getLogger("kernel")


#: What eventlet calls the groups of modules that it patches.
_EVENTLET_PATCHES = ("os", "select", "socket", "thread", "time")


def original(module: str, name: str) -> Any:
    """The attribute as it was before monkey-patching; gevent keeps originals, eventlet hands out clean modules."""
    if "gevent.monkey" in sys.modules:
        return sys.modules["gevent.monkey"].get_original(module, name)
    # A clean module is another one, whose classes are not those that libraries have: only where it is needed.
    patcher = sys.modules.get("eventlet.patcher")
    if patcher is not None and any(map(patcher.is_monkey_patched, _EVENTLET_PATCHES)):
        return getattr(patcher.original(module), name)
    return getattr(__import__(module), name)


allocate_lock: Callable[[], LockType] = original("_thread", "allocate_lock")
start_new_thread: Callable[..., int] = original("_thread", "start_new_thread")
get_ident: Callable[[], int] = original("_thread", "get_ident")
sleep: Callable[[float], None] = original("time", "sleep")
monotonic: Callable[[], float] = original("time", "monotonic")
#: An unbounded queue whose `put` may be called from a signal handler; `get(timeout=...)` raises `Empty`.
SimpleQueue: Any = original("_queue", "SimpleQueue")
#: Not always `queue.Empty`: eventlet's originals come from a module of their own.
Empty: type[Exception] = original("_queue", "Empty")


def is_green() -> bool:
    """Whether callers may be greenlets: gevent or eventlet has patched how this process waits."""
    for module, ask in (("gevent.monkey", "is_module_patched"), ("eventlet.patcher", "is_monkey_patched")):
        if module in sys.modules and getattr(sys.modules[module], ask)("select"):
            return True
    return False


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

    # Invariant between calls: the lock is free whenever the flag is up and somebody waits. Every method may be cut
    # short anywhere by a handler that calls `set`, so each one looks at the flag again after it took the lock.

    def set(self) -> None:
        """Raise the flag; idempotent. From any thread and from a signal handler, also one that interrupts a `set`."""
        self._set = True
        self._free()

    def clear(self) -> None:
        """Lower the flag. A `set` at the same moment wins or loses as a whole, and is never half lost."""
        self._set = False
        if self._lock.acquire(blocking=False) and self.is_set():
            self._free()  # taken from a `set` that came in between: a waiter must still see it

    def is_set(self) -> bool:
        """Whether the flag is up."""
        return self._set

    def wait(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds (inf: for ever) for the flag; returns whether it is up."""
        if self._set or timeout <= 0:
            return self._set
        until = monotonic() + timeout
        while self._lock.acquire(timeout=min(timeout, TIMEOUT_MAX)):
            if self.is_set():
                self._free()  # the next wait, and another waiter, find it free too
                return True
            timeout = until - monotonic()  # left free by a flag that is down again
            if timeout <= 0:
                break
        return self._set

    def _free(self) -> None:
        try:
            self._lock.release()
        except RuntimeError:
            pass  # free already


class GreenSignal:
    """A flag that a greenlet waits for while the other greenlets of its thread go on, raised once by any thread.

    A pipe, because a patched `select` is the one wait that every green library has and that another thread can end: the
    locks of eventlet know their own thread only.
    """

    __slots__ = ("_read", "_write")

    def __init__(self) -> None:
        self._read, self._write = os.pipe()

    def set(self) -> None:
        """Raise the flag."""
        try:
            os.write(self._write, b"!")
        except OSError:
            pass  # closed: nobody waits any more

    def wait(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for the flag; returns whether it is up."""
        return bool(select.select([self._read], [], [], timeout)[0])

    def close(self) -> None:
        """Give the pipe back. Idempotent."""
        read, self._read = self._read, -1
        if read >= 0:
            os.close(read)
            os.close(self._write)
            self._write = -1


#: Seconds after which nobody waits any more for a thread to begin.
BEGINS_WITHIN = 5.0


class Thread:
    """A native thread with a bounded join; what it raises is given to `failed`, else logged, and never lost."""

    def __init__(
        self, target: Callable[[], None], name: str, failed: Callable[[BaseException], None] | None = None
    ) -> None:
        self.name = name
        self.ident = 0
        self._target = target
        self._failed = failed or self._log
        self._done = Signal()
        self._started = False

    def start(self) -> None:
        """Start it, once; `RuntimeError` for a second time or when the system has no thread left.

        Returns when it runs. Until then CPython 3.11 counts it under the ident of the thread that starts it, and what
        is raised in that one (`kernel.pools.raising`) would be raised in the new one.
        """
        if self._started:
            raise RuntimeError(f"thread {self.name} was started before")
        self._started = True
        begun = allocate_lock()
        begun.acquire()
        self.ident = start_new_thread(self._run, (begun,))
        begun.acquire(True, BEGINS_WITHIN)

    def _run(self, begun: Any) -> None:
        begun.release()
        self.ident = get_ident()
        try:
            self._target()
        except BaseException as error:
            self._failed(error)
        finally:
            self._done.set()

    def _log(self, error: BaseException) -> None:
        log.critical("the thread %s has ended, which is a defect", self.name, exc_info=error)

    def join(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for its end; returns whether it has ended."""
        return self._done.wait(timeout)
