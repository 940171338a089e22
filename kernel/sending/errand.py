"""A call that its caller can stop waiting for, whatever the call does.

An adapter may sit in a name look-up, in a handshake with a frozen server, in a lock of a file or in a disk that hangs,
and each of them has time limits of its own that add up. A deadline that is a total needs a caller who can leave. So the
call is run by a helper thread, and the caller waits for the helper. Rejected: handing a deadline to every adapter,
which covers neither those of others nor what their client libraries wait for.

Made of `threading`, not of native threads: under gevent or eventlet the caller is a greenlet, and so is the helper.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from kernel.errors import Unavailable
from kernel.native import is_green

T = TypeVar("T")

#: Helpers that callers have left behind; with so many, nothing more is begun until one of them comes back.
MOST_LEFT = 32
#: Seconds after which a helper without an errand ends.
IDLE = 1.0


class Overdue(Exception):
    """The call has not ended in time. It goes on, and what it comes to is thrown away."""


class _Errand(Generic[T]):
    """One call. Who takes `verdict` first, the helper that has ended or the caller that leaves, decides."""

    __slots__ = ("call", "ended", "error", "value", "verdict")

    def __init__(self, call: Callable[[], T]) -> None:
        self.call = call
        self.value: T | None = None
        self.error: BaseException | None = None
        self.verdict = threading.Lock()
        self.ended = threading.Lock()
        self.ended.acquire()

    def run(self) -> None:
        """In the helper: make the call."""
        try:
            self.value = self.call()
        except BaseException as error:
            self.error = error

    def tell(self) -> bool:
        """In the helper: give the result; whether the caller was still there."""
        if not self.verdict.acquire(blocking=False):
            return False
        self.ended.release()
        return True

    def result(self) -> T:
        """What the call came to."""
        if self.error is not None:
            try:
                raise self.error
            finally:
                self.error = None  # its traceback holds this frame, which would hold it
        return self.value  # type: ignore[return-value]  # there is one when there is no error


class Errands:
    """Helper threads, kept for the next errand for a moment. Any thread or greenlet may send them."""

    def __init__(self) -> None:
        self._idle: deque[_Helper] = deque()
        self._left = 0
        self._counting = threading.Lock()

    def run(self, call: Callable[[], T], timeout: float) -> T:
        """What `call` returns or raises; `Overdue` when that takes longer than `timeout` seconds.

        `Unavailable` (not sent) without a call, when too many earlier ones have not come back yet.
        """
        if self._left >= MOST_LEFT:
            raise Unavailable(f"{self._left} earlier calls still wait for an answer")
        errand = _Errand(call)
        self._send(errand)
        ended = False
        try:
            ended = errand.ended.acquire(timeout=max(0.0, timeout))
        finally:
            if not ended and errand.verdict.acquire(blocking=False):
                with self._counting:
                    self._left += 1
            elif not ended:
                ended = True  # in the last moment
        if not ended:
            raise Overdue
        return errand.result()

    def close(self) -> None:
        """End the helpers that wait; those that are under way end soon after they have come back. Idempotent."""
        while self._idle:
            self._idle.pop().begin(None)

    # -- inside --------------------------------------------------------------------------------------------

    def _send(self, errand: _Errand[Any]) -> None:
        if is_green():
            # A greenlet belongs to the thread that made it, so none is kept for another one; and it is cheap.
            threading.Thread(target=self.serve, args=(errand, None), name="kernel-errand", daemon=True).start()
            return
        try:
            helper = self._idle.pop()
        except IndexError:
            helper = _Helper(self)
        helper.begin(errand)

    def serve(self, errand: _Errand[Any], helper: _Helper | None) -> None:
        """Make the call, and note when somebody who had been left behind comes back."""
        errand.run()
        if helper is not None:
            # Before the caller hears of it: otherwise its next errand would find nobody and take a new helper.
            self._idle.append(helper)
        if not errand.tell():
            with self._counting:
                self._left -= 1

    def leave(self, helper: _Helper) -> bool:
        """Whether the helper may end: not when it has just been given an errand."""
        try:
            self._idle.remove(helper)
        except ValueError:
            return False
        return True


class _Helper:
    """One thread, made at its first errand."""

    __slots__ = ("_begun", "_errand", "_errands", "_started")

    def __init__(self, errands: Errands) -> None:
        self._errands = errands
        self._errand: _Errand[Any] | None = None
        self._begun = threading.Lock()
        self._begun.acquire()
        self._started = False

    def begin(self, errand: _Errand[Any] | None) -> None:
        """Hand over an errand; None: end."""
        self._errand = errand
        if not self._started:
            self._started = True
            threading.Thread(target=self._work, name="kernel-errand", daemon=True).start()
        self._begun.release()

    def _work(self) -> None:
        errands = self._errands
        while True:
            while not self._begun.acquire(timeout=IDLE):
                if errands.leave(self):
                    return
            errand, self._errand = self._errand, None
            if errand is None:
                return
            errands.serve(errand, self)
            del errand
