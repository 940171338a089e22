"""The loop of the I/O thread, in the form that pika drives.

pika has one of its own; this one polls with the primitives of the operating system also where gevent or eventlet has
patched the standard library, and a call from another thread costs a system call only while the loop sleeps.
"""

from __future__ import annotations

import heapq
import os
import select
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any

from pika.adapters.utils.selector_ioloop_adapter import AbstractSelectorIOLoop

from kernel.native import monotonic, original

# eventlet's would wait where a pipe is empty, or full.
_read: Callable[[int, int], bytes] = original("os", "read")
_write: Callable[[int, bytes], int] = original("os", "write")

#: Longest sleep in seconds; it only bounds what a clock that jumps could do.
LONGEST = 60.0
#: How often callbacks that callbacks add are still run when the loop ends.
LAST_ROUNDS = 4


class Timer:
    """A callback that waits for its time."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], object]) -> None:
        #: None when it was cancelled.
        self.callback: Callable[[], object] | None = callback


class Loop(AbstractSelectorIOLoop):  # type: ignore[misc]
    """Callbacks, timers and descriptors. All but `call` belongs to the thread that runs `start`."""

    READ = select.POLLIN
    WRITE = select.POLLOUT
    ERROR = select.POLLERR | select.POLLHUP

    def __init__(self) -> None:
        self._poll = original("select", "poll")()
        self._ready: deque[Callable[[], object]] = deque()
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = count()
        self._handlers: dict[int, Callable[[int, int], object]] = {}
        self._owned: list[Any] = []
        self._stopping = False
        self._sleeping = False
        self._inlet, self._outlet = os.pipe()
        for end in (self._inlet, self._outlet):
            os.set_blocking(end, False)
        self.add_handler(self._inlet, self._drain, self.READ)

    def start(self) -> None:
        """Run until `stop`."""
        ready = self._ready
        while not self._stopping:
            for _ in range(len(ready)):
                ready.popleft()()
            wait = self._run_timers()
            # Said before looking: who adds a callback after the look sees that it must wake us.
            self._sleeping = True
            events = self._poll.poll(0 if ready or self._stopping else int(wait * 1000) + 1)
            self._sleeping = False
            for descriptor, mask in events:
                handler = self._handlers.get(descriptor)
                if handler is not None:
                    handler(descriptor, mask)
        # Callbacks close sockets: pika gives up a connection with one that adds another.
        for _ in range(LAST_ROUNDS):
            for _ in range(len(ready)):
                ready.popleft()()

    def stop(self) -> None:
        """End `start` soon."""
        self._stopping = True

    def own(self, socket: Any) -> None:
        """Close this socket at the latest with the loop."""
        self._owned = [each for each in self._owned if each.fileno() >= 0] + [socket]

    def close(self) -> None:
        """Close the pipe, and the sockets that are open still. After `start` has returned."""
        for socket in self._owned:
            socket.close()
        os.close(self._inlet)
        os.close(self._outlet)

    def call(self, callback: Callable[[], object]) -> None:
        """Run `callback` soon in the loop's thread. From any thread."""
        self._ready.append(callback)
        if self._sleeping:
            self._sleeping = False
            try:
                _write(self._outlet, b"\0")
            except OSError:
                pass  # full, which wakes it just as well, or closed with the loop

    def add_callback(self, callback: Callable[[], object]) -> None:
        """As `call`: the name that pika knows."""
        self.call(callback)

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Run `callback` in `delay` seconds."""
        timer = Timer(callback)
        heapq.heappush(self._timers, (monotonic() + delay, next(self._order), timer))
        return timer

    def remove_timeout(self, timeout_handle: Timer) -> None:
        """Cancel a timer. Idempotent."""
        timeout_handle.callback = None

    def add_handler(self, fd: int, handler: Callable[[int, int], object], events: int) -> None:
        """Call `handler(fd, events)` when the descriptor is ready."""
        self._handlers[fd] = handler
        self._poll.register(fd, events)

    def update_handler(self, fd: int, events: int) -> None:
        """Change what is waited for."""
        self._poll.modify(fd, events)

    def remove_handler(self, fd: int) -> None:
        """Forget the descriptor."""
        del self._handlers[fd]
        self._poll.unregister(fd)

    def _run_timers(self) -> float:
        """Run what is due; returns the seconds until the next one."""
        timers = self._timers
        while timers:
            if timers[0][2].callback is None:
                heapq.heappop(timers)
                continue
            wait = timers[0][0] - monotonic()
            if wait > 0:
                return min(wait, LONGEST)
            callback: Any = heapq.heappop(timers)[2].callback
            callback()
        return LONGEST

    def _drain(self, descriptor: int, events: int) -> None:
        try:
            _read(descriptor, 4096)
        except BlockingIOError:
            pass
