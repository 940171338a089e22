"""The application: a name, a configuration, tasks, and the ports opened on first use."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any, Literal, ParamSpec, TypeVar, Unpack, overload

from kernel import discovery, forks
from kernel.bugreport import bugreport
from kernel.call import CallSheet
from kernel.clock import SYSTEM, Clock
from kernel.configuration.config import Config
from kernel.configuration.zones import zone
from kernel.current import application
from kernel.dead import DeadLetters
from kernel.declaring import Declares, DeclaresBound
from kernel.eager import EagerResult, apply, results_of, sender_of
from kernel.hooks import Hooks
from kernel.moments import Moment
from kernel.opened import Given, Opened
from kernel.options import Call, CallOptions, TaskOptions, check_known
from kernel.ports import Coordination, Outgoing, ResultStore, ScheduleStore, Transport
from kernel.registry import Registry
from kernel.results.result import IGNORED, AsyncResult, Completed, LaterResults, Results
from kernel.routing import Router
from kernel.sending.batcher import Batch, Batcher, open_batch
from kernel.sending.connection import Connection
from kernel.sending.many import send_many
from kernel.sending.outbox import Within
from kernel.sending.sender import MOST, Sender
from kernel.sending.unite import aside, send_united
from kernel.setup import Search, Setup, Source, make_router
from kernel.task import Task
from kernel.workflows.flows import Flows

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T", bound=Task[..., Any, Any])


class Kernel:
    """An application. Creating one reads nothing, opens nothing and starts nothing; the first call does.

    `options` are the configuration keys of `kernel.configuration.config`, such as `transport="sqlite:///shop.db"` or
    `result_expires=60`; what is given here wins over file, environment and command line.
    """

    def __init__(
        self, name: str = "kernel", *, plugins: Iterable[object] = (), clock: Clock = SYSTEM, **options: Any
    ) -> None:
        """ConfigError for an option that does not exist or cannot be."""
        self._setup = Setup(options)
        self.name = name
        self.clock = clock
        self.command_line: dict[str, Any] = {}
        #: Where tasks are looked for; see `autodiscover_tasks`.
        self.searches: list[Search] = []
        #: Moments, each told once, with the application: before its configuration is put together, after it was, and
        #: when all its tasks are declared. The last one comes in every forked child.
        self.on_configure, self.on_after_configure, self.on_after_finalize = Moment(), Moment(), Moment()
        self.on_after_fork = Moment(again=True)
        self._plugins = tuple(plugins)
        self._registry = Registry(self, self.gen_task_name)
        self._connection = Connection(lambda: self.config, clock)
        self._forget()
        forks.watch(self)
        if not application:
            application.append(self)

    def __repr__(self) -> str:
        return f"<Kernel {self.name}>"

    def forget_parent(self) -> None:
        """In a forked child: connections and threads do not survive a fork, and a lock may be held by nobody."""
        self._connection.forget_parent()
        self._setup.forget_parent()
        self._forget()
        self.on_after_fork.tell(self)

    def _forget(self) -> None:
        """Drop everything that is made on first use."""
        self._config: Config | None = None
        self._hooks: Hooks | None = None
        self._registry.forget()
        self._router: Router | None = None
        self._results: Results | None = None
        self._choosing = threading.Lock()
        self._later = LaterResults(lambda: self.results, lambda: self._results)
        self._sender: Sender | None = None
        self._batcher: Batcher | None = None
        self._sheets: dict[str, CallSheet] = {}

    # -- configuration -------------------------------------------------------------------------------------

    @property
    def config(self) -> Config:
        """The configuration, put together on first use from all its sources; see `kernel.configuration.config`."""
        if self._config is None:
            self._config = self._setup.load(self)
            if self.on_after_configure.tell(self):
                self.hooks.manager.hook.kernel_configured(app=self)
        return self._config

    def configure(self, **settings: Any) -> None:
        """Set more, as if it had been given to `Kernel(...)`; before the first call. ConfigError for what cannot be."""
        self._setup.configure(settings)
        self._renew()

    def add_defaults(self, defaults: Mapping[str, Any] | Callable[[], Mapping[str, Any]]) -> None:
        """Settings that every other source overrides, or a function that returns them when they are needed."""
        self._setup.add_defaults(defaults)
        self._renew()

    def config_from_object(self, place: object, namespace: str = "", silent: bool = False) -> None:
        """Read settings from a mapping, a module or another object, or from what "module" or "module:attribute" names.

        It is read with the rest of the configuration, stronger than a file and weaker than the environment. With a
        `namespace` such as "KERNEL" the settings are the upper-case names that begin with it, `KERNEL_QUEUE`; without,
        the lower-case names of settings. `silent`: a module that is not there is no error.
        """
        self._setup.sources.append(Source(place, namespace, silent))
        self._renew()

    def config_from_envvar(self, variable: str, namespace: str = "", silent: bool = False) -> None:
        """`config_from_object` of what an environment variable names; not `silent`, ConfigError where it is not set."""
        if place := self._setup.variable(variable, silent):
            self.config_from_object(place, namespace, silent)

    def _renew(self) -> None:
        self._connection.check_unused("change its configuration")
        self._forget()

    @property
    def hooks(self) -> Hooks:
        """The plugins: those given in code and those that installed packages offer."""
        if self._hooks is None:
            self._hooks = hooks = Hooks.load(self._plugins)
            self._registry.tell(lambda task: hooks.task_registered(self, task))
        return self._hooks

    def use(
        self,
        transport: Transport | None = None,
        results: ResultStore | None = None,
        coordination: Coordination | None = None,
        schedules: ScheduleStore | None = None,
    ) -> None:
        """Hand over adapters as objects, before anything is sent; ConfigError afterwards."""
        self._connection.use(Given(transport, results, coordination, schedules))

    @property
    def ports(self) -> Opened:
        """The adapters, opened on first use and again in a forked child."""
        return self._connection.opened or self._connection.open()

    def close(self) -> None:
        """Close the ports. The next call opens them again, unless they were given to `use`: those stay closed."""
        self._connection.leave()
        if self._sender is not None:
            self._sender.close()
        self._forget()
        self._connection.close()

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
        """All tasks by name: its own, and those that libraries share. Finalises the application."""
        self.finalize()
        return self._registry.all()

    def finalize(self) -> None:
        """Give the tasks what the configuration says of them; done by itself when the first is called or run. Tasks may
        still be declared afterwards. ConfigError when an annotation does not fit."""
        if not self._registry.final:
            self._registry.finalize(self.config.application.annotations)
            if self.on_after_finalize.tell(self):
                self.hooks.manager.hook.kernel_finalized(app=self)

    def autodiscover_tasks(
        self, packages: Iterable[str] | Callable[[], Iterable[str]] = (), related_name: str | None = "tasks"
    ) -> None:
        """Let workers import the module `related_name` of each of these packages that has one; None: the packages.

        Names, or a function that returns them when a worker starts. Without any, plugins of frameworks name them.
        """
        self.searches.append(Search(packages, related_name))

    def gen_task_name(self, name: str, module: str) -> str:
        """The name of a task that has none of its own; a subclass may make others. Both sides need the same."""
        return f"{module}.{name}"

    @property
    def router(self) -> Router:
        """Where calls go."""
        if self._router is None:
            self._router = make_router(self.config)
        return self._router

    @property
    def zone(self) -> tzinfo | None:
        """The zone in which a datetime without one is read; None: it is refused."""
        return zone(self.config.application.timezone)

    def now(self) -> datetime:
        """The time, in that zone, or in UTC."""
        return datetime.fromtimestamp(self.clock.now(), self.zone or UTC)

    def bugreport(self) -> str:
        """Versions, plugins and settings, secrets masked: what a report of a fault should come with."""
        return bugreport(self.name, self.config, self.hooks)

    # -- sending -------------------------------------------------------------------------------------------

    def sheet(self, name: str, task: Task[..., Any, Any] | None = None) -> CallSheet:
        """How calls of the task of this name become messages."""
        sheet = self._sheets.get(name)
        if sheet is None:
            self.finalize()
            tasks, opened = self.config.tasks, self._connection.opened
            limit = tasks.max_payload
            # Before the transport is open nobody knows its own limit; opening it is a matter of the send's deadline.
            own = opened.transport.features.max_payload if opened is not None else 0
            task = self._registry.find(name) or task
            sheet = CallSheet(
                name, task, tasks, discovery.serializer, min(limit, own or limit), self.clock, self.router, self.zone,
                self._connection.exchanges.need,
            )  # fmt: skip
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
        if sheet.united if options is None else sheet.unites(options):
            return send_united(self.sender, sheet, args, kwargs, options, self._kept)
        task_id, message = sheet.message(args, kwargs, options)
        batch = open_batch.get()
        (self.post if batch is None else batch.messages.extend)([message])
        return AsyncResult(task_id, self._kept if sheet.keeps_result(options) else IGNORED)

    @overload
    def send_many(self, task: Task[..., R, Any], calls: Iterable[Sequence[Any] | Call]) -> list[AsyncResult[R]]: ...
    @overload
    def send_many(self, task: str, calls: Iterable[Sequence[Any] | Call]) -> list[AsyncResult[Any]]: ...
    def send_many(
        self, task: Task[..., Any, Any] | str, calls: Iterable[Sequence[Any] | Call]
    ) -> list[AsyncResult[Any]]:
        """Send many calls of one task in as few port calls as possible, in order; of unique ones, one by one.

        `calls` are argument tuples, or `Call`s with keywords or options; a generator is consumed in batches.
        `PartialSend`, with indexes into the calls, when some could not be sent. What a call raises by itself
        (`TypeError`, ...) ends it there: the batches before are sent.
        """
        name, known = (task, None) if isinstance(task, str) else (task.name, self._registry.belonging(task))
        return send_many(lambda: self.sheet(name, known), calls, self.sender, self._kept)

    async def asend(
        self, task: Task[..., Any, Any], args: Sequence[Any], kwargs: Mapping[str, Any], options: CallOptions | None
    ) -> AsyncResult[Any]:
        """Send one call from a coroutine; calls made at the same time share a port call."""
        sheet = self.sheet(task.name, task)
        if sheet.united if options is None else sheet.unites(options):
            return await aside(lambda: self._dispatch(sheet, args, kwargs, options))
        task_id, message = sheet.message(args, kwargs, options)
        batch = open_batch.get()
        if batch is not None:
            batch.messages.append(message)
        else:
            if self._batcher is None:
                self._batcher = Batcher(self.post, MOST, self.sender.timeout)
            await self._batcher.asend(message)
        return AsyncResult(task_id, self._kept if sheet.keeps_result(options) else IGNORED)

    @property
    def flows(self) -> Flows:
        """How workflows start."""
        return Flows(self, self.config.tasks, self.clock)

    def apply(self, message: tuple[str, Outgoing], throw: bool) -> EagerResult[Any]:
        """Run a call that is ready to be sent here and now; what `Task.apply` does."""
        return apply(self, message, throw)

    def batch(self) -> Batch:
        """`with app.batch():` sends everything called inside when the block ends, in as few port calls as possible."""
        return Batch(self.post)

    @property
    def sender(self) -> Sender:
        """How messages leave."""
        self._sender = self._sender or sender_of(self, self._connection)
        return self._sender

    def within(self, transaction: object) -> Within:
        """`with app.within(session):` what is sent inside becomes part of a transaction of a database.

        `transaction` is a DB-API connection, or a Connection or Session of SQLAlchemy (`async with` for asynchronous
        ones), whose database has the table of an outbox. `kernel relay` sends what is committed; what is rolled back
        was never sent. The transport is not asked. `ConfigError` for anything else.
        """
        return Within(discovery.transaction(transaction), self.sender.announce, self.clock)

    def post(self, messages: Sequence[Outgoing]) -> None:
        """Hand messages to the transport, within `send_timeout` seconds in all."""
        (self._sender or self.sender).post(messages)

    # -- results -------------------------------------------------------------------------------------------

    @property
    def results(self) -> Results:
        """Where results are read."""
        if self._results is None:
            made = results_of(
                self
            )  # which may open the store; whoever asks meanwhile must come to the same waiting room
            with self._choosing:
                self._results = self._results or made
        return self._results

    @property
    def _kept(self) -> Results:
        """The results of a call: read from the store when somebody asks, which nothing that is sent waits for."""
        return self._results or self._later

    def result(self, task_id: str) -> AsyncResult[Any]:
        """The result of a task that was sent elsewhere or earlier."""
        return AsyncResult(task_id, self.results)

    def revoke(self, *task_ids: str, terminate: bool = False, stamps: Mapping[str, Any] | None = None) -> None:
        """Keep tasks from running, and all that have one of these stamps; as `AsyncResult.revoke`, which see."""
        self.results.revoke(list(task_ids), terminate, stamps)

    def dead(self, queue: str = "") -> DeadLetters:
        """The dead letters of a queue, "" for the default one: to list, to requeue, to purge."""
        return DeadLetters(self.ports.transport, queue or self.config.tasks.queue)

    def as_completed(self, results: Iterable[AsyncResult[R]], timeout: float | None = None) -> Completed[R]:
        """Iterate over many results in the order in which they finish, with `for` or `async for`."""
        return Completed(results, self.results, timeout, self.clock.monotonic)
