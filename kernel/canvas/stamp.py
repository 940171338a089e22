"""Stamps: values that a user puts on the tasks of a workflow, to find them again and to revoke them together.

A visitor walks through the workflow and says what is put on what. What it returns for a composite is also put on
everything inside of it, what it returns for a signature on that one only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Stamps = Mapping[str, Any]


class StampingVisitor:
    """Derive from this and override what you need; each method returns stamps, and is told those from above."""

    def on_signature(self, signature: Any, **stamps: Any) -> Stamps:
        """A task."""
        return {}

    def on_chain_start(self, chain: Any, **stamps: Any) -> Stamps:
        """A chain, before its steps."""
        return {}

    def on_chain_end(self, chain: Any, **stamps: Any) -> None:
        """A chain, after its steps."""

    def on_group_start(self, group: Any, **stamps: Any) -> Stamps:
        """A group, before its members."""
        return {}

    def on_group_end(self, group: Any, **stamps: Any) -> None:
        """A group, after its members; of a generator, before them."""

    def on_chord_header_start(self, chord: Any, **stamps: Any) -> Stamps:
        """A chord, before its header."""
        return {}

    def on_chord_header_end(self, chord: Any, **stamps: Any) -> None:
        """A chord, after its header."""

    def on_chord_body(self, chord: Any, **stamps: Any) -> Stamps:
        """A chord, before its body."""
        return {}

    def on_callback(self, callback: Any, **stamps: Any) -> Stamps:
        """A callback, before it is walked through itself."""
        return {}

    def on_errback(self, errback: Any, **stamps: Any) -> Stamps:
        """An error callback, before it is walked through itself."""
        return {}


def stamped(options: Mapping[str, Any], stamps: Stamps, append: bool) -> dict[str, Any]:
    """Options with more stamps. A stamp that is there already is replaced, or with `append` has both values."""
    own: dict[str, Any] = dict(options.get("stamps", {}))
    for name, value in stamps.items():
        if append and name in own:
            own[name] = [*_several(own[name]), *(one for one in _several(value) if one not in _several(own[name]))]
        else:
            own[name] = value
    return {**options, "stamps": own} if own else dict(options)


def _several(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple | set | frozenset) else [value]
