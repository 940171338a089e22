"""From a body to the arguments of a task: unpacked, decoded, of today's version, and validated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kernel.compression import MOST_GROWTH, Method
from kernel.configuration.settings import Tasks
from kernel.errors import DecodeError
from kernel.models import Models, dumper
from kernel.task import Task
from kernel.versions import FIRST, Versions

Loads = Callable[[bytes], Any]


class Reading:
    """How the bodies of one task are read. Most tasks have none: then the serializer does all of it."""

    __slots__ = ("_models", "_most", "_newest", "_versions", "plain")

    @classmethod
    def of_task(cls, task: Task[..., Any, Any], settings: Tasks) -> Reading:
        """How the bodies of a task are read; `ConfigError` for annotations that cannot be validated."""
        options, models = task.options, None
        if options.get("pydantic"):
            models = Models(task.function, options, int(task.bind), frozenset(task.needs))
        return cls(
            task.versions, options.get("version", FIRST), models, settings.max_payload * MOST_GROWTH, dumper(options)
        )

    def __init__(
        self,
        versions: Versions,
        newest: int,
        models: Models | None,
        most: int,
        plain: Callable[[Any], Any] | None = None,
    ) -> None:
        """`most`: bytes that a packed body may become."""
        self._versions = versions
        self._newest = newest
        self._models = models
        self._most = most
        #: Makes plain values of a result.
        self.plain: Callable[[Any], Any] = plain or _itself

    def of(self, loads: Loads, version: int = FIRST, packed: Method | None = None) -> Loads:
        """What reads a body that `loads` decodes, of this version; `loads` itself where that is all."""
        plain = self._models is None and version >= self._newest
        if plain and packed is None:
            return loads

        def read(body: bytes) -> Any:
            value = loads(body if packed is None else packed.unpack(body, self._most))
            return value if plain else self._ready(value, version)

        return read

    def _ready(self, value: Any, version: int) -> list[Any]:
        match value:
            case [list() as args, dict() as kwargs]:
                args, kwargs = self._versions.raised(args, kwargs, version, self._newest)
                if self._models is not None:
                    args, kwargs = self._models.validated(args, kwargs)
                return [args, kwargs]
        raise DecodeError("the body is not [args, kwargs]")


class Before:
    """Decodes a body and puts a value before its arguments."""

    __slots__ = ("_loads", "_value")

    def __init__(self, loads: Callable[[bytes], Any], value: Any) -> None:
        self._loads = loads
        self._value = value

    def __call__(self, body: bytes) -> Any:
        """As `Serializer.loads`, of a body."""
        args, kwargs = self._loads(body)
        return [[self._value, *args], kwargs]


def _itself(value: Any) -> Any:
    return value
