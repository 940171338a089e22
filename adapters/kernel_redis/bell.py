"""A bell that ends a wait on sockets."""

from __future__ import annotations

import os
from collections.abc import Callable

from kernel.native import original

# eventlet's read waits where there is nothing to read yet, and a ring raises its flag before it writes.
_read: Callable[[int, int], bytes] = original("os", "read")
_write: Callable[[int, bytes], int] = original("os", "write")


class Bell:
    """Ends a wait from any thread and from a signal handler. A pipe, because it can be polled beside sockets."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._rung = False

    @property
    def rung(self) -> bool:
        """Whether it rang since the last `hush`."""
        return self._rung

    def fileno(self) -> int:
        """What to poll."""
        return self._read

    def ring(self) -> None:
        """End the wait, or the next one."""
        self._rung = True
        try:
            _write(self._write, b"!")
        except (BlockingIOError, OSError):
            pass  # full of rings already, or closed

    def hush(self) -> None:
        """Forget all rings."""
        self._rung = False
        try:
            _read(self._read, 4096)
        except (BlockingIOError, OSError):
            pass

    def close(self) -> None:
        """Give the descriptors back. Idempotent."""
        read, self._read = self._read, -1
        if read >= 0:
            os.close(read)
            os.close(self._write)
