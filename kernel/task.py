"""A task: what the decorator makes of a function."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import (
    Any,
    Concatenate,
    Generic,
    Literal,
    NoReturn,
    ParamSpec,
    Protocol,
    TypeVar,
    Unpack,
    overload,
)

from kernel.current import Request, application, current_request, running
from kernel.errors import ConfigError, Retry
from kernel.options import CallOptions, TaskOptions, check_known, wall_clock
from kernel.result import AsyncResult

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C")


class Application(Protocol):
    """What a task needs of its application."""

    def send(
        self, task: Task[..., Any, Any], args: Sequence[Any], kwargs: Mapping[str, Any], options: CallOptions | None
    ) -> AsyncResult[Any]:
        """Send one call."""

    async def asend(
        self, task: Task[..., Any, Any], args: Sequence[Any], kwargs: Mapping[str, Any], options: CallOptions | None
    ) -> AsyncResult[Any]:
        """Send one call from a coroutine."""

    def within(self, transaction: object) -> AbstractContextManager[object]:
        """What is sent in this context becomes part of a transaction of a database."""


class Task(Generic[P, R, C]):
    """A function that can be called somewhere else.

    `P` are its parameters as a caller gives them, `R` is what a worker gets from it, `C` what a direct call returns
    (the same, or a coroutine of it).
    """

    def __init__(
        self, function: Callable[..., C], name: str, options: TaskOptions, bind: bool, app: Application | None
    ) -> None:
        self.function = function
        self.name = name
        self.options = options
        self.bind = bind
        self._app = app
        self.__doc__ = function.__doc__
        self.__wrapped__ = function

    def __repr__(self) -> str:
        return f"<Task {self.name}>"

    @property
    def app(self) -> Application:
        """The application that it was declared on; for a shared task, the one of this process."""
        if self._app is not None:
            return self._app
        if not application:
            raise ConfigError(f"{self.name} is a shared task, and there is no application: create one with Kernel(...)")
        own: Application = application[0]
        return own

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> C:
        """Run the function here and now, as if it were not a task."""
        if self.bind:
            return self.function(self, *args, **kwargs)
        return self.function(*args, **kwargs)

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """Send a call; durable when this returns.

        Raises TypeError when the arguments do not fit, `EncodeError` when they cannot be serialised, `Rejected`
        when they are too large, `Unavailable` when the transport stays away for `send_timeout` seconds.
        """
        return self.app.send(self, args, kwargs, None)

    def apply_async(
        self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Unpack[CallOptions]
    ) -> AsyncResult[R]:
        """Send a call with options; errors as for `delay`, and `Unsupported` when the adapter cannot do it."""
        return self.app.send(self, args, kwargs or {}, options)

    def send_within(
        self,
        transaction: object,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[CallOptions],
    ) -> AsyncResult[R]:
        """Write a call into a transaction of a database: sent by `kernel relay` once it is committed, never when it is
        rolled back. `transaction` as for `Kernel.within`, which takes many calls, and asynchronous sessions."""
        with self.app.within(transaction):
            return self.app.send(self, args, kwargs or {}, options)

    async def adelay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """`delay` for coroutines; calls made at the same time travel together."""
        return await self.app.asend(self, args, kwargs, None)

    async def aapply_async(
        self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Unpack[CallOptions]
    ) -> AsyncResult[R]:
        """`apply_async` for coroutines."""
        return await self.app.asend(self, args, kwargs or {}, options)

    @property
    def request(self) -> Request:
        """The message that the running task came with; RuntimeError outside of a worker."""
        request = current_request()
        if request is None:
            raise RuntimeError(f"{self.name} does not run in a worker, so it has no request")
        return request

    def retry(
        self,
        exc: BaseException | None = None,
        *,
        countdown: float | None = None,
        eta: datetime | float | None = None,
        max_retries: int | Literal[False] | None = False,
    ) -> NoReturn:
        """End this run and ask for another one; raises `Retry`, which must not be caught.

        Without `countdown` or `eta` the task's backoff decides when. When no retry is left, the task fails with
        `exc`, or with `MaxRetriesExceeded` without one. `max_retries` overrides the task's for this run
        (None: no limit; False: the task's own). `ConfigError` for an `eta` without a time zone.
        """
        at = None if eta is None else wall_clock(eta)
        raise Retry(countdown=countdown, eta=at, cause=exc, max_retries=max_retries) from exc


def current_task() -> Task[..., Any, Any] | None:
    """The task that runs in this context, None outside of a worker."""
    job = running.get()
    if job is None:
        return None
    task: Task[..., Any, Any] = job.task
    return task


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


def default_name(function: Callable[..., Any]) -> str:
    """The wire name of a function: module and qualified name.

    A module that is run as a script goes by the name under which a worker imports it, that of its file.
    """
    module = function.__module__
    if module == "__main__":
        main = sys.modules["__main__"]
        spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
        if spec is not None:
            module = spec.name.removesuffix(".__main__")
        elif file:
            module = os.path.splitext(os.path.basename(file))[0]
    return f"{module}.{function.__qualname__}"


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
        task: Task[..., Any, Any] = Task(function, options.get("name") or default_name(function), options, bind, None)
        shared[task.name] = task
        return task

    return declare if function is None else declare(function)
