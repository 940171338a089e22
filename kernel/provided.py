"""What a worker gives to a task: parameters whose default says how to make it.

    def session() -> Iterator[Session]:
        with Session(engine) as session:
            yield session

    @app.task
    def pay(order: int, *, session: Session = provide(session)) -> None: ...

The default is what types well: a caller may leave the parameter out, as any checker sees, and the body has it in its
own type. An annotation (`Annotated[Session, ...]`) was rejected: callers would have to give the parameter.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from typing import Any, Literal, TypeVar, overload

from kernel.errors import ConfigError

T = TypeVar("T")
Scope = Literal["call", "process"]

_VARARGS, _GENERATOR, _COROUTINE, _ASYNC_GENERATOR = 0x04, 0x20, 0x80, 0x200  # co_flags, as in `kernel.arity`


class Provided:
    """How to make the value of a parameter."""

    __slots__ = ("asynchronous", "factory", "generator", "needs", "scope")

    def __init__(self, factory: Callable[..., Any], scope: Scope) -> None:
        flags = getattr(getattr(factory, "__code__", None), "co_flags", 0)
        self.factory = factory
        self.scope = scope
        self.generator = bool(flags & (_GENERATOR | _ASYNC_GENERATOR))
        self.asynchronous = bool(flags & (_COROUTINE | _ASYNC_GENERATOR))
        #: What the factory itself is given.
        self.needs = needs_of(factory)
        title = getattr(factory, "__qualname__", repr(factory))
        if scope not in ("call", "process"):
            raise ConfigError(f"the scope of {title} must be call or process, not {scope!r:.40}")
        if scope == "process" and self.generator and self.asynchronous:
            raise ConfigError(
                f"{title} cannot be closed with its process, whose loop has ended by then: give it scope call"
            )
        for name, need in self.needs.items():
            if need.asynchronous and not self.asynchronous:
                raise ConfigError(f"{title} is not async def, and the factory of its {name} is: nobody awaits it")
            if scope == "process" and need.scope == "call":
                raise ConfigError(
                    f"{title} outlives its {name}, which is made for each call: give that scope process too"
                )


@overload
def provide(factory: Callable[..., Iterator[T]], *, scope: Scope = "call") -> T: ...
@overload
def provide(factory: Callable[..., AsyncIterator[T]], *, scope: Scope = "call") -> T: ...
@overload
def provide(factory: Callable[..., Awaitable[T]], *, scope: Scope = "call") -> T: ...
@overload
def provide(factory: Callable[..., T], *, scope: Scope = "call") -> T: ...
def provide(factory: Callable[..., Any], *, scope: Scope = "call") -> Any:
    """The default of a parameter that the worker fills in with what `factory()` makes, anew for each call or once for
    the process.

    A generator function yields the value, and is closed after the body: what the body raised, `Retry` included, is
    raised at its `yield`, and what it raises itself fails the task. An asynchronous one is for asynchronous tasks. A
    factory may have such parameters too; within one call each factory runs once. `ConfigError` for what cannot be.
    """
    return Provided(factory, scope)


def needs_of(function: Callable[..., Any]) -> dict[str, Provided]:
    """The parameters of a function that are provided; `ConfigError` where a caller's would come after one."""
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    code = getattr(function, "__code__", None)
    if code is None:
        return {}
    places = code.co_varnames[: code.co_argcount]
    defaults: tuple[Any, ...] = getattr(function, "__defaults__", None) or ()
    last = dict(zip(places[len(places) - len(defaults) :], defaults, strict=True))
    found = {name: value for name, value in last.items() if isinstance(value, Provided)}
    if found and (code.co_flags & _VARARGS or set(places[-len(found) :]) != found.keys()):
        raise ConfigError(
            f"the parameters of {code.co_qualname} that are provided must be the last ones, or stand behind a *: "
            f"a caller would fill in {next(iter(found))} by its place"
        )
    named = getattr(function, "__kwdefaults__", None) or {}
    return {**found, **{name: value for name, value in named.items() if isinstance(value, Provided)}}


# -- around a body -----------------------------------------------------------------------------------------


