"""The tasks that every worker knows: the ends and the maps of workflows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from kernel.arity import is_coroutine
from kernel.canvas.names import COLLECT, DEADLINE, MAP, SPREAD, STARMAP
from kernel.current import application
from kernel.errors import UnknownTask
from kernel.task import Task


def collect(value: Any = None) -> Any:
    """Hands on what it is given, such as the results of a group that has no other end."""
    return value


def xmap(task: str, items: Iterable[Any]) -> list[Any]:
    """`[task(item) for item in items]`."""
    return xstarmap(task, ((item,) for item in items))


def xstarmap(task: str, items: Iterable[Iterable[Any]]) -> list[Any]:
    """`[task(*item) for item in items]`."""
    found = application[0].tasks.get(task) if application else None
    if found is None:
        raise UnknownTask(f"{task!r} is to be mapped over items, and is no task of this worker")
    if is_coroutine(found.function):
        return _awaited(found, items)
    return [found(*item) for item in items]


def _awaited(task: Callable[..., Any], items: Iterable[Iterable[Any]]) -> list[Any]:
    import asyncio  # a worker without coroutines need not load it

    async def run() -> list[Any]:
        return [await task(*item) for item in items]

    return asyncio.run(run())


def deadline() -> None:
    """Does nothing, when the deadline of a join has come: the worker that settles it ends the join."""


#: By name.
builtin: dict[str, Task[..., Any, Any]] = {
    name: Task(function, name, {}, False, None)
    for name, function in (
        (COLLECT, collect),
        (SPREAD, collect),
        (MAP, xmap),
        (STARMAP, xstarmap),
        (DEADLINE, deadline),
    )
}
