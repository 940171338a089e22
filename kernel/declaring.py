"""Declaring tasks: what the decorators take and give."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Concatenate, Literal, ParamSpec, Protocol, TypeVar, Unpack, overload

from kernel.errors import ConfigError
from kernel.options import TaskOptions, check_known
from kernel.owner import Application
from kernel.task import Task

P = ParamSpec("P")
R = TypeVar("R")


class Declares(Protocol):
    """`@app.task(...)` with options, before it is given the function."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]]) -> Task[P, R, Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(self, function: Callable[P, R]) -> Task[P, R, R]: ...


class DeclaresBound(Protocol):
    """`@app.task(bind=True)`: the first parameter is the task, and not the caller's."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]
    ) -> Task[P, R, Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[Any, P], R]) -> Task[P, R, R]: ...


#: Tasks declared with `shared_task`, by name: every application in the process has them.
shared: dict[str, Task[..., Any, Any]] = {}


def declared(
    function: Callable[..., Any], options: TaskOptions, bind: bool, app: Application | None
) -> Task[..., Any, Any]:
    """The task that a function becomes. An object of its `base` is made without arguments, as a class with an
    `__init__` of its own expects, and is then told of the function."""
    name = options.get("name") or default_name(function)
    base = options.get("base", Task)
    if base is Task:
        return Task(function, name, options, bind, app)
    if not issubclass(base, Task):
        raise ConfigError(f"base={base.__name__} of {name} is no class below kernel.Task")
    task: Task[..., Any, Any] = base()
    Task.__init__(task, function, name, options, bind, app)
    return task


def adopt(task: Task[..., Any, Any], app: Application) -> None:
    """Make a task one of this application. Its class may have an `__init__` that does not call the one of `Task`."""
    if "function" not in vars(task):
        Task.__init__(task)
    if "function" not in vars(task):
        raise ConfigError(f"{type(task).__name__} has no method run, so there is nothing to register")
    task._app = app


def check_free(task: Task[..., Any, Any], taken: Mapping[str, Task[..., Any, Any]]) -> None:
    """ConfigError where another function has the name of this task; the same one may be declared again."""
    earlier = taken.get(task.name)
    if earlier is not None and getattr(earlier.function, "__code__", 0) is not getattr(task.function, "__code__", 1):
        raise ConfigError(f"two tasks are called {task.name!r}: give one of them another name=")


def default_name(function: Callable[..., Any]) -> str:
    """The wire name of a function: module and qualified name."""
    return f"{module_name(function)}.{function.__qualname__}"


def module_name(function: Callable[..., Any]) -> str:
    """The module of a function. One that is run as a script goes by the name under which a worker imports it, that of
    its file."""
    module = function.__module__
    if module == "__main__":
        main = sys.modules["__main__"]
        spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
        if spec is not None:
            module = spec.name.removesuffix(".__main__")
        elif file:
            module = os.path.splitext(os.path.basename(file))[0]
    return module


@overload
def shared_task(function: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R, Coroutine[Any, Any, R]]: ...
@overload
def shared_task(function: Callable[P, R], /) -> Task[P, R, R]: ...
@overload
def shared_task(*, bind: Literal[True], **options: Unpack[TaskOptions]) -> DeclaresBound: ...
@overload
def shared_task(*, bind: Literal[False] = False, **options: Unpack[TaskOptions]) -> Declares: ...
def shared_task(function: Any = None, /, *, bind: bool = False, **options: Unpack[TaskOptions]) -> Any:
    """Declare a task without an application, for libraries: it belongs to whichever application uses it."""

    check_known(options, TaskOptions, "task")

    def declare(function: Callable[..., Any]) -> Task[..., Any, Any]:
        task = declared(function, options, bind, None)
        check_free(task, shared)
        shared[task.name] = task
        return task

    return declare if function is None else declare(function)
