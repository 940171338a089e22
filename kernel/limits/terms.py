"""What a user says about limits: frozen values, checked when they are made. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import inf
from typing import Any, Literal, get_args

import msgspec

from kernel.errors import ConfigError

#: A text whose `{names}` are arguments of the call, or a function of the call's arguments.
Key = str | Callable[..., str]
Scope = Literal["until_start", "until_done"]
Conflict = Literal["existing", "drop", "raise", "replace", "postpone"]

#: Seconds for which a unique call counts at most, unless it says otherwise: what was lost blocks nobody for longer.
UNIQUE_FOR = 86400.0
#: Seconds of the units of `rate_limit`.
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


class Concurrency(msgspec.Struct, frozen=True):
    """At most `limit` tasks of one key run at once, on all workers together. The others wait in the store, and each end
    lets exactly the next one go."""

    key: Key
    limit: int

    def __post_init__(self) -> None:
        _check_key(self.key)
        if type(self.limit) is not int or self.limit < 1:
            raise ConfigError(f"a Concurrency has a limit of 1 or more, not {self.limit!r:.60}")


class Rate(msgspec.Struct, frozen=True):
    """At most `limit` tasks of one key start in `per` seconds, evenly, on all workers together: a bucket of tokens that
    fills at that rate and holds `burst` of them."""

    key: Key
    limit: float
    per: float = 1.0
    #: Starts that may be made at once after a pause.
    burst: float = 1.0

    def __post_init__(self) -> None:
        _check_key(self.key)
        _check_positive("Rate", limit=self.limit, per=self.per)
        if not (_is_number(self.burst) and self.burst >= 1):
            raise ConfigError(f"a Rate has a burst of 1 or more, not {self.burst!r:.60}")


class Window(msgspec.Struct, frozen=True):
    """At most `limit` tasks of one key start in each window of `per` seconds, at once if they are there. It begins
    with the first start after a pause; the next one follows it."""

    key: Key
    limit: int
    per: float

    def __post_init__(self) -> None:
        _check_key(self.key)
        _check_positive("Window", per=self.per)
        if type(self.limit) is not int or self.limit < 1:
            raise ConfigError(f"a Window has a limit of 1 or more, not {self.limit!r:.60}")


class Unique(msgspec.Struct, frozen=True):
    """One call of a key at a time: until it starts, until it is done, or for so many seconds from sending.

    `key` None is all arguments. Keys of different tasks are different.
    """

    key: Key | None = None
    scope: Scope | float = "until_done"
    #: What becomes of a call whose key is taken: the handle of the one that has it is returned ("existing"), nothing is
    #: sent ("drop", "raise"), it takes the place of one that has not started ("replace"), or it waits ("postpone").
    on_conflict: Conflict = "existing"
    #: Seconds after which a call that never came to its end counts no more.
    ttl: float = UNIQUE_FOR

    def __post_init__(self) -> None:
        if self.key is not None:
            _check_key(self.key)
        if self.scope not in get_args(Scope) and not (_is_number(self.scope) and self.scope > 0):  # type: ignore[operator]
            raise ConfigError(f"Unique: scope is 'until_start', 'until_done' or seconds, not {self.scope!r:.60}")
        if self.on_conflict not in get_args(Conflict):
            raise ConfigError(
                f"Unique: on_conflict is one of {', '.join(get_args(Conflict))}, not {self.on_conflict!r:.60}"
            )
        if self.scope == "until_start" and self.on_conflict == "postpone":
            raise ConfigError("Unique: what waits until another call has started is queued behind it anyway")
        _check_positive("Unique", ttl=self.ttl)

    @property
    def lives_for(self) -> float:
        """Seconds for which its claim stands at most."""
        return self.ttl if isinstance(self.scope, str) else float(self.scope)


class Debounce(msgspec.Struct, frozen=True):
    """Of calls of one key that follow each other within `wait` seconds only the last runs, `wait` seconds after it was
    made. `key` None is all arguments."""

    wait: float
    key: Key | None = None

    def __post_init__(self) -> None:
        if self.key is not None:
            _check_key(self.key)
        _check_positive("Debounce", wait=self.wait)


Limit = Concurrency | Rate | Window


def rate_of(text: str | float) -> tuple[float, float]:
    """The number and the seconds of Celery's `rate_limit`: "10/s", "100/m", "5/h", or a number per second.

    `ConfigError` for anything else. 0 means no limit, as there.
    """
    number, _, unit = str(text).replace(" ", "").partition("/")
    try:
        limit = float(number)
    except ValueError:
        limit = -1.0
    if isinstance(text, bool) or not 0 <= limit < inf or (unit or "s") not in _UNITS:
        raise ConfigError(f"rate_limit is like '10/s', '100/m', '5/h' or a number per second, not {text!r:.60}")
    return limit, _UNITS[unit or "s"]


def limits_of(task: str, options: Mapping[str, Any]) -> tuple[Limit, ...]:
    """The limits of a task or a call by its options: `limits`, and `rate_limit` as a rate of the whole task."""
    limits: tuple[Limit, ...] = tuple(options.get("limits") or ())
    rate = options.get("rate_limit")
    if rate:
        number, per = rate_of(rate)
        if number:
            limits += (Rate(f"task:{task}".replace("{", "{{").replace("}", "}}"), number, per),)
    return limits


# -- on the wire -------------------------------------------------------------------------------------------


def wire_form(limit: Limit, key: str) -> list[Any]:
    """A limit as an item of `envelope.LIMITS`: `[key, limit]` or `[key, limit, per, burst]` (burst 0: windows)."""
    match limit:
        case Concurrency(limit=most):
            return [key, most]
        case Window(limit=most, per=per):
            return [key, most, per, 0]
        case Rate(limit=number, per=per, burst=burst):
            return [key, number, per, burst]


# -- checks ------------------------------------------------------------------------------------------------


def is_limits(value: Any) -> bool:
    """Whether a value can be the option `limits`."""
    return isinstance(value, list | tuple) and all(isinstance(one, Limit) for one in value)


def is_rate(value: Any) -> bool:
    """Whether a value can be the option `rate_limit`."""
    if value is None:
        return True
    try:
        rate_of(value)
    except ConfigError:
        return False
    return True


def is_debounce(value: Any) -> bool:
    """Whether a value can be the option `debounce`."""
    return value is None or isinstance(value, Debounce) or (_is_number(value) and value > 0)


def keys_of(limits: Iterable[Any]) -> list[Key]:
    """The keys of some terms."""
    return [one.key for one in limits if one is not None and one.key is not None]


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < inf


def _check_positive(what: str, **numbers: Any) -> None:
    for name, value in numbers.items():
        if not _is_number(value) or value <= 0:
            raise ConfigError(f"{what}: {name} is a number above 0, not {value!r:.60}")


def _check_key(key: Any) -> None:
    if not callable(key) and not (isinstance(key, str) and key):
        raise ConfigError(
            f"a key is a text such as 'account:{{account_id}}' or a function of the arguments, not {key!r}"
        )
