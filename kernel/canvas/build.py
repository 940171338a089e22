"""Workflows under the names that a Celery user knows: `signature`, `chain`, `group`, `chord`, `chunks`, `xmap`,
`starmap`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Protocol

from kernel.canvas.flow import Chord, Flow, Group, Signature, assemble, checked
from kernel.canvas.lazy import Lazy
from kernel.canvas.names import COLLECT, MAP, STARMAP
from kernel.errors import ConfigError


class Named(Protocol):
    """A task, as far as a signature needs it."""

    @property
    def name(self) -> str:
        """Its name on the wire."""


def signature(
    task: str | Named,
    args: Iterable[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    immutable: bool = False,
    **options: Any,
) -> Signature:
    """One call of a task, by its name or by itself."""
    return Signature(_name(task), tuple(args), kwargs or {}, immutable=immutable, options=options)


def chain(*tasks: Flow | Iterable[Flow]) -> Flow:
    """Tasks and workflows one after the other, as several arguments or as one iterable; as with `|`.

    The chain of one is that one; the empty chain hands on what it is given, or None.
    """
    return assemble(tuple(stage for task in _several(tasks) for stage in checked(task).stages))


def group(*tasks: Flow | Iterable[Flow]) -> Group:
    """Tasks and workflows beside each other, as several arguments or as one iterable.

    A generator is consumed while the members are sent, where the group comes first in its workflow. The group of one
    stays a group: what follows gets a list of one, whatever the data happened to be.
    """
    members = _several(tasks)
    return Group(Lazy(map(checked, members)) if isinstance(members, Iterator) else tuple(members))


def chord(header: Group | Iterable[Flow], body: Flow | None = None) -> Flow:
    """A group and what is started with the list of its results; without a body, the list is the result of one task."""
    head = header if isinstance(header, Group) else group(header)
    if body is None:
        return Chord(head, Signature(COLLECT))
    return assemble((head, *checked(body).stages))


def xmap(task: str | Named, items: Iterable[Any]) -> Signature:
    """`[task(item) for item in items]` in one message."""
    return Signature(MAP, (_name(task), list(items)), immutable=True)


def starmap(task: str | Named, items: Iterable[Iterable[Any]]) -> Signature:
    """`[task(*item) for item in items]` in one message."""
    return Signature(STARMAP, (_name(task), [list(item) for item in items]), immutable=True)


def chunks(task: str | Named, items: Iterable[Iterable[Any]], n: int) -> Group:
    """A group of `starmap` with `n` items each; its result is a list of lists. A generator is consumed lazily."""
    if n < 1:
        raise ConfigError(f"chunks of {n} items: give at least 1")
    source = iter(items)
    parts = iter(lambda: list(islice(source, n)), [])
    made = (starmap(task, part) for part in parts)
    return Group(Lazy(made) if isinstance(items, Iterator) else tuple(made))


def _name(task: str | Named) -> str:
    return task if isinstance(task, str) else task.name


def _several(tasks: tuple[Flow | Iterable[Flow], ...]) -> Iterable[Flow]:
    if len(tasks) == 1 and not isinstance(tasks[0], Flow):
        try:
            return iter(tasks[0]) if isinstance(tasks[0], Iterator) else tuple(tasks[0])
        except TypeError:
            pass  # neither a workflow nor an iterable: refused by name, with the others
    return tuple(map(checked, tasks))
