"""Helpers of the tests, imported as `from support import ...` (pytest's `pythonpath` holds this folder)."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event

#: Never set: `PAUSE.wait(seconds)` lets other threads run between two looks at something that has no event.
PAUSE = Event()


def eventually(predicate: Callable[[], object], timeout: float = 5.0, what: str = "") -> None:
    """Return as soon as `predicate()` is true; fail after `timeout` seconds. For facts of other processes only:
    where an event can be awaited, await it."""
    deadline = time.monotonic() + timeout
    while not predicate():
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {timeout} s: {what or predicate}")
        PAUSE.wait(0.005)
