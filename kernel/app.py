"""The application: a name, a configuration, tasks, and the ports opened on first use."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Literal, ParamSpec, TypeVar, Unpack, overload
from weakref import WeakSet

from kernel import discovery
from kernel.batcher import Batch, Batcher, open_batch
from kernel.call import CallSheet
from kernel.clock import SYSTEM, Clock
from kernel.config import Config
from kernel.current import application
from kernel.dead import DeadLetters
from kernel.errand import Errands
from kernel.errors import ConfigError, Unavailable
from kernel.hooks import Hooks
from kernel.inquiry import StoredResults
from kernel.many import send_many
from kernel.opened import Given, Opened
from kernel.options import Call, CallOptions, TaskOptions, check_known
from kernel.outbox import Spool, Within
from kernel.ports import Coordination, Outgoing, ResultStore, ScheduleStore, Transport
from kernel.registry import Registry
from kernel.result import IGNORED, NO_STORE, AsyncResult, Completed, LaterResults, Results
from kernel.sender import MOST, Sender
from kernel.task import Declares, DeclaresBound, Task

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T", bound=Task[..., Any, Any])

#: All applications of this process.
_applications: WeakSet[Kernel] = WeakSet()
#: Ports that a parent opened. Kept, because letting go of them closes what the parent still uses.
_inherited: list[Opened] = []


def _after_fork() -> None:
    for app in _applications:
        app.forget_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Kernel:
    """An application. Creating one reads nothing, opens nothing and starts nothing; the first call does.

    `options` are the configuration keys of `kernel.config`, such as `transport="sqlite:///shop.db"` or
    `result_expires=60`; what is given here wins over file, environment and command line.
    """

    def __init__(
        self, name: str = "kernel", *, plugins: Iterable[object] = (), clock: Clock = SYSTEM, **options: Any
    ) -> None:
        """ConfigError for an option that does not exist."""
        Config.check(options)
        self.name = name
        self.clock = clock
        self.command_line: dict[str, Any] = {}
        self._options = options
        self._plugins = tuple(plugins)
        self._registry = Registry(self)
        self._given = Given()
        #: How often it was closed.
        self._closings = 0
        # Not a native lock: under a green library the greenlet that opens the ports waits for the network meanwhile,
        # and the next one of its thread must not keep it from going on.
        self._lock = threading.Lock()
        self._forget()
        _applications.add(self)
        if not application:
            application.append(self)

    def __repr__(self) -> str:
        return f"<Kernel {self.name}>"

    def forget_parent(self) -> None:
        """In a forked child: connections and threads do not survive a fork, and a lock may be held by nobody."""
        if self._opened is not None:
            _inherited.append(self._opened)
        self._lock = threading.Lock()
        self._forget()

    def _forget(self) -> None:
        """Drop everything that is made on first use."""
        self._config: Config | None = None
        self._hooks: Hooks | None = None
        self._registry.declared = None
        self._opened: Opened | None = None
        self._results: Results | None = None
        self._sender: Sender | None = None
        self._batcher: Batcher | None = None
        self._sheets: dict[str, CallSheet] = {}

    # -- configuration -------------------------------------------------------------------------------------

    @property
    def config(self) -> Config:
        """The configuration, put together on first use: defaults, file, plugins, environment, command line, code."""
        if self._config is None:
            plugins: dict[str, Any] = {}
            for changes in self.hooks.configure(self._options):
                plugins.update(changes)
            self._config = Config.load(self._options, self.command_line, os.environ, plugins=plugins)
        return self._config

    @property
    def hooks(self) -> Hooks:
        """The plugins: those given in code and those that installed packages offer."""
        if self._hooks is None:
            self._hooks = hooks = Hooks.load(self._plugins)
            self._registry.declared = lambda task: hooks.task_registered(self, task)
            for task in self._registry.own.values():
                hooks.task_registered(self, task)
        return self._hooks

    def use(
        self,
        transport: Transport | None = None,
        results: ResultStore | None = None,
        coordination: Coordination | None = None,
        schedules: ScheduleStore | None = None,
    ) -> None:
        """Hand over adapters as objects, before anything is sent; ConfigError afterwards."""
        if self._opened is not None:
            raise ConfigError(
                "the ports of this application are open already: call use() before the first task is sent"
            )
        self._given = Given(transport, results, coordination, schedules)

    @property
    def ports(self) -> Opened:
        """The adapters, opened on first use and again in a forked child."""
        return self._opened or self._open(self._closings)

    def _open(self, closings: int) -> Opened:
        """Open the ports, unless the application is closed more often by then: whoever closes it does not wait for
        those who still try to open them for a send that was given up."""
        with self._lock:
            if self._given.closed:
                raise ConfigError("the adapters that use() was given are closed: hand over new ones")
            opened = self._opened
            if opened is None and self._closings == closings:
                self._opened = opened = Opened(self.config, self._given, self.clock)
        if opened is None or self._closings != closings:
            if opened is not None:
                opened.close()
            raise Unavailable("the application was closed meanwhile")
        return opened

    def close(self) -> None:
        """Close the ports. The next call opens them again, unless they were given to `use`: those stay closed."""
        self._closings += 1
        if self._sender is not None:
            self._sender.close()
        opened = self._opened
        self._forget()
        self._given.closed = opened is not None and self._given.any()
        if opened is not None:
            opened.close()

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- declaring tasks -----------------------------------------------------------------------------------

    @overload
    def task(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R, Coroutine[Any, Any, R]]: ...
    @overload
    def task(self, function: Callable[P, R], /) -> Task[P, R, R]: ...
    @overload
    def task(self, *, bind: Literal[True], **options: Unpack[TaskOptions]) -> DeclaresBound: ...
    @overload
    def task(self, *, bind: Literal[False] = False, **options: Unpack[TaskOptions]) -> Declares: ...
    def task(self, function: Any = None, *, bind: bool = False, **options: Unpack[TaskOptions]) -> Any:
        """Declare a task, as `@app.task` or `@app.task(option=...)`; the options are `kernel.options.TaskOptions`."""

        def declare(function: Callable[..., Any]) -> Task[..., Any, Any]:
            return self._registry.declare(function, options, bind)

        check_known(options, TaskOptions, "task")
        return declare if function is None else declare(function)

    def register_task(self, task: T) -> T:
        """Declare an object of a class below `Task` that has a method `run`; `ConfigError` when its name is taken."""
        return self._registry.add(task)

    @property
    def tasks(self) -> dict[str, Task[..., Any, Any]]:
        """All tasks by name: its own, and those that libraries share."""
        return self._registry.all()

    # -- sending -------------------------------------------------------------------------------------------

    def sheet(self, name: str, task: Task[..., Any, Any] | None = None) -> CallSheet:
        """How calls of the task of this name become messages."""
        sheet = self._sheets.get(name)
        if sheet is None:
            tasks, opened = self.config.tasks, self._opened
            limit = tasks.max_payload
            # Before the transport is open nobody knows its own limit; opening it is a matter of the send's deadline.
            own = opened.transport.features.max_payload if opened is not None else 0
            task = task or self._registry.find(name)
            sheet = CallSheet(name, task, tasks, discovery.serializer, min(limit, own or limit), self.clock)
            if opened is not None:
                self._sheets[name] = sheet
        return sheet

    def send(
        self, task: Task[..., Any, Any], args: Sequence[Any], kwargs: Mapping[str, Any], options: CallOptions | None
    ) -> AsyncResult[Any]:
        """Send one call of a task; what `delay` and `apply_async` do."""
        return self._dispatch(self._sheets.get(task.name) or self.sheet(task.name, task), args, kwargs, options)

    def send_task(
        self,
        name: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[CallOptions],
    ) -> AsyncResult[Any]:
        """Send a call by the task's name, which need not be known here."""
        return self._dispatch(self.sheet(name), args, kwargs or {}, options)

    def _dispatch(
        self, sheet: CallSheet, args: Sequence[Any], kwargs: Mapping[str, Any], options: CallOptions | None
    ) -> AsyncResult[Any]:
        task_id, message = sheet.message(args, kwargs, options)
        batch = open_batch.get()
        if batch is not None:
            batch.messages.append(message)
        else:
            self.post([message])
        return AsyncResult(task_id, self._kept if sheet.keeps_result(options) else IGNORED)

    @overload
    def send_many(self, task: Task[..., R, Any], calls: Iterable[Sequence[Any] | Call]) -> list[AsyncResult[R]]: ...
    @overload
    def send_many(self, task: str, calls: Iterable[Sequence[Any] | Call]) -> list[AsyncResult[Any]]: ...
    def send_many(
        self, task: Task[..., Any, Any] | str, calls: Iterable[Sequence[Any] | Call]
    ) -> list[AsyncResult[Any]]:
        """Send many calls of one task in as few port calls as possible, in order.

        `calls` are argument tuples, or `Call`s where keywords or options are needed; a generator is consumed in
        batches. `PartialSend`, with indexes into the calls, when some could not be sent. What a call raises by itself
        (`TypeError`, `EncodeError`, ...) ends it there: the batches before are sent.
        """
        name = task if isinstance(task, str) else task.name
        known = None if isinstance(task, str) else task
        return send_many(lambda: self.sheet(name, known), calls, self.sender, self._kept)

    async def asend(
        self, task: Task[..., Any, Any], args: Sequence[Any], kwargs: Mapping[str, Any], options: CallOptions | None
    ) -> AsyncResult[Any]:
        """Send one call from a coroutine; calls made at the same time share a port call."""
        sheet = self.sheet(task.name, task)
        task_id, message = sheet.message(args, kwargs, options)
        batch = open_batch.get()
        if batch is not None:
            batch.messages.append(message)
        else:
            if self._batcher is None:
                self._batcher = Batcher(self.post, MOST, self.sender.timeout)
            await self._batcher.asend(message)
        return AsyncResult(task_id, self._kept if sheet.keeps_result(options) else IGNORED)

    def batch(self) -> Batch:
        """`with app.batch():` sends everything called inside when the block ends, in as few port calls as possible."""
        return Batch(self.post)

    @property
    def sender(self) -> Sender:
        """How messages leave."""
        if self._sender is None:
            if self._given.transport is None:  # outside of any deadline, which is about services and not about imports
                discovery.import_transport(self.config.ports.transport)
            tasks, errands = self.config.tasks, Errands()
            closings = self._closings

            def find() -> Transport:
                return (self._opened or self._open(closings)).transport

            sender = Sender(find, self.hooks, tasks.send_timeout, errands)
            if tasks.outbox:
                outbox = discovery.outbox(tasks.outbox)
                sender.fallback = Spool(outbox, find, errands, tasks.send_timeout, self.clock)
            self._sender = sender
        return self._sender

    def within(self, transaction: object) -> Within:
        """`with app.within(session):` what is sent inside becomes part of a transaction of a database.

        `transaction` is a DB-API connection, or a Connection or Session of SQLAlchemy (`async with` for their
        asynchronous twins), whose database has the table of an outbox. When it is committed `kernel relay` sends; when
        it is rolled back nothing was sent. The transport is not asked. `ConfigError` for anything else.
        """
        return Within(discovery.transaction(transaction), self.sender.announce, self.clock)

    def post(self, messages: Sequence[Outgoing]) -> None:
        """Hand messages to the transport, within `send_timeout` seconds in all."""
        (self._sender or self.sender).post(messages)

    # -- results -------------------------------------------------------------------------------------------

    @property
    def results(self) -> Results:
        """Where results are read."""
        results = self._results
        if results is None:
            store = self.ports.results
            tasks = self.config.tasks
            if store is None:
                results = NO_STORE
            else:
                results = StoredResults(store, discovery.serializer, tasks.accept, tasks.send_timeout, self.clock)
            self._results = results
        return results

    @property
    def _kept(self) -> Results:
        """The results of a call: read from the store when somebody asks, which nothing that is sent waits for."""
        return self._results or (self.results if self._opened is not None else LaterResults(lambda: self.results))

    def result(self, task_id: str) -> AsyncResult[Any]:
        """The result of a task that was sent elsewhere or earlier."""
        return AsyncResult(task_id, self.results)

    def dead(self, queue: str = "") -> DeadLetters:
        """The dead letters of a queue, "" for the default one: to list, to requeue, to purge."""
        return DeadLetters(self.ports.transport, queue or self.config.tasks.queue)

    def as_completed(self, results: Iterable[AsyncResult[R]], timeout: float | None = None) -> Completed[R]:
        """Iterate over many results in the order in which they finish, with `for` or `async for`."""
        return Completed(results, self.results, timeout, self.clock.monotonic)


def current_app() -> Kernel:
    """The application of this process: a worker's own, else the first created; `ConfigError` when there is none."""
    if not application:
        raise ConfigError("there is no application in this process: create one with Kernel(...) first")
    app: Kernel = application[0]
    return app


def set_current_app(app: Kernel) -> None:
    """Make `app` what `current_app` returns in this process."""
    application[:] = [app]
