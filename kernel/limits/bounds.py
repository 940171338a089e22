"""The limits of one task, and what they come to for one call. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kernel import envelope as wire
from kernel.limits.keys import Keys
from kernel.limits.terms import Debounce, Limit, Unique, keys_of, limits_of

#: Scopes on the wire (`envelope.UNIQUE`).
FOR_A_PERIOD, UNTIL_START, UNTIL_DONE = 0, 1, 2
_SCOPES = {"until_start": UNTIL_START, "until_done": UNTIL_DONE}
#: How much longer than it waits a debounced call is known to be the last one, in seconds: its queue may be long.
LATE = 3600.0
#: Options of tasks and calls that are the business of this package.
OPTIONS = frozenset({"limits", "rate_limit", "unique", "debounce"})


class Bounds:
    """What a task's options say about limits; options of a call take their place one by one."""

    __slots__ = ("_debounce", "_keys", "_limits", "_task", "_unique")

    def __init__(self, task: str, function: Callable[..., Any] | None, bound: int, options: Mapping[str, Any]) -> None:
        """`ConfigError` for a key that names what is no argument."""
        self._task = task
        self._keys = Keys(task, function, bound)
        self._limits = limits_of(task, options)
        self._unique: Unique | None = options.get("unique") or None
        self._debounce: Debounce | None = _debounce(options.get("debounce"))
        self._keys.check(keys_of((*self._limits, self._unique, self._debounce)))

    @classmethod
    def find(
        cls, task: str, function: Callable[..., Any] | None, bound: int, options: Mapping[str, Any]
    ) -> Bounds | None:
        """The bounds of a task, None when it has none."""
        return None if OPTIONS.isdisjoint(options) else cls(task, function, bound, options)

    def of_call(self, options: Mapping[str, Any] | None) -> Bounds:
        """These with the options of one call."""
        if not options or OPTIONS.isdisjoint(options):
            return self
        changed = Bounds.__new__(Bounds)
        changed._task, changed._keys = self._task, self._keys
        given = not options.keys().isdisjoint(("limits", "rate_limit"))
        changed._limits = limits_of(self._task, options) if given else self._limits
        changed._unique = (options["unique"] or None) if "unique" in options else self._unique
        changed._debounce = _debounce(options["debounce"]) if "debounce" in options else self._debounce
        return changed

    @property
    def limits(self) -> tuple[Limit, ...]:
        """Limits of running and starting."""
        return self._limits

    @property
    def unique(self) -> Unique | None:
        """What makes a claim at the caller: a call that waits for its turn makes none, and a debounced one is the last
        of its key."""
        if self._debounce is not None:
            wait = self._debounce.wait
            return Unique(self._debounce.key, "until_start", "replace", wait + LATE)
        unique = self._unique
        return None if unique is None or unique.on_conflict == "postpone" else unique

    @property
    def wait(self) -> float:
        """Seconds for which a debounced call waits; 0.0 for others."""
        return 0.0 if self._debounce is None else self._debounce.wait

    def claimed(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """The key that a call of a unique task claims."""
        unique = self.unique
        assert unique is not None
        return self._claimed(unique, args, kwargs)

    def _claimed(self, unique: Unique, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        return f"unique:{self._task}:{self._keys.key(unique.key, args, kwargs)}"

    def demands(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[list[Any]]:
        """`envelope.LIMITS` of a call."""
        demands = self._keys.wire(self._limits, args, kwargs)
        unique = self._unique
        if unique is not None and unique.on_conflict in ("postpone", "replace") and unique.scope != "until_start":
            key = self._claimed(unique, args, kwargs)
            if unique.scope == "until_done":
                demands.append([key, 1])
            elif unique.on_conflict == "postpone":
                demands.append([key, 1, unique.lives_for, 0])
        return demands

    def fields(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[int, Any]:
        """The optional fields of a call's envelope."""
        fields: dict[int, Any] = {}
        demands = self.demands(args, kwargs)
        if demands:
            fields[wire.LIMITS] = demands
        unique = self.unique
        if unique is not None:
            scope = _SCOPES.get(str(unique.scope), FOR_A_PERIOD)
            replaceable = unique.on_conflict == "replace"
            if scope or replaceable:
                fields[wire.UNIQUE] = [self.claimed(args, kwargs), scope, replaceable, unique.lives_for]
        return fields


def _debounce(given: Any) -> Debounce | None:
    if not given:
        return None
    return given if isinstance(given, Debounce) else Debounce(given)
