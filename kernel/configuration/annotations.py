"""Options of tasks that the configuration gives, by name or pattern: what operators change without touching code."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from kernel.errors import ConfigError
from kernel.layers import laid

#: What a task is cannot be changed from outside.
_FIXED = frozenset({"name", "base"})
_GLOB = re.compile(r"[*?\[]")


class Annotation(msgspec.Struct, frozen=True):
    """Options for all tasks whose name matches."""

    #: An exact name or a glob.
    pattern: str
    options: dict[str, Any]

    @property
    def exact(self) -> bool:
        """Whether it names one task."""
        return not _GLOB.search(self.pattern)


def parse_annotations(value: Any, check: Callable[[Mapping[str, Any]], None]) -> tuple[Annotation, ...]:
    """The annotations of a mapping {name or glob: options}, exact names last, so that they win over patterns.

    ValueError for anything else, `ConfigError` of `check` for options that a task cannot have.
    """
    if isinstance(value, tuple) and all(isinstance(each, Annotation) for each in value):
        return value
    if not isinstance(value, Mapping):
        raise ValueError(f"annotations are a mapping of task names to options, not {value!r:.60}")
    return tuple(
        _annotation(pattern, options, check)
        for pattern, options in sorted(value.items(), key=lambda item: not _GLOB.search(str(item[0])))
    )


def _annotation(pattern: Any, options: Any, check: Callable[[Mapping[str, Any]], None]) -> Annotation:
    if not isinstance(pattern, str) or not pattern:
        raise ValueError(f"the name of a task, or a pattern, is a text, not {pattern!r:.60}")
    if not isinstance(options, Mapping):
        raise ValueError(f"{pattern}: options are a mapping, not {options!r:.60}")
    try:
        check(options)
    except ConfigError as error:
        raise ConfigError(f"{pattern}: {error}") from None
    fixed = _FIXED.intersection(options)
    if fixed:
        raise ValueError(f"{pattern}: {min(fixed)} is a matter of the task's own declaration")
    return Annotation(pattern, dict(options))


def plain_annotations(annotations: Iterable[Annotation]) -> dict[str, dict[str, Any]]:
    """What a person would write."""
    return {each.pattern: {key: _plain(value) for key, value in each.options.items()} for each in annotations}


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | None) else repr(value)


def annotated(name: str, annotations: Iterable[Annotation]) -> dict[str, Any]:
    """The options that the annotations give to the task of this name; a later one wins."""
    options: dict[str, Any] = {}
    for each in annotations:
        if each.pattern == name or fnmatchcase(name, each.pattern):
            options = laid(options, each.options)
    return options