def provided(
    function: Callable[..., Any], needs: dict[str, Provided], coroutine: bool, strict: bool
) -> Callable[..., Any]:
    """`function` with what it needs. With `strict` nobody else may give it: a message is not to be trusted with it."""
    for name, need in needs.items():
        if need.asynchronous and not coroutine:
            title = getattr(function, "__qualname__", "the task")
            raise ConfigError(f"the factory of {name} is async def and {title} is not: nobody awaits it")

    def refuse(given: dict[str, Any]) -> None:
        foreign = given.keys() & needs.keys()
        if strict and foreign:
            raise TypeError(f"{min(foreign)} is given by the worker, and not by the caller")

    def call(*args: Any, **kwargs: Any) -> Any:
        refuse(kwargs)
        stack = ExitStack()
        made: dict[Any, Any] = {}
        try:
            own = {name: _make(need, stack, made) for name, need in needs.items() if name not in kwargs}
            value = function(*args, **kwargs, **own)
        except BaseException as error:
            stack.__exit__(type(error), error, error.__traceback__)
            raise
        stack.close()
        return value

    async def acall(*args: Any, **kwargs: Any) -> Any:
        refuse(kwargs)
        stack = AsyncExitStack()
        made: dict[Any, Any] = {}
        try:
            own = {name: await _amake(need, stack, made) for name, need in needs.items() if name not in kwargs}
            value = await function(*args, **kwargs, **own)
        except BaseException as error:
            await stack.__aexit__(type(error), error, error.__traceback__)
            raise
        await stack.aclose()
        return value

    return acall if coroutine else call


def _make(need: Provided, stack: ExitStack, made: dict[Any, Any]) -> Any:
    if need.scope == "process":
        return _process.value(need)
    if need.factory not in made:
        own = {name: _make(inner, stack, made) for name, inner in need.needs.items()}
        made[need.factory] = _entered(need, own, stack) if need.generator else need.factory(**own)
    return made[need.factory]


def _entered(need: Provided, own: dict[str, Any], stack: ExitStack | AsyncExitStack) -> Any:
    """The value of a generator, which is closed with the stack. One that swallows an error does not hide it from those
    below it: they would commit what has failed."""
    manager = contextmanager(need.factory)(**own)
    value = manager.__enter__()

    def leave(*raised: Any) -> None:
        manager.__exit__(*raised)

    stack.push(leave)
    return value


async def _aentered(need: Provided, own: dict[str, Any], stack: AsyncExitStack) -> Any:
    manager = asynccontextmanager(need.factory)(**own)
    value = await manager.__aenter__()

    async def leave(*raised: Any) -> None:
        await manager.__aexit__(*raised)

    stack.push_async_exit(leave)
    return value


async def _amake(need: Provided, stack: AsyncExitStack, made: dict[Any, Any]) -> Any:
    if need.scope == "process":
        return await _process.avalue(need) if need.asynchronous else _process.value(need)
    if need.factory not in made:
        own = {name: await _amake(inner, stack, made) for name, inner in need.needs.items()}
        if not need.asynchronous:
            made[need.factory] = _entered(need, own, stack) if need.generator else need.factory(**own)
        elif need.generator:
            made[need.factory] = await _aentered(need, own, stack)
        else:
            made[need.factory] = await need.factory(**own)
    return made[need.factory]


# -- once for the process ----------------------------------------------------------------------------------


class _Process:
    """What was made for this process, in the order in which it is closed backwards."""

    def __init__(self) -> None:
        self._exits = False
        self.forget()

    def forget(self) -> None:
        """In a forked child: what the parent has made is the parent's."""
        self._lock = threading.RLock()
        self._values: dict[Any, Any] = {}
        self._turns: dict[Any, Any] = {}
        self._stack = ExitStack()

    def value(self, need: Provided) -> Any:
        with self._lock:
            if need.factory not in self._values:
                own = {name: self.value(inner) for name, inner in need.needs.items()}
                if need.generator and not self._exits:
                    self._exits = True
                    atexit.register(self.close)
                made = _entered(need, own, self._stack) if need.generator else need.factory(**own)
                self._values[need.factory] = made
            return self._values[need.factory]

    async def avalue(self, need: Provided) -> Any:
        from asyncio import Lock  # imported already by whoever awaits; `import kernel` must not load it

        if need.factory not in self._values:
            async with self._turns.setdefault(need.factory, Lock()):
                if need.factory not in self._values:
                    own = {
                        name: await self.avalue(inner) if inner.asynchronous else self.value(inner)
                        for name, inner in need.needs.items()
                    }
                    self._values[need.factory] = await need.factory(**own)
        return self._values[need.factory]

    def close(self) -> None:
        with self._lock:
            stack = self._stack
            self._values, self._turns, self._stack = {}, {}, ExitStack()
        stack.close()


_process = _Process()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_process.forget)


def close_process() -> None:
    """Close what was made for this process: its work is done. What is needed after that is made anew."""
    _process.close()
