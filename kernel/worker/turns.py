"""In which order the queues are asked. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from kernel.errors import ConfigError


class Turns:
    """Changes the order of preference from call to call: in turn, by weight, or never.

    Weighted turns are smooth: with weights 5 and 1 the second queue comes first in every sixth call, not in the last
    one of a hundred. Each queue gains its weight per call, the richest goes first and pays the sum of all.
    """

    def __init__(self, queues: Sequence[str], strict: bool = False, excluded: Sequence[str] = ()) -> None:
        """`queues` are names or `name:weight` with a whole weight from 1, less those `excluded`; ConfigError for
        anything else, and where none is left."""
        self.names, self._weights = _parse(queues, excluded)
        self._credit = [0] * len(self.names)
        self._strict = strict or len(self.names) == 1

    def next(self) -> list[str]:
        """The queues in order of preference for one call of `receive`."""
        if self._strict:
            return self.names
        credit = self._credit
        for index, weight in enumerate(self._weights):
            credit[index] += weight
        order = sorted(range(len(credit)), key=lambda index: -credit[index])
        credit[order[0]] -= sum(self._weights)
        return [self.names[index] for index in order]


def _parse(queues: Sequence[str], excluded: Sequence[str]) -> tuple[list[str], list[int]]:
    names, weights = [], []
    for item in queues:
        name, colon, text = item.rpartition(":")
        if not colon:
            name, text = item, "1"
        if not name or not text.isdecimal() or not int(text):
            raise ConfigError(f"queue {item!r}: write a name, or name:weight with a whole weight from 1")
        if name in names:
            raise ConfigError(f"queue {name!r} is named twice")
        names.append(name)
        weights.append(int(text))
    for name in excluded:
        if name not in names:
            raise ConfigError(f"queue {name!r} is excluded, and not among those: {', '.join(names)}")
    kept = [index for index, name in enumerate(names) if name not in excluded]
    if not kept:
        raise ConfigError("all queues are excluded, so there is nothing to receive from")
    return [names[index] for index in kept], [weights[index] for index in kept]
