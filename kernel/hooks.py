"""Hooks: where plugins take part, and the compiled form of those that are called per batch or per task.

A plugin is a module, a class instance or any other object with functions marked by `hookimpl` and named as in
`Specs`; a function takes those of the parameters that it wants, by name. Plugins are given in code, or found through
the entry points of group `kernel.plugins`. A plugin sees public `kernel` and this module, nothing else.

The call order is pluggy's: the plugin registered last comes first, `tryfirst` and `trylast` move one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, overload

import msgspec

from kernel import discovery
from kernel.envelope import Dead, Envelope
from kernel.errors import ConfigError

if TYPE_CHECKING:
    import click
    import pluggy

log = logging.getLogger("kernel.hooks")

_PROJECT = "kernel"
F = TypeVar("F", bound=Callable[..., Any])

#: One call of a task's body, as the runner makes it: positional arguments, keyword arguments.
Call = Callable[..., Any]


class Settled(msgspec.Struct, frozen=True):
    """A task of which the worker is done: what `kernel_settled` is told."""

    envelope: Envelope
    #: The queue it was received from.
    queue: str
    #: SUCCESS, FAILURE, RETRY, REVOKED, EXPIRED, SNOOZED, or DROPPED for what ended without a state.
    state: str
    #: Seconds that the body ran; 0.0 when it did not.
    runtime: float
    #: Type and message of the exception, "" where there was none.
    error: str = ""


@overload
def hookimpl(function: F, /) -> F: ...
@overload
def hookimpl(*, tryfirst: bool = False, trylast: bool = False, **options: Any) -> Callable[[F], F]: ...
def hookimpl(function: Any = None, /, **options: Any) -> Any:
    """Mark a function of a plugin as one of the hooks below; options as pluggy's (`tryfirst`, `trylast`, ...)."""
    import pluggy  # imports importlib.metadata, 15 ms; whoever imports a plugin pays it, a plain producer does not

    mark: Any = pluggy.HookimplMarker(_PROJECT)
    return mark(function, **options)


class Specs:
    """The hooks. Those about batches get what is on its way anyway: read it, do not keep or change it."""

    def kernel_configure(self, values: dict[str, Any]) -> dict[str, Any] | None:
        """Settings by key, or None: stronger than the file, weaker than the environment, the command line and code.
        `values` is a copy of what the application sets in code."""

    def kernel_configured(self, app: Any) -> None:
        """The configuration of the application was put together, `app.config`; once for each application."""

    def kernel_discover(self) -> Sequence[str]:  # type: ignore[empty-body]
        """Packages that may have tasks, for `autodiscover_tasks()` without any; asked when a worker starts."""

    def kernel_finalized(self, app: Any) -> None:
        """The tasks of the application have the options that are configured for them; once for each application."""

    def kernel_task_registered(self, app: Any, task: Any) -> None:
        """A task was declared; raising refuses it."""

    def kernel_cli_commands(self) -> Sequence[click.Command]:  # type: ignore[empty-body]
        """Commands to add to the `kernel` program."""

    def kernel_worker_start(self, worker: Any) -> None:
        """The worker is about to receive; raising stops the boot."""

    def kernel_worker_stop(self, worker: Any) -> None:
        """The worker has settled its last task; its ports are still open."""

    def kernel_process_start(self, index: int) -> None:
        """A worker process began, before its worker is built; `index` counts from 0."""

    def kernel_process_stop(self, index: int) -> None:
        """A worker process is about to end in good order."""

    def kernel_wrap_call(self, task: Any, call: Call) -> Call | None:
        """A callable to run instead of `call`, or None to leave it. Asked once per task, when its plan is built; the
        wrappers of all plugins are composed, the first in call order outermost. `call` may be a coroutine function,
        then what replaces it must be one."""

    def kernel_retry(self, task: Any, envelope: Envelope, error: BaseException, at: float) -> float | None:
        """Another time for this retry (wall clock) than `at`, or None to leave it. The first answer counts."""

    def kernel_dead(self, letter: Dead, queue: str) -> None:
        """A dead letter was written to `queue`."""

    def kernel_sending(self, batch: Sequence[tuple[Envelope, str]]) -> None:
        """Calls are about to be sent, each to the queue beside it."""

    def kernel_received(self, batch: Sequence[tuple[Envelope, str]]) -> None:
        """Calls were received, each from the queue beside it, and not judged yet."""

    def kernel_settled(self, batch: Sequence[Settled]) -> None:
        """Tasks were settled: results stored, successors sent, messages acknowledged."""


_FIRST_RESULT = ("kernel_retry",)


class _Guarded:
    """A hook that may only listen. Its failure is logged once, with its traceback, and goes no farther."""

    __slots__ = ("_failed", "_function", "_name")

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self._function = function
        self._name = name
        self._failed = False

    def __call__(self, *told: Any) -> None:
        try:
            self._function(*told)
        except Exception:
            if not self._failed:
                self._failed = True
                log.exception("%s failed; the work goes on, and later failures of it are not logged", self._name)


