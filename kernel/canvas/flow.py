"""Workflows as values: `Signature`, `Chain`, `Group` and `Chord`.

Nothing here sends anything; `delay` and `apply_async` ask the application to. A value never changes: `set`, `link`,
`on_error`, `stamp` and `|` return new ones.

`|` joins the *stages* of its two sides, and that is its only rule. A stage is a task, a group, or a composite with
options or callbacks of its own. What starts with a task is a chain, what starts with a group is a chord, and a group
with something behind it is waited for and hands on the list of its results, wherever it stands. Celery's upgrades
(task | task is a chain, group | task is a chord, chain-that-ends-in-a-group | task ends in a chord, chord | task
extends the body, ...) all follow from it, and so does associativity: `(a | b) | c == a | (b | c)`. Extending the last
body instead, as Celery does, nests each chord of a long chain into the one before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from kernel.canvas.lazy import Lazy
from kernel.canvas.names import COLLECT
from kernel.canvas.stamp import StampingVisitor, Stamps, stamped
from kernel.current import application
from kernel.errors import ConfigError
from kernel.layers import laid

#: Composites inside of each other. Every walk over a workflow is a recursion, and must end before Python's own does.
MAX_DEPTH = 64
#: Tasks in one workflow that is not consumed lazily: sharing parts can describe more than any machine can hold.
MAX_SIZE = 10_000_000

F = TypeVar("F", bound="Flow")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Flow:
    """What all workflows have: options, callbacks, and the operators that make new workflows of old ones."""

    options: Mapping[str, Any] = field(default_factory=dict)
    #: Started with the value, once, when all of it has succeeded.
    callbacks: tuple[Flow, ...] = ()
    #: Started with a description of the failure, once, when any of it has failed.
    errbacks: tuple[Flow, ...] = ()
    #: The application whose tasks it has; None: that of the process. Not a part of its value.
    app: Any = field(default=None, compare=False)
    depth: int = field(default=1, init=False, compare=False)
    size: int = field(default=1, init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", dict(self.options))
        self._measure(())

    def _measure(self, parts: Iterable[Flow]) -> None:
        """Refuse at once what could not be walked, or sent, later."""
        depth, size, app = 0, 0, self.app
        for part in (*parts, *self.callbacks, *self.errbacks):
            depth, size = max(depth, part.depth), size + part.size
            if app is not None and part.app is not None and part.app is not app:
                raise ConfigError(
                    f"a workflow has tasks of one application, and these are of {app!r} and of {part.app!r}: "
                    f"name those of another one with signature('name', ...)"
                )
            app = part.app if app is None else app
        if depth >= MAX_DEPTH:
            raise ConfigError(f"a workflow nests deeper than {MAX_DEPTH} levels: a long one is a chain, not a nest")
        if size > MAX_SIZE:
            raise ConfigError(f"a workflow has more than {MAX_SIZE} tasks: give a group a generator instead")
        object.__setattr__(self, "app", app)
        object.__setattr__(self, "depth", depth + 1)
        object.__setattr__(self, "size", max(1, size))

    @property
    def plain(self) -> bool:
        """Whether it has neither options nor callbacks of its own, and so dissolves into what it is joined to."""
        return not (self.options or self.callbacks or self.errbacks)

    @property
    def linked(self) -> bool:
        """Whether it has callbacks of its own."""
        return bool(self.callbacks or self.errbacks)

    @property
    def inner(self) -> tuple[Flow, ...]:
        """What it consists of, one after the other: a signature or a group of itself."""
        return (self,)

    @property
    def stages(self) -> tuple[Flow, ...]:
        """What it contributes to something that it is joined to."""
        return self.inner if self.plain else (self,)

    def clone(self: F, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any) -> F:
        """The same with more arguments for what runs first, before those that it has, and with options."""
        raise NotImplementedError

    def set(self: F, **options: Any) -> F:
        """The same with options; of a composite, they are for all tasks in it that have none of their own, except that
        `countdown` and `eta` delay only its start."""
        return replace(self, options=laid(self.options, options))

    def link(self: F, *flows: Flow) -> F:
        """The same with callbacks that are started with its value when it has succeeded."""
        return replace(self, callbacks=(*self.callbacks, *map(checked, flows)))

    def on_error(self: F, *flows: Flow) -> F:
        """The same with error callbacks. Each is a task (or a workflow) that is started exactly once when this has
        failed, with one more argument: the failure as a dict of `id`, `task`, `type` and `message`."""
        return replace(self, errbacks=(*self.errbacks, *map(checked, flows)))

    link_error = on_error

    # -- running it ----------------------------------------------------------------------------------------

    def delay(self, *args: Any, **kwargs: Any) -> Any:
        """Start it, with these arguments before those of what runs first; returns an `AsyncResult`, or a `GroupResult`
        where a group is the end. Errors as of `Task.delay`, and `ConfigError` without a store to keep its records."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        link: Flow | Iterable[Flow] = (),
        link_error: Flow | Iterable[Flow] = (),
        **options: Any,
    ) -> Any:
        """`delay` with options; `link` and `link_error` are callbacks, as `link` and `on_error` add them."""
        return self._home().flows.start(self._prepared(args, kwargs, link, link_error, options))

    async def adelay(self, *args: Any, **kwargs: Any) -> Any:
        """`delay` for coroutines."""
        return await self.aapply_async(args, kwargs)

    async def aapply_async(
        self,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        link: Flow | Iterable[Flow] = (),
        link_error: Flow | Iterable[Flow] = (),
        **options: Any,
    ) -> Any:
        """`apply_async` for coroutines."""
        return await self._home().flows.astart(self._prepared(args, kwargs, link, link_error, options))

    def _prepared(
        self: F,
        args: Iterable[Any],
        kwargs: Mapping[str, Any] | None,
        link: Flow | Iterable[Flow],
        link_error: Flow | Iterable[Flow],
        options: Mapping[str, Any],
    ) -> F:
        args = tuple(args)
        flow = self.clone(args, kwargs, **options) if args or kwargs or options else self
        return flow.link(*_several(link)).on_error(*_several(link_error))

    def _home(self) -> Any:
        """The application that starts it."""
        app = self.app
        if app is None:
            first = next((leaf for leaf in leaves(self) if leaf.app is not None), None)  # made by a generator
            app = None if first is None else first.app
        if app is None and not application:
            raise ConfigError("there is no application in this process: create one with Kernel(...) first")
        return app or application[0]

    # -- marks ---------------------------------------------------------------------------------------------

    def stamp(self: F, visitor: StampingVisitor | None = None, *, append: bool = False, **stamps: Any) -> F:
        """The same with stamps on all tasks in it, and with those that a visitor gives."""
        return self._stamp(visitor or StampingVisitor(), stamps, append)

    def _stamp(self: F, visitor: StampingVisitor, stamps: Stamps, append: bool) -> F:
        """Callbacks too; of composites, what is inside."""
        called = [(each, {**stamps, **visitor.on_callback(each, **stamps)}) for each in self.callbacks]
        told = [(each, {**stamps, **visitor.on_errback(each, **stamps)}) for each in self.errbacks]
        callbacks = tuple(each._stamp(visitor, own, append) for each, own in called)
        return replace(
            self, callbacks=callbacks, errbacks=tuple(each._stamp(visitor, own, append) for each, own in told)
        )

    def __or__(self, other: Flow) -> Flow:
        if not isinstance(other, Flow):
            return NotImplemented
        return assemble((*self.stages, *other.stages))

    def _marks(self) -> str:
        """What `repr` shows of options and callbacks."""
        text = f".set({_listed((), self.options)})" if self.options else ""
        text += f".link({_listed(self.callbacks, {})})" if self.callbacks else ""
        return text + (f".on_error({_listed(self.errbacks, {})})" if self.errbacks else "")


