"""Signals as something to wait for, beside descriptors and until a deadline."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterable, Sequence
from types import FrameType, TracebackType
from typing import Any

#: Bound before an application can patch them: in a template that imports one for a green pool, the patched ones would
#: start a hub, and forks would inherit it in the middle of its work.
_read = os.read
_poll = getattr(select, "poll", None)


class Wakeup:
    """From construction to `close` these signals wake `wait` and do nothing else. On the main thread only.

    The interpreter writes the number of each signal into a pipe from within the C handler, so none is missed between
    looking and sleeping.
    """

    def __init__(self, signals: Iterable[int]) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._before: dict[int, Any] = {number: signal.signal(number, _pass) for number in signals}
        self._fd_before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)

    def wait(self, fds: Sequence[int], timeout: float | None) -> list[int]:
        """Wait for a signal or for one of `fds` to be readable, up to `timeout` seconds; returns the signals in the
        order of their arrival."""
        assert _poll is not None  # there is no supervisor where it is missing
        poll = _poll()
        for fd in (self._reader, *fds):
            poll.register(fd, select.POLLIN)
        poll.poll(None if timeout is None else max(0.0, timeout) * 1000)
        try:
            return list(_read(self._reader, 4096))
        except BlockingIOError:
            return []

    def close(self) -> None:
        """Give the signals back to whom they belonged. Idempotent."""
        if self._reader < 0:
            return
        signal.set_wakeup_fd(self._fd_before)
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        os.close(self._reader)
        os.close(self._writer)
        self._reader = self._writer = -1

    def __enter__(self) -> Wakeup:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _pass(number: int, frame: FrameType | None) -> None:
    """The pipe has been told already."""
