"""The body of a task as it is run: the function, its first argument where that is the task, and what it needs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from kernel.body.rites import Rites
from kernel.provided import provided
from kernel.task import Task


def body_of(task: Task[..., Any, Any], coroutine: bool, rites: Rites | None) -> Callable[..., Any]:
    """What to call for one run. A plain task is its own function, with nothing around it."""
    call: Callable[..., Any] = task if task.bind else task.function
    if task.needs:
        own = provided(task.function, task.needs, coroutine, strict=True)
        call = partial(own, task) if task.bind else own
    return call if rites is None else rites.around(call, coroutine)
