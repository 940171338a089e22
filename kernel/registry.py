"""The tasks of one application: its own, and those that libraries share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kernel.errors import ConfigError
from kernel.options import TaskOptions
from kernel.task import Application, Task, default_name, shared


class Registry:
    """Tasks by name. Declaring one reads no configuration and opens nothing."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self.own: dict[str, Task[..., Any, Any]] = {}
        #: Told of each task that is declared.
        self.declared: Callable[[Task[..., Any, Any]], None] | None = None

    def declare(self, function: Callable[..., Any], options: TaskOptions, bind: bool) -> Task[..., Any, Any]:
        """Make a task of a function; `ConfigError` for a name that is taken."""
        name = options.get("name") or default_name(function)
        earlier = self.own.get(name)
        if earlier is not None and earlier.function.__code__ is not getattr(function, "__code__", None):
            raise ConfigError(f"two tasks are called {name!r}: give one of them another name=")
        task: Task[..., Any, Any] = Task(function, name, options, bind, self._app)
        self.own[name] = task
        if self.declared is not None:
            self.declared(task)
        return task

    def all(self) -> dict[str, Task[..., Any, Any]]:
        """All tasks by name; its own win over shared ones."""
        return {**shared, **self.own}

    def find(self, name: str) -> Task[..., Any, Any] | None:
        """The task of this name, None where it is not known here."""
        return self.own.get(name) or shared.get(name)
