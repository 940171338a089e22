"""Batches that a port takes in one call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def parts(items: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    """The items in order, at most `most` at a time (a port's `features.max_batch`); nothing for none."""
    return (items[at : at + most] for at in range(0, len(items), most))