@dataclass(frozen=True, slots=True, repr=False)
class Signature(Flow):
    """One call of one task. The value of what comes before is put before `args`, unless it is `immutable`."""

    task: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    immutable: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.task, str) or not self.task:
            raise ConfigError(f"a signature needs the name of a task, not {self.task!r:.60}")
        object.__setattr__(self, "args", tuple(self.args))
        object.__setattr__(self, "kwargs", dict(self.kwargs))
        Flow.__post_init__(self)

    def clone(
        self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Signature:  # an immutable one takes options only, as in Celery
        """The same with more arguments, before those that it has, and with options."""
        merged = laid(self.options, options)
        if self.immutable:
            return replace(self, options=merged)
        return replace(self, args=(*args, *self.args), kwargs={**self.kwargs, **(kwargs or {})}, options=merged)

    def set(self, immutable: bool | None = None, **options: Any) -> Signature:
        """The same with options, and with `immutable` where it is given."""
        fixed = self.immutable if immutable is None else immutable
        return replace(self, immutable=fixed, options=laid(self.options, options))

    def _stamp(self, visitor: StampingVisitor, stamps: Stamps, append: bool) -> Signature:
        own = {**stamps, **visitor.on_signature(self, **stamps)}
        return Flow._stamp(replace(self, options=stamped(self.options, own, append)), visitor, stamps, append)

    def __repr__(self) -> str:
        text = f"{self.task}({_listed(self.args, self.kwargs)})"
        return text + (".set(immutable=True)" if self.immutable else "") + self._marks()


@dataclass(frozen=True, slots=True, repr=False)
class Chain(Flow):
    """Stages one after the other, each with the value of the one before."""

    steps: tuple[Flow, ...] = ()

    def __post_init__(self) -> None:
        steps = tuple(stage for step in self.steps for stage in checked(step).stages)
        object.__setattr__(self, "steps", steps)
        Flow.__post_init__(self)
        self._measure(steps)

    @property
    def inner(self) -> tuple[Flow, ...]:
        """The steps."""
        return self.steps

    def clone(self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any) -> Chain:
        """The same with more arguments for its first step, and with options."""
        first = tuple(step.clone(args, kwargs) for step in self.steps[:1])
        return replace(self, steps=(*first, *self.steps[1:]), options=laid(self.options, options))

    def _stamp(self, visitor: StampingVisitor, stamps: Stamps, append: bool) -> Chain:
        below = {**stamps, **visitor.on_chain_start(self, **stamps)}
        steps = tuple(step._stamp(visitor, below, append) for step in self.steps)
        visitor.on_chain_end(self, **stamps)
        return Flow._stamp(replace(self, steps=steps), visitor, stamps, append)

    def __repr__(self) -> str:
        return _marked(" | ".join(map(repr, self.steps)) or "chain()", self)


@dataclass(frozen=True, slots=True, repr=False)
class Group(Flow):
    """Flows beside each other, each with the same input; the value is the list of theirs, in this order.

    A generator is taken as it is, and consumed while members are sent where the group comes first in its workflow.
    """

    members: tuple[Flow, ...] | Lazy = ()

    def __post_init__(self) -> None:
        Flow.__post_init__(self)
        if not isinstance(self.members, Lazy):
            self._measure(map(checked, self.members))

    def clone(self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any) -> Group:
        """The same with more arguments for each member, and with options."""
        given = tuple(args)
        group = self._each(lambda member: member.clone(given, kwargs)) if given or kwargs else self
        return replace(group, options=laid(self.options, options))

    def _each(self, change: Callable[[Flow], Flow]) -> Group:
        """Every member changed; those of a generator when they are made."""
        members = self.members
        changed = Lazy(map(change, members)) if isinstance(members, Lazy) else tuple(map(change, members))
        return replace(self, members=changed)

    def _stamp(self, visitor: StampingVisitor, stamps: Stamps, append: bool) -> Group:
        below = {**stamps, **visitor.on_group_start(self, **stamps)}
        group = self._each(lambda member: member._stamp(visitor, below, append))
        visitor.on_group_end(self, **stamps)
        return Flow._stamp(group, visitor, stamps, append)

    def __repr__(self) -> str:
        text = "..." if isinstance(self.members, Lazy) else _listed(self.members, {})
        return f"group({text}){self._marks()}"


@dataclass(frozen=True, slots=True, repr=False)
class Chord(Flow):
    """A group whose list of results goes to a body; without one, the list itself is the value, as one result."""

    header: Group
    body: Flow = field(default_factory=lambda: Signature(COLLECT))

    def __post_init__(self) -> None:
        if not isinstance(self.header, Group):
            raise ConfigError(f"the header of a chord is a group, not {self.header!r:.60}")
        Flow.__post_init__(self)
        self._measure((self.header, checked(self.body)))

    @property
    def inner(self) -> tuple[Flow, ...]:
        """The header, and the stages of the body."""
        return (self.header, *self.body.stages)

    def __call__(self, body: Flow | None = None, **options: Any) -> Any:
        """Start it, with another body where one is given: `chord(header)(body)`, as Celery's users write it."""
        flow = self if body is None else assemble((self.header, *checked(body).stages))
        return flow.apply_async(**options)

    def clone(self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any) -> Chord:
        """The same with more arguments for each member of its header, and with options."""
        return replace(self, header=self.header.clone(args, kwargs), options=laid(self.options, options))

    def _stamp(self, visitor: StampingVisitor, stamps: Stamps, append: bool) -> Chord:
        header = self.header._stamp(visitor, {**stamps, **visitor.on_chord_header_start(self, **stamps)}, append)
        visitor.on_chord_header_end(self, **stamps)
        body = self.body._stamp(visitor, {**stamps, **visitor.on_chord_body(self, **stamps)}, append)
        return Flow._stamp(replace(self, header=header, body=body), visitor, stamps, append)

    def __repr__(self) -> str:
        return _marked(f"{self.header!r} | {self.body!r}", self)


def leaves(flow: Flow) -> Iterator[Signature]:
    """The tasks of a workflow, of a group only the first, without callbacks."""
    todo: list[Flow] = [flow]
    while todo:
        at = todo.pop()
        if isinstance(at, Signature):
            yield at
        elif isinstance(at, Chain):
            todo += reversed(at.steps)
        elif isinstance(at, Chord):
            todo += [at.body, at.header]
        elif isinstance(at, Group):
            first = at.members.peek() if isinstance(at.members, Lazy) else next(iter(at.members), None)
            todo += [] if first is None else [first]


def assemble(stages: tuple[Flow, ...]) -> Flow:
    """The workflow of these stages: what `|`, `chain` and `chord` come to."""
    if len(stages) == 1:
        return stages[0]
    if stages and isinstance(stages[0], Group):
        return Chord(stages[0], stages[1] if len(stages) == 2 else Chain(stages[1:]))
    return Chain(stages)


def checked(flow: Any) -> Flow:
    """A part of a workflow; `ConfigError` for what is none."""
    if not isinstance(flow, Flow):
        raise ConfigError(f"{flow!r:.60} is no part of a workflow: use task.s(...), chain, group or chord")
    return flow


def _several(flows: Any) -> Iterable[Any]:
    return flows if isinstance(flows, list | tuple) else (flows,)


def _listed(args: Iterable[Any], kwargs: Mapping[str, Any]) -> str:
    return ", ".join([*map(repr, args), *(f"{name}={value!r}" for name, value in kwargs.items())])


def _marked(text: str, flow: Flow) -> str:
    return text if flow.plain else f"({text}){flow._marks()}"
