"""The tasks of one application: its own, and those that libraries share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from kernel.errors import ConfigError
from kernel.options import TaskOptions
from kernel.task import Application, Task, adopt, declared, shared

T = TypeVar("T", bound=Task[..., Any, Any])


class Registry:
    """Tasks by name. Declaring one reads no configuration and opens nothing."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self.own: dict[str, Task[..., Any, Any]] = {}
        #: Told of each task that is declared.
        self.declared: Callable[[Task[..., Any, Any]], None] | None = None

    def declare(self, function: Callable[..., Any], options: TaskOptions, bind: bool) -> Task[..., Any, Any]:
        """Make a task of a function; `ConfigError` for a name that is taken."""
        return self.add(declared(function, options, bind, self._app))

    def add(self, task: T) -> T:
        """Make a task one of this application; `ConfigError` for a name that is taken."""
        adopt(task, self._app)
        earlier = self.own.get(task.name)
        if earlier is not None and getattr(earlier.function, "__code__", 0) is not getattr(
            task.function, "__code__", None
        ):
            raise ConfigError(f"two tasks are called {task.name!r}: give one of them another name=")
        self.own[task.name] = task
        if self.declared is not None:
            self.declared(task)
        return task

    def all(self) -> dict[str, Task[..., Any, Any]]:
        """All tasks by name; its own win over shared ones."""
        return {**shared, **self.own}

    def find(self, name: str) -> Task[..., Any, Any] | None:
        """The task of this name, None where it is not known here."""
        return self.own.get(name) or shared.get(name)
