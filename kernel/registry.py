"""The tasks of one application: its own, and those that libraries share."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any, TypeVar, cast

from kernel.builtin import builtin
from kernel.configuration.annotations import Annotation, annotated
from kernel.declaring import adopt, check_free, declared, module_name, shared
from kernel.errors import ConfigError
from kernel.layers import laid
from kernel.options import TaskOptions, settled
from kernel.owner import Application
from kernel.task import Task

T = TypeVar("T", bound=Task[..., Any, Any])


class Registry:
    """Tasks by name. Declaring one reads no configuration and opens nothing; `finalize` adds what is configured."""

    def __init__(self, app: Application, named: Callable[[str, str], str]) -> None:
        """`named` makes a name of a function's own and that of its module."""
        self._app = app
        self._named = named
        self.own: dict[str, Task[..., Any, Any]] = {}
        #: Shared tasks with options that this application alone gives them.
        self._changed: dict[str, Task[..., Any, Any]] = {}
        #: What each task's own declaration says, where annotations say something else.
        self._declared: dict[str, TaskOptions] = {}
        self._annotations: tuple[Annotation, ...] = ()
        #: Told of each task that is declared.
        self.announce: Callable[[Task[..., Any, Any]], None] | None = None
        self.final = False

    def declare(self, function: Callable[..., Any], options: TaskOptions, bind: bool) -> Task[..., Any, Any]:
        """Make a task of a function; `ConfigError` for a name that is taken."""
        name = options.get("name") or self._named(function.__qualname__, module_name(function))
        return self.add(declared(function, {**options, "name": name}, bind, self._app))

    def add(self, task: T) -> T:
        """Make a task one of this application; `ConfigError` for a name that is taken."""
        adopt(task, self._app)
        check_free(task, self.own)
        self.own[task.name] = task
        self._declared.pop(task.name, None)
        self._annotate(task)
        if self.announce is not None:
            self.announce(task)
        return task

    def tell(self, tell: Callable[[Task[..., Any, Any]], None]) -> None:
        """Tell of every task, now or when it is declared."""
        self.announce = tell
        for task in self.own.values():
            tell(task)

    def finalize(self, annotations: tuple[Annotation, ...]) -> None:
        """Give the tasks the options that the configuration has for them."""
        self._annotations = annotations
        for task in self.own.values():
            self._annotate(task)
        # Last: another thread must not make its first call with options that are not there yet. Twice does no harm.
        self.final = True

    def forget(self) -> None:
        """The configuration may be another one next time."""
        self.final = False
        self.announce = None
        self._annotations = ()
        self._changed = {}
        for name, options in self._declared.items():
            self.own[name].options = options
        self._declared = {}

    def _annotate(self, task: Task[..., Any, Any]) -> None:
        changes = annotated(task.name, self._annotations)
        if changes:
            self._declared.setdefault(task.name, task.options)
            task.options = _changed(task.options, changes)

    def all(self) -> dict[str, Task[..., Any, Any]]:
        """All tasks by name; its own win over shared ones."""
        return {**{name: self._own_view(task) for name, task in shared.items()}, **self.own}

    def find(self, name: str) -> Task[..., Any, Any] | None:
        """The task of this name, or one that every worker knows; None where it is not known here."""
        task = self.own.get(name)
        if task is None and name in shared:
            task = self._own_view(shared[name])
        return task or builtin.get(name)

    def _own_view(self, task: Task[..., Any, Any]) -> Task[..., Any, Any]:
        """A shared task as this application has it: other applications have annotations of their own."""
        known = self._changed.get(task.name)
        if known is not None and known.function is task.function:
            return known
        changes = annotated(task.name, self._annotations)
        if not changes:
            return task
        changed = self._changed[task.name] = copy(task)
        changed.options = _changed(task.options, changes)
        return changed

    def belonging(self, task: Task[..., Any, Any]) -> Task[..., Any, Any]:
        """The task; `ConfigError` where it is one of another application, whose options and queues are others."""
        if task.name not in shared and task.app is not self._app:
            raise ConfigError(
                f"{task.name} is a task of {task.app!r}, not of {self._app!r}: send it there, or by its name"
            )
        return task


def _changed(options: TaskOptions, changes: dict[str, Any]) -> TaskOptions:
    """ConfigError for what contradicts itself."""
    return settled(cast(TaskOptions, laid(options, changes)))
