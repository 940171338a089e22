"""Helpers of the tests, imported as `from support import ...` (pytest's `pythonpath` holds this folder)."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event

#: Never set: `PAUSE.wait(seconds)` lets other threads run between two looks at something that has no event.
PAUSE = Event()
#: Seconds that the loop of `slowness` takes on an undisturbed core of 2020.
REFERENCE = 0.008


def slowness() -> float:
    """How many times slower this machine computes just now than the one for which times are promised; at least 1.0.

    A shared machine gives half of its speed at some hours. A promise in milliseconds is one for an undisturbed core.
    """
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        sum(number * number for number in range(200_000))
        best = min(best, time.perf_counter() - began)
    return max(1.0, best / REFERENCE)


def eventually(predicate: Callable[[], object], timeout: float = 5.0, what: str = "") -> None:
    """Return as soon as `predicate()` is true; fail after `timeout` seconds. For facts of other processes only:
    where an event can be awaited, await it."""
    deadline = time.monotonic() + timeout
    while not predicate():
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {timeout} s: {what or predicate}")
        PAUSE.wait(0.005)
