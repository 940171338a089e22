"""What does not survive a fork is told of it, in the child."""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class Forked(Protocol):
    """What holds connections or locks."""

    def forget_parent(self) -> None:
        """In the child: let go of what the parent still uses, and do not close it."""


_watched: WeakSet[Forked] = WeakSet()


def watch(thing: Forked) -> None:
    """Tell it in every child that this process forks, as long as something else keeps it."""
    _watched.add(thing)


def _after_fork() -> None:
    for thing in _watched:
        thing.forget_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
