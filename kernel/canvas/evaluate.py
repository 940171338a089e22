"""The meaning of a workflow: a sequential interpreter, against which everything that runs workflows is tested."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kernel.canvas.flow import Flow, Group, Signature
from kernel.canvas.names import COLLECT, MAP, SPREAD, STARMAP

#: Runs one call: returns its value, raises what it raises, or raises `Replaced`.
Run = Callable[[str, tuple[Any, ...], Mapping[str, Any]], Any]


class Replaced(Exception):
    """The task that runs is replaced by a flow, whose value is its value."""

    def __init__(self, flow: Flow) -> None:
        super().__init__(repr(flow))
        self.flow = flow


class Spread(list[Any]):
    """The results of a member of a group and of what it has added to it: not one item of the group's, but several."""


class Fault(Exception):
    """A task of the workflow has failed."""

    def __init__(self, task: str, error: Exception) -> None:
        super().__init__(f"{task}: {error!r}")
        self.task = task
        self.error = error


def evaluate(flow: Flow, run: Run) -> Any:
    """The value of a workflow; raises `Fault`, of the first member where several of a group have failed.

    `run` is called once for each task that runs, callbacks included. An error callback is given the `Fault` itself.
    """
    return _flow(flow, (), run)


def _flow(flow: Flow, given: tuple[Any, ...], run: Run) -> Any:
    """A flow and its callbacks. Callbacks that fail change nothing."""
    try:
        value = _inner(flow, given, run)
    except Fault as fault:
        _callbacks(flow.errbacks, fault, run)
        raise
    _callbacks(flow.callbacks, value, run)
    return value


def _callbacks(flows: tuple[Flow, ...], value: Any, run: Run) -> None:
    for flow in flows:
        try:
            _flow(flow, (value,), run)
        except Fault:
            pass


def _inner(flow: Flow, given: tuple[Any, ...], run: Run) -> Any:
    if isinstance(flow, Signature):
        return _call(flow, given, run)
    if isinstance(flow, Group):
        return _group(flow, given, run)
    if not flow.inner:
        return _handed_on(given)
    for at, stage in enumerate(flow.inner, 1):
        try:
            given = (_flow(stage, given, run),)
        except Fault as fault:
            # What waits for a group fails with it, and says so; what comes after a task has not begun.
            if isinstance(stage, Group) and not stage.linked and at < len(flow.inner):
                _callbacks(flow.inner[at].errbacks, fault, run)
            raise
    return given[0]


def _handed_on(given: tuple[Any, ...]) -> Any:
    """What is given to something that only hands it on: one value, whatever it was before."""
    if not given:
        return None
    return list(given[0]) if isinstance(given[0], Spread) else given[0]


def _group(group: Group, given: tuple[Any, ...], run: Run) -> list[Any]:
    """Every member runs, whatever becomes of the others."""
    values: list[Any] = []
    first: Fault | None = None
    for member in group.members:
        try:
            value = _flow(member, given, run)
            values += value if isinstance(value, Spread) else [value]
        except Fault as fault:
            first = first or fault
    if first is not None:
        raise first
    return values


def _call(signature: Signature, given: tuple[Any, ...], run: Run) -> Any:
    task, args, kwargs = signature.task, signature.args, signature.kwargs
    if not signature.immutable:
        args = (*given, *args)
    try:
        if task == COLLECT:
            return _handed_on(args)
        if task == SPREAD:
            return Spread(args[0])
        if task == MAP:
            return [run(args[0], (item,), {}) for item in args[1]]
        if task == STARMAP:
            return [run(args[0], tuple(item), {}) for item in args[1]]
        return run(task, args, kwargs)
    except Replaced as replaced:
        return _flow(replaced.flow, (), run)
    except Fault:
        raise
    except Exception as error:
        raise Fault(task, error) from error
