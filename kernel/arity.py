"""Whether arguments fit a function, without the cost of `inspect`.

`inspect.signature(...).bind` takes several microseconds a call and importing `inspect` several milliseconds; the
code object has what the check needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kernel.provided import needs_of

_VARARGS, _VARKEYWORDS, _COROUTINE = 0x04, 0x08, 0x80  # co_flags, see the documentation of `inspect`


def _code(function: Callable[..., Any]) -> Any:
    """The code that says what the function takes: of the innermost wrapped one, as `inspect.signature` does."""
    seen = function
    while hasattr(seen, "__wrapped__"):
        seen = seen.__wrapped__
    return getattr(seen, "__code__", None)


def is_coroutine(function: Callable[..., Any]) -> bool:
    """Whether calling the function gives a coroutine: it is an `async def`."""
    code = getattr(function, "__code__", None)
    return code is not None and bool(code.co_flags & _COROUTINE)


class Arity:
    """What a function takes. `least` and `most` bound the positional arguments of a call without keywords."""

    __slots__ = (
        "least",
        "most",
        "names",
        "open_keywords",
        "positional",
        "positional_only",
        "provided",
        "required",
        "title",
    )

    def __init__(self, function: Callable[..., Any], bound: int = 0) -> None:
        """`bound` leading parameters are filled in by the worker and are not the caller's."""
        code = _code(function)
        self.title = getattr(function, "__name__", "task")
        if code is None:  # a callable object or a builtin: it says what it takes when it is called
            self.least, self.most, self.positional, self.positional_only = 0, 1 << 30, 1 << 30, 0
            self.names: tuple[str, ...] = ()
            self.required: frozenset[str] = frozenset()
            self.open_keywords = True
            self.provided: frozenset[str] = frozenset()
            return
        inner = function
        while hasattr(inner, "__wrapped__"):
            inner = inner.__wrapped__
        if hasattr(inner, "__func__"):  # a bound method: its first parameter is filled in
            bound += 1
        self.provided = frozenset(needs_of(inner))
        names = tuple(name for name in code.co_varnames[bound : code.co_argcount] if name not in self.provided)
        only = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
        only = tuple(name for name in only if name not in self.provided)
        # Those that are provided are the last of the ones with a default.
        defaults = len(getattr(inner, "__defaults__", None) or ()) - (code.co_argcount - bound - len(names))
        keyword_defaults = getattr(inner, "__kwdefaults__", None) or {}
        must = {name for name in only if name not in keyword_defaults}
        self.names = names + only
        self.positional = len(names)
        self.positional_only = max(0, code.co_posonlyargcount - bound)
        needed = names[: max(0, len(names) - defaults)]
        self.required = frozenset(needed) | must
        self.open_keywords = bool(code.co_flags & _VARKEYWORDS)
        # A required keyword-only parameter makes every call without keywords too short.
        self.least = len(needed) if not must else 1 << 30
        self.most = 1 << 30 if code.co_flags & _VARARGS else len(names)

    def refuse(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """Why the arguments do not fit, "" when they do."""
        if len(args) > self.most and self.most < 1 << 30:
            return f"{self.title}() takes {self.most} positional arguments but {len(args)} were given"
        filled = self.names[: min(len(args), self.positional)]
        by_position_only = self.names[: self.positional_only]
        for name in kwargs:
            if name in self.provided:
                return f"{self.title}() is given {name!r} by the worker, and not by the caller"
            if name in filled and name not in by_position_only:
                return f"{self.title}() got multiple values for argument {name!r}"
            if not self.open_keywords and (name not in self.names or name in by_position_only):
                return f"{self.title}() got an unexpected keyword argument {name!r}"
        named = kwargs.keys() - set(by_position_only)
        missing = [name for name in self.names if name in self.required and name not in filled and name not in named]
        if missing:
            return f"{self.title}() misses the arguments {', '.join(map(repr, missing))}"
        return ""


def defaults_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Parameters that have a default, and those."""
    inner = function
    while hasattr(inner, "__wrapped__"):
        inner = inner.__wrapped__
    code, defaults = getattr(inner, "__code__", None), getattr(inner, "__defaults__", None) or ()
    if code is None:
        return {}
    last = code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount]
    return {**dict(zip(last, defaults, strict=True)), **(getattr(inner, "__kwdefaults__", None) or {})}
