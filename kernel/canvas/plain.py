"""Workflows as plain data and back, so that they can be stored, shown and sent by other programs.

    {"task": "add", "args": [1], "kwargs": {...}, "immutable": true, ...}
    {"chain": [...], ...}    {"group": [...], ...}    {"chord": [...], "body": {...}, ...}

with `options`, `link` and `link_error` in any of them; what is empty is left out. In place of the list of a chord there
is a group where that has options or callbacks of its own. The plain form has exactly one
object for each part, and is JSON wherever the arguments are. Reading is total: any value whatsoever ends as a
workflow or as `DecodeError`, also one that contains itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kernel.canvas.flow import MAX_DEPTH, MAX_SIZE, Chain, Chord, Flow, Group, Signature
from kernel.canvas.lazy import Lazy
from kernel.errors import ConfigError, DecodeError

Plain = dict[str, Any]

_COMMON = frozenset({"options", "link", "link_error"})
_KINDS: dict[str, frozenset[str]] = {
    "task": frozenset({"task", "args", "kwargs", "immutable"}) | _COMMON,
    "chain": frozenset({"chain"}) | _COMMON,
    "group": frozenset({"group"}) | _COMMON,
    "chord": frozenset({"chord", "body"}) | _COMMON,
}


def to_plain(flow: Flow) -> Plain:
    """The plain form of a workflow. `ConfigError` for a group of a generator, which has none."""
    plain: Plain
    match flow:
        case Signature(task=task, args=args, kwargs=kwargs, immutable=immutable):
            plain = {"task": task, "args": list(args), "kwargs": dict(kwargs), "immutable": immutable}
        case Chain(steps=steps):
            plain = {"chain": [to_plain(step) for step in steps]}
        case Chord(header=header, body=body):
            plain = {"chord": _members(header) if header.plain else to_plain(header), "body": to_plain(body)}
        case Group():
            plain = {"group": _members(flow)}
        case _:
            raise ConfigError(f"{flow!r:.60} is no part of a workflow")
    kind = next(iter(plain))
    plain |= {
        "options": dict(flow.options),
        "link": [to_plain(link) for link in flow.callbacks],
        "link_error": [to_plain(link) for link in flow.errbacks],
    }
    return {key: value for key, value in plain.items() if value or key == kind}


def _members(group: Group) -> list[Plain]:
    if isinstance(group.members, Lazy):
        raise ConfigError("a group of a generator has no plain form: give it a list")
    return [to_plain(member) for member in group.members]


def from_plain(plain: Any) -> Flow:
    """The workflow of a plain form; `DecodeError` for everything else."""
    try:
        return _Reader().flow(plain, 0)
    except (ConfigError, RecursionError) as error:
        raise DecodeError(f"not a workflow: {error}") from None


class _Reader:
    """One reading. It counts, because what contains itself, or one part many times, is finite only on paper."""

    def __init__(self) -> None:
        self._left = MAX_SIZE

    def flow(self, plain: Any, depth: int) -> Flow:
        if depth > MAX_DEPTH:
            raise DecodeError(f"not a workflow: it nests deeper than {MAX_DEPTH} levels, or contains itself")
        self._left -= 1
        if self._left < 0:
            raise DecodeError(f"not a workflow: it has more than {MAX_SIZE} parts")
        if type(plain) is not dict:
            raise DecodeError(f"not a workflow: {_shown(plain)} in place of a task, a chain, a group or a chord")
        kinds = [kind for kind in _KINDS if kind in plain]
        if len(kinds) != 1:
            raise DecodeError(f"not a workflow: one of {', '.join(_KINDS)} has to be there, not {kinds or 'none'}")
        kind = kinds[0]
        unknown = [key for key in plain if key not in _KINDS[kind]]
        if unknown:
            raise DecodeError(f"not a workflow: a {kind} has no {_shown(unknown[0])}")
        below = depth + 1
        marks: dict[str, Any] = {
            "options": self._named(plain, "options"),
            "callbacks": self._flows(plain, "link", below),
            "errbacks": self._flows(plain, "link_error", below),
        }
        match kind:
            case "task":
                args, kwargs = self._list(plain, "args"), self._named(plain, "kwargs")
                immutable = self._of(plain, "immutable", bool, False)
                return Signature(self._of(plain, "task", str, ""), tuple(args), kwargs, immutable=immutable, **marks)
            case "chain":
                return Chain(self._flows(plain, "chain", below), **marks)
            case "group":
                return Group(self._flows(plain, "group", below), **marks)
        header = plain["chord"]
        members = self.flow({"group": header} if type(header) is list else header, below)
        return Chord(members, self.flow(plain.get("body"), below), **marks)  # type: ignore[arg-type]  # it looks itself

    def _flows(self, plain: Plain, key: str, depth: int) -> tuple[Flow, ...]:
        return tuple(self.flow(item, depth) for item in self._list(plain, key))

    def _list(self, plain: Plain, key: str) -> list[Any]:
        value: list[Any] = self._of(plain, key, list, [])
        return value

    def _named(self, plain: Plain, key: str) -> Mapping[str, Any]:
        value: dict[str, Any] = self._of(plain, key, dict, {})
        if not all(type(name) is str for name in value):
            raise DecodeError(f"not a workflow: {key} has a name that is no text")
        return value

    def _of(self, plain: Plain, key: str, kind: Callable[..., Any], default: Any) -> Any:
        value = plain.get(key, default)
        if type(value) is not kind:
            raise DecodeError(f"not a workflow: {key} cannot be {_shown(value)}")
        return value


def _shown(value: Any) -> str:
    return f"{value!r:.40}" if isinstance(value, str | bytes | int | float) else f"a {type(value).__name__}"
