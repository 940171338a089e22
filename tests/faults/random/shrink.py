"""From a schedule of faults that shows something wrong to a short one that still does."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from faults.random.schedule import Strike

Fails = Callable[[Sequence[Strike]], bool]


def shrink(strikes: Sequence[Strike], fails: Fails, most: int = 30) -> list[Strike]:
    """Leave out half of the strikes, then a quarter, and so on, as long as `fails` says that the rest still does; at
    most so many tries.

    What depends on how threads are scheduled does not fail each time, so the answer is short, and not the shortest.
    """
    left = list(strikes)
    size = max(1, len(left) // 2)
    tries = 0
    while size and tries < most:
        at = 0
        while at < len(left) and tries < most:
            without = left[:at] + left[at + size :]
            tries += 1
            if without and fails(without):
                left = without
            else:
                at += size
        size = min(size, len(left)) // 2
    return left