class Hooks:
    """The plugins of one application. Hot hooks are tuples, so one that nobody implements costs an empty loop."""

    __slots__ = ("manager", "received", "sending", "settled", "wrap_call")

    def __init__(self, manager: pluggy.PluginManager) -> None:
        self.manager = manager
        #: Callables that take the batch.
        self.sending: tuple[Callable[[Sequence[tuple[Envelope, str]]], None], ...] = ()
        self.received: tuple[Callable[[Sequence[tuple[Envelope, str]]], None], ...] = ()
        self.settled: tuple[Callable[[Sequence[Settled]], None], ...] = ()
        #: Callables that take the task and the call; `wrapped` composes them.
        self.wrap_call: tuple[Callable[[Any, Call], Call | None], ...] = ()
        self.compile()

    @classmethod
    def load(cls, plugins: Iterable[object] = (), entry_points: bool = True) -> Hooks:
        """Register the installed plugins, then the given ones. `ConfigError` for one that does not fit."""
        import pluggy  # as in `hookimpl`

        manager = pluggy.PluginManager(_PROJECT)
        _add_specs(manager, pluggy.HookspecMarker(_PROJECT))
        named: list[tuple[str | None, object]] = list(discovery.plugins()) if entry_points else []
        for name, plugin in named + [(None, plugin) for plugin in plugins]:
            try:
                # The same object may be installed and given as well; once is meant.
                if not manager.is_registered(plugin):
                    manager.register(plugin, name)
                    manager.check_pending()
            except (ValueError, pluggy.PluginValidationError) as error:
                raise ConfigError(f"plugin {name or plugin!r} does not fit: {' '.join(str(error).split())}") from error
        return cls(manager)

    def compile(self) -> None:
        """Rebuild the hot hooks; to be called after a plugin was registered with `manager` or unregistered."""
        self.sending = self._batch("kernel_sending")
        self.received = self._batch("kernel_received")
        self.settled = self._batch("kernel_settled")
        self.wrap_call = tuple(function for function, _ in self._functions("kernel_wrap_call", ("task", "call")))

    def _batch(self, name: str) -> tuple[_Guarded, ...]:
        return tuple(_Guarded(*found) for found in self._functions(name, ("batch",)))

    def _functions(self, name: str, parameters: tuple[str, ...]) -> list[tuple[Callable[..., Any], str]]:
        """Functions that take exactly `parameters` by position, in call order, each with a name for messages."""
        functions = []
        for impl in reversed(getattr(self.manager.hook, name).get_hookimpls()):
            # pluggy calls an object that was given without a name by its id, which tells nobody anything.
            unnamed = impl.plugin_name == str(id(impl.plugin))
            title = f"{name} of plugin {type(impl.plugin).__qualname__ if unnamed else impl.plugin_name}"
            if impl.wrapper or impl.hookwrapper:
                raise ConfigError(f"{title} is a pluggy wrapper; this hook is compiled and takes plain functions only")
            functions.append((_adapted(impl.function, impl.argnames, parameters), title))
        return functions

    def configure(self, values: dict[str, Any]) -> list[dict[str, Any]]:
        """The settings of plugins; to be applied in this order, so that the first in call order wins."""
        answers: list[dict[str, Any]] = self.manager.hook.kernel_configure(values=dict(values))
        return answers[::-1]

    def discovered(self) -> list[str]:
        """The packages that plugins name, in call order."""
        return [package for packages in self.manager.hook.kernel_discover() for package in packages]

    def task_registered(self, app: Any, task: Any) -> None:
        """Tell of a declared task."""
        self.manager.hook.kernel_task_registered(app=app, task=task)

    def wrapped(self, task: Any, call: Call) -> Call:
        """`call` inside of what all plugins put around it."""
        for wrap in reversed(self.wrap_call):
            call = wrap(task, call) or call
        return call

    def undertaker(self) -> Callable[[Dead, str], None] | None:
        """What tells the plugins of a dead letter, guarded as batch hooks are; None when nobody wants to know."""
        functions = self._functions("kernel_dead", ("letter", "queue"))
        if not functions:
            return None
        guarded = [_Guarded(function, title) for function, title in functions]

        def tell(letter: Dead, queue: str) -> None:
            for each in guarded:
                each(letter, queue)

        return tell

    def retry_at(self, task: Any, envelope: Envelope, error: BaseException, at: float) -> float:
        """The time of a retry after the plugins had their say."""
        other = self.manager.hook.kernel_retry(task=task, envelope=envelope, error=error, at=at)
        return at if other is None else float(other)


def _add_specs(manager: pluggy.PluginManager, mark: Any) -> None:
    for name, function in vars(Specs).items():
        if name.startswith("kernel_"):
            mark(function, firstresult=name in _FIRST_RESULT)
    manager.add_hookspecs(Specs)


def _adapted(function: Callable[..., Any], wants: Sequence[str], given: tuple[str, ...]) -> Callable[..., Any]:
    """`function` callable with `given` by position, whichever of them it wants and in whatever order."""
    if tuple(wants) == given:
        return function
    places = [given.index(name) for name in wants]
    return lambda *values: function(*[values[place] for place in places])
