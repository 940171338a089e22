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
    cast,
    overload,
)

from kernel.arity import is_coroutine
from kernel.call import CallSheet
from kernel.current import Direct, application, running
from kernel.envelope import Envelope
from kernel.errors import ConfigError, Retry
from kernel.options import CallOptions, TaskOptions, check_known, settled, wall_clock
from kernel.outcome import ErrorInfo
from kernel.request import Request
from kernel.result import AsyncResult

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C")


#: The methods of a class below `Task` that are told of its runs.
HOOKS = ("before_start", "on_success", "on_failure", "on_retry", "after_return")


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

    def sheet(self, name: str, task: Task[..., Any, Any] | None = None) -> CallSheet:
        """How calls of the task of this name become messages."""

    def within(self, transaction: object) -> AbstractContextManager[object]:
        """What is sent in this context becomes part of a transaction of a database."""


class Task(Generic[P, R, C]):
    """A function that can be called somewhere else.

    `P` are its parameters as a caller gives them, `R` is what a worker gets from it, `C` what a direct call returns
    (the same, or a coroutine of it).

    A class below this one has hooks, and options as attributes of their names. It is given to a function by
    `@app.task(base=...)`, or has a method `run` and is declared by `app.register_task(...)`. There is one object per
    task and process: what it holds is shared by all runs there, which may be at the same time.
    """

    #: The function, or the method that takes its place.
    run: Callable[..., Any]
    name: str

    def __init__(
        self,
        function: Callable[..., C] | None = None,
        name: str = "",
        options: TaskOptions | None = None,
        bind: bool = False,
        app: Application | None = None,
    ) -> None:
        """Without a function it is the method `run`. ConfigError for options that contradict each other."""
        given = options or {}
        if type(self) is not Task:
            given = {**_of_class(type(self)), **given}
        if function is None:
            function = getattr(self, "run", None)
            if function is None:
                return  # of a class that is the base of a function: that one comes next
        else:
            self.run = function
        mixed = [] if is_coroutine(function) else [hook for hook in HOOKS if is_coroutine(getattr(self, hook))]
        if mixed:
            raise ConfigError(
                f"{mixed[0]} of {function.__qualname__} is async def and the task is not: nobody awaits it"
            )
        self.function = function
        self.name = name or given.get("name") or f"{type(self).__module__}.{type(self).__qualname__}"
        self.options = settled(given)
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
        """The message that the running task came with. Where the task was called as a function, one that says
        `called_directly`: also inside of another task, whose request is not this one's."""
        job = running.get()
        return Request(job if job is not None and job.envelope.task == self.name else Direct(self))

    @overload
    def retry(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        exc: BaseException | None = None,
        throw: Literal[True] = True,
        eta: datetime | float | None = None,
        countdown: float | None = None,
        max_retries: int | Literal[False] | None = False,
        **options: Any,
    ) -> NoReturn: ...
    @overload
    def retry(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        exc: BaseException | None = None,
        *,
        throw: Literal[False],
        eta: datetime | float | None = None,
        countdown: float | None = None,
        max_retries: int | Literal[False] | None = False,
        **options: Any,
    ) -> Retry: ...
    def retry(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        exc: BaseException | None = None,
        throw: bool = True,
        eta: datetime | float | None = None,
        countdown: float | None = None,
        max_retries: int | Literal[False] | None = False,
        **options: Any,
    ) -> Retry:
        """End this run and ask for another one; raises `Retry`, which must not be caught.

        Without `countdown` or `eta` the task's backoff decides when. When no retry is left, the task fails with
        `exc`, or with `MaxRetriesExceeded` without one. `max_retries` overrides the task's for this run
        (None: no limit; False: the task's own). The next run has the same arguments and options, but for those that
        are given here (`CallOptions` but `task_id`). With `throw=False` the signal is returned, and whoever raises it
        asks for the retry. A task that was called as a function raises `exc`.

        Raises as `apply_async` does for what cannot be sent, and `ConfigError` for an `eta` without a time zone.
        """
        at = None if eta is None else wall_clock(eta)
        request = self.request
        if request.called_directly and exc is not None:
            raise exc
        call = None
        if not request.called_directly and (args is not None or kwargs is not None or options):
            call = self._altered(args, kwargs, cast(CallOptions, options))
        signal = Retry(countdown, at, exc, max_retries, call, options.get("queue", ""))
        signal.__cause__ = exc
        if throw:
            raise signal
        return signal

    def _altered(self, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None, options: CallOptions) -> Envelope:
        """The call of the next run."""
        if "task_id" in options:
            raise ConfigError("a retry is the same task: it cannot have another task_id")
        job = running.get()
        assert job is not None
        if args is not None or kwargs is not None or "serializer" in options:
            own = job.arguments()
            args, kwargs = own[0] if args is None else args, own[1] if kwargs is None else kwargs
        return self.app.sheet(self.name, self).altered(job.envelope, args, kwargs, options)

    # -- hooks: for classes below this one to override -------------------------------------------------------
    # They run in the worker beside the body. What `on_success`, `on_failure`, `on_retry` and `after_return` raise is
    # logged and changes nothing. Those of an asynchronous task may be asynchronous.

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> Any:
        """The body is about to run; raising takes its place."""

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> Any:
        """The body has returned."""

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: ErrorInfo) -> Any:
        """The task has failed, and no retry mends it."""

    def on_retry(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: ErrorInfo) -> Any:
        """The task will run again."""

    def after_return(
        self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: ErrorInfo | None
    ) -> Any:
        """The task has ended: SUCCESS with its value, or FAILURE with its error."""


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


def _of_class(kind: type[Task[..., Any, Any]]) -> TaskOptions:
    """The options that a class has as attributes."""
    found = {name: getattr(kind, name) for name in TaskOptions.__annotations__ if hasattr(kind, name)}
    check_known(found, TaskOptions, "task")
    return cast(TaskOptions, found)


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
