"""Versions of a task's arguments: what an earlier release sent is made into what this one takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kernel.errors import ConfigError, DecodeError

Arguments = tuple[list[Any], dict[str, Any]]
#: From the arguments of one version to those of the next.
Upcast = Callable[[list[Any], dict[str, Any]], tuple[Any, Any]]
#: The version of a message that says nothing of versions.
FIRST = 1


class Versions:
    """The up-casters of one task, each from one version to the next."""

    __slots__ = ("_steps",)

    def __init__(self) -> None:
        self._steps: dict[int, Upcast] = {}

    def add(self, from_version: int, step: Upcast, newest: int) -> None:
        """ConfigError for a version that the task does not come from, or that has a step already."""
        if not FIRST <= from_version < newest:
            raise ConfigError(f"from_version={from_version} is no version before {newest}, the version of this task")
        if from_version in self._steps:
            raise ConfigError(f"there is a step from version {from_version} already")
        self._steps[from_version] = step

    def raised(self, args: list[Any], kwargs: dict[str, Any], version: int, newest: int) -> Arguments:
        """The arguments in the newest version, step by step; `DecodeError` where a step is missing or fails."""
        while version < newest:
            step = self._steps.get(version)
            if step is None:
                raise DecodeError(f"they are of version {version}, and no step leads from there to version {newest}")
            try:
                given, named = step(args, kwargs)
                args, kwargs = list(given), dict(named)
            except Exception as error:
                raise DecodeError(f"the step from version {version} failed: {type(error).__name__}: {error}") from error
            version += 1
        return args, kwargs
