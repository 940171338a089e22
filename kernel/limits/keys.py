"""From the arguments of a call to a key. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from string import Formatter
from typing import Any

from kernel.arity import Arity, defaults_of
from kernel.errors import ConfigError
from kernel.limits.terms import Key, Limit, wire_form

#: A key that a store has to hold, in characters; a longer one is replaced by its digest.
LONGEST = 200


class Keys:
    """Makes the keys of one task's calls."""

    __slots__ = ("_defaults", "_known", "_names", "_task")

    def __init__(self, task: str, function: Callable[..., Any] | None, bound: int = 0) -> None:
        """`function` is None for a task that is only known by name; `bound` leading parameters are the worker's."""
        self._task = task
        arity = None if function is None else Arity(function, bound)
        self._names: tuple[str, ...] = () if arity is None else arity.names[: arity.positional]
        self._defaults: Mapping[str, Any] = {} if function is None else defaults_of(function)
        #: What a key may name; None for anything.
        self._known = None if arity is None or arity.open_keywords else {*arity.names, "args"}

    def check(self, keys: Sequence[Key]) -> None:
        """Refuse, with `ConfigError`, a key that names what is no argument."""
        if self._known is None:
            return
        for key in keys:
            for _, field, _, _ in Formatter().parse(key) if isinstance(key, str) else ():
                name = None if field is None else field.partition(".")[0].partition("[")[0]
                if name is not None and name not in self._known:
                    raise ConfigError(f"{self._task}: the key {key!r} names {name!r}, which is no argument of the task")

    def key(self, key: Key | None, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """The key of a call; `ConfigError` when its arguments make none."""
        if callable(key):
            made = key(*args, **kwargs)
            if not isinstance(made, str) or not made:
                raise ConfigError(f"{self._task}: the function of a key returned {made!r:.60}, not a text")
        elif key is None:
            named = self._named(args, kwargs)
            made = sha256(repr(sorted(named.items(), key=lambda item: item[0])).encode()).hexdigest()[:32]
        elif "{" not in key and "}" not in key:
            made = key
        else:
            try:
                made = key.format_map(self._named(args, kwargs))
            except (LookupError, AttributeError, TypeError, ValueError) as error:
                raise ConfigError(
                    f"{self._task}: the key {key!r} cannot be made of this call: {error!r:.200}"
                ) from None
        if len(made) > LONGEST or not made.isprintable():
            made = sha256(made.encode("utf-8", "backslashreplace")).hexdigest()
        return made

    def wire(self, limits: Sequence[Limit], args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[list[Any]]:
        """The limits of a call as they travel."""
        return [wire_form(limit, self.key(limit.key, args, kwargs)) for limit in limits]

    def _named(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        named = {**self._defaults, **dict(zip(self._names, args, strict=False)), **kwargs}
        rest = args[len(self._names) :]
        if rest:
            named["args"] = tuple(rest)
        return named
