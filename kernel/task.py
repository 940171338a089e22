"""A task: what the decorator makes of a function."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Generic, Literal, NoReturn, ParamSpec, TypeVar, Unpack, cast, overload

from kernel.arity import is_coroutine
from kernel.canvas import Flow, Group, Signature, chunks, starmap, xmap
from kernel.canvas.flow import checked
from kernel.canvas.messages import extensible
from kernel.current import Direct, Running, application, running
from kernel.envelope import Envelope
from kernel.errors import ConfigError, Replace, Retry
from kernel.layers import laid
from kernel.options import CallOptions, TaskOptions, of_class, settled, wall_clock
from kernel.outcome import ErrorInfo
from kernel.owner import Application
from kernel.provided import needs_of, provided
from kernel.request import Request
from kernel.results.live import Live, in_thread
from kernel.results.result import AsyncResult
from kernel.versions import FIRST, Upcast, Versions

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C")


#: The methods of a class below `Task` that are told of its runs.
HOOKS = ("before_start", "on_success", "on_failure", "on_retry", "after_return")


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
            given = cast(TaskOptions, laid(of_class(type(self)), given))
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
        #: Parameters that the worker fills in.
        self.needs = needs_of(function)
        self._body = provided(function, self.needs, is_coroutine(function), False) if self.needs else function
        self.name = name or given.get("name") or f"{type(self).__module__}.{type(self).__qualname__}"
        self.options = settled(given)
        self.bind = bind
        #: What makes arguments of earlier versions into those of this one.
        self.versions = Versions()
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
        """Run the function here and now, as if it were not a task. What a worker would provide is provided, unless
        it is given."""
        value: C = self._body(self, *args, **kwargs) if self.bind else self._body(*args, **kwargs)
        return value

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
        if "link" in options or "link_error" in options:
            linked: AsyncResult[R] = self.signature(args, kwargs).apply_async(**options)
            return linked
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

    def apply(
        self,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        throw: bool = False,
        **options: Unpack[CallOptions],
    ) -> AsyncResult[R]:
        """Run a call here and now, as a worker would but for its services: no limits, no delays, retries at once.

        The result is there when this returns; with `throw`, what the task raises is raised. Errors of arguments and
        options as for `apply_async`.
        """
        app = self.app
        message = app.sheet(self.name, self).message(args, kwargs or {}, options)
        return app.apply(message, throw or app.config.tasks.eager_propagates)

    async def aapply(
        self,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        throw: bool = False,
        **options: Unpack[CallOptions],
    ) -> AsyncResult[R]:
        """`apply` for coroutines: it runs in a thread beside them."""
        return await in_thread(lambda: self.apply(args, kwargs, throw=throw, **options))

    async def adelay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """`delay` for coroutines; calls made at the same time travel together."""
        return await self.app.asend(self, args, kwargs, None)

    async def aapply_async(
        self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Unpack[CallOptions]
    ) -> AsyncResult[R]:
        """`apply_async` for coroutines."""
        if "link" in options or "link_error" in options:
            linked: AsyncResult[R] = await self.signature(args, kwargs).aapply_async(**options)
            return linked
        return await self.app.asend(self, args, kwargs or {}, options)

    # -- as a part of a workflow ---------------------------------------------------------------------------

    def s(self, *args: Any, **kwargs: Any) -> Signature:
        """A call to be made later, as a part of a workflow: what comes before puts its value before `args`."""
        return Signature(self.name, args, kwargs, app=self._app)

    def si(self, *args: Any, **kwargs: Any) -> Signature:
        """The same, immutable: it takes no value from what comes before."""
        return Signature(self.name, args, kwargs, immutable=True, app=self._app)

    def signature(
        self,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        immutable: bool = False,
        **options: Unpack[CallOptions],
    ) -> Signature:
        """The same with options."""
        return Signature(self.name, tuple(args), kwargs or {}, immutable=immutable, options=options, app=self._app)

    subtask = signature

    def map(self, items: Iterable[Any]) -> Signature:
        """`[task(item) for item in items]` in one message."""
        return replace(xmap(self, items), app=self._app)

    def starmap(self, items: Iterable[Iterable[Any]]) -> Signature:
        """`[task(*item) for item in items]` in one message."""
        return replace(starmap(self, items), app=self._app)

    def chunks(self, items: Iterable[Iterable[Any]], n: int) -> Group:
        """A group of `starmap` with `n` items each; its result is a list of lists."""
        return replace(chunks(self, items, n), app=self._app)

    def replace(self, flow: Flow) -> NoReturn:
        """End this run and let a workflow run in place of it: its value becomes this task's, and what comes after this
        task comes after it. Raises `Replace`, which must not be caught."""
        raise Replace(checked(flow))

    def add_to_chord(self, flow: Flow) -> None:
        """Let a workflow run as one more member of the group that this task is a member of: once it has succeeded, what
        comes after the group waits for that too, and is given its result behind this task's own.

        The task must be the last one of its member, of a group that something waits for; else ValueError.
        """
        job = running.get()
        if job is None or not extensible(job.envelope.extra):
            raise ValueError(f"{self.name} is not the end of a member of a chord: there is nothing to add to")
        job.added = [*(job.added or ()), checked(flow)]

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
        at = None if eta is None else wall_clock(eta, self.app.zone)
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

    def upcast(self, from_version: int) -> Callable[[Upcast], Upcast]:
        """`@task.upcast(from_version=2)`: a function that makes `(args, kwargs)` of that version into those of the
        next, as a pair. `ConfigError` for a version that the task does not come from."""

        def add(step: Upcast) -> Upcast:
            self.versions.add(from_version, step, self.options.get("version", FIRST))
            return step

        return add

    # -- while it runs ---------------------------------------------------------------------------------------

    def update_state(self, task_id: str | None = None, state: str = "PROGRESS", meta: Any = None) -> bool:
        """Record a state of the task's own and what there is to say about it; the caller reads both as
        `AsyncResult.state` and `.info`. Whether it was recorded: not where no result is kept, nor where this run was
        overtaken or the store is away.

        With the id of another task it is said of that one, for as long as that one has not been retried. `ConfigError`
        for a state of kernel's own.
        """
        job = running.get()
        if task_id is not None and (job is None or task_id != job.envelope.id):
            return self._live(Direct(self, task_id, self.app.config.tasks.result_expires)).state(state, meta)
        live = self._telling()
        return live is not None and live.state(state, meta)

    def progress(self, done: float, total: float, message: str = "") -> bool:
        """Record PROGRESS with `done`, `total`, `percent` and `message`, at most twice a second and at the end."""
        live = self._telling()
        return live is not None and live.progress(done, total, message)

    def emit(self, value: Any) -> bool:
        """Give the caller a value before the end: one of `AsyncResult.stream`. At most 10,000 in a run.

        A task that runs again emits from the start, and the first value of each position stands; whether that is this
        one. False where no result is kept. Raises `EncodeError`, `Rejected` for one too many or too large, and
        `Unavailable`.
        """
        live = self._telling()
        return live is not None and live.emit(value)

    async def aupdate_state(self, task_id: str | None = None, state: str = "PROGRESS", meta: Any = None) -> bool:
        """`update_state` for coroutines."""
        return await in_thread(self.update_state, task_id, state, meta)

    async def aprogress(self, done: float, total: float, message: str = "") -> bool:
        """`progress` for coroutines."""
        return await in_thread(self.progress, done, total, message)

    async def aemit(self, value: Any) -> bool:
        """`emit` for coroutines."""
        return await in_thread(self.emit, value)

    def _telling(self) -> Live | None:
        """What tells of this run; None where the task was called as a function, and nobody is to be told."""
        job = running.get()
        if job is not None and job.live is None:
            job.live = self._live(job)
        return None if job is None else job.live

    def _live(self, job: Running) -> Live:
        app = self.app
        return Live(job, app.ports.results, app.config.tasks, app.clock)

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
