"""The members of a group that are not there yet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from kernel.errors import ConfigError


class Lazy:
    """The members of a group that come from a generator: they can be taken once."""

    __slots__ = ("_members",)

    def __init__(self, members: Iterable[Any]) -> None:
        self._members: Iterator[Any] | None = iter(members)

    def __iter__(self) -> Iterator[Any]:
        members, self._members = self._members, None
        if members is None:
            raise ConfigError("the members of this group came from a generator and are used up: give it a list")
        return members

    def peek(self) -> Any:
        """The first member, which stays where it is; None where there is none, or they are used up."""
        if self._members is None:
            return None
        for first in self._members:
            self._members = chain((first,), self._members)
            return first
        return None
