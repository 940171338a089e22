"""Tagged forms of the Python types that JSON lacks; the table is in `kernel.serializers.json_`."""

from __future__ import annotations

import sys
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum
from math import isfinite
from typing import Any
from uuid import UUID

from kernel.errors import DecodeError, EncodeError

#: Containers inside of each other; see `kernel.serializers.json_`.
MAX_DEPTH = 100
#: Items of a set, or keys of a mapping, that may share a hash with another one. The hashes of numbers and of tuples of
#: them are no secret, and a set of items that all have the same one takes a time that grows with its square: a message
#: of some MiB would hold up a worker for hours.
MOST_COLLISIONS = 100


class _Refused(Exception):
    """A value that JSON cannot carry; collects its path on the way up."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.steps: list[str] = []


def tag(value: Any) -> Any:
    """A copy of `value` made of what JSON has; `EncodeError` with a path for what cannot be told apart later."""
    try:
        return _tag(value, MAX_DEPTH)
    except _Refused as refused:
        path = "".join(reversed(refused.steps))
        raise EncodeError(f"cannot encode value{path} as JSON: {refused}") from None
    except RecursionError:
        raise EncodeError("cannot encode the value as JSON: the stack is too deep already") from None


def untag(value: Any) -> Any:
    """The value that a decoded JSON document stands for; `DecodeError` for a damaged or unknown tag."""
    kind = type(value)
    if kind is list:
        return [untag(item) for item in value]
    if kind is not dict:
        return value
    if len(value) == 1:
        ((name, content),) = value.items()
        if name[:1] == "$":
            return _untag_one(name, content)
    return {key: untag(item) for key, item in value.items()}


def _untag_one(name: str, content: Any) -> Any:
    build = _BUILDERS.get(name)
    if build is None:
        raise DecodeError(f"unknown tag {name[:40]!r}")
    try:
        return build(content)
    # The last two: a zone's key names a file, of the system or of a package of time zones.
    except (ValueError, TypeError, ArithmeticError, AttributeError, LookupError, OSError, ImportError) as error:
        raise DecodeError(f"damaged {name}: {type(error).__name__}: {error}") from None


# -- to JSON -----------------------------------------------------------------------------------------------


def _tag(value: Any, depth: int) -> Any:
    kind = type(value)
    scalar = _SCALARS.get(kind)
    if scalar is not None:
        return scalar(value)
    container = _CONTAINERS.get(kind)
    if container is None:
        raise _Refused(_why_not(value))
    if depth < 0:
        raise _Refused(f"nested deeper than {MAX_DEPTH}, or contains itself")
    return container(value, depth - 1)


def _items(values: Any, depth: int) -> list[Any]:
    result = []
    for index, item in enumerate(values):
        try:
            result.append(_tag(item, depth))
        except _Refused as refused:
            refused.steps.append(f"[{index}]")
            raise
    return result


def _set_items(values: Any, depth: int) -> list[Any]:
    try:
        return _items(values, depth)
    except _Refused as refused:
        refused.steps[-1] = "{...}"  # a set has no positions
        raise


def _dict(value: dict[Any, Any], depth: int) -> dict[str, Any]:
    result: dict[Any, Any] = {}
    strings = True
    for key, item in value.items():
        strings = strings and type(key) is str
        try:
            result[_tag(key, depth) if type(key) is str else key] = _tag(item, depth)
        except _Refused as refused:
            refused.steps.append(f"[{key!r:.80}]")
            raise
    if not strings:
        # A key keeps its type too, so it is encoded as a value.
        keys = _set_items(result, depth)
        return {"$map": [[key, item] for key, item in zip(keys, result.values(), strict=True)]}
    if len(result) == 1 and next(iter(result))[:1] == "$":
        return {"$dict": result}
    return result


def _str(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _Refused("text with a lone surrogate, which UTF-8 does not have") from None
    return value


def _int(value: int) -> int:
    try:
        str(value)
    except ValueError:
        raise _Refused("an integer of more digits than Python is set to read back") from None
    return value


def _float(value: float) -> float:
    if not isfinite(value):
        raise _Refused(f"{value} has no JSON form")
    return value


def _decimal(value: Decimal) -> dict[str, Any]:
    if value.is_nan():
        raise _Refused("a Decimal that is not a number does not equal itself")
    return {"$decimal": str(value)}


def _moment(name: str) -> Callable[[Any], dict[str, Any]]:
    def to_tag(value: datetime | time) -> dict[str, Any]:
        zone = value.tzinfo
        if zone is None or _is_fixed(zone):
            content: Any = value.isoformat() if not value.fold else [value.isoformat(), None, 1]
        else:
            content = [value.replace(tzinfo=None).isoformat(), _zone_key(zone), value.fold]
        return {name: content}

    return to_tag


def _is_fixed(zone: tzinfo) -> bool:
    if type(zone) is not timezone:
        return False
    # A name of its own would be lost, and CPython's fromisoformat reads an offset below one second as UTC.
    offset = zone.utcoffset(None)
    return not offset.microseconds and repr(zone) == repr(timezone(offset))


def _zone_key(zone: tzinfo) -> str:
    # zoneinfo is not imported for this: an instance exists only if somebody else has.
    module = sys.modules.get("zoneinfo")
    key = getattr(zone, "key", None)
    if module is None or type(zone) is not module.ZoneInfo or not isinstance(key, str):
        raise _Refused(f"{zone!r} has no key: use zoneinfo.ZoneInfo(name), or an unnamed datetime.timezone in seconds")
    return key


def _why_not(value: Any) -> str:
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, Enum):
        return f"{name} is an enum; pass its .value"
    if hasattr(type(value), "__dataclass_fields__"):
        return f"{name} is a dataclass; pass dataclasses.asdict(...) of it"
    for base in (*_SCALARS, *_CONTAINERS):
        if isinstance(value, base):
            return f"{name} is a subclass of {base.__name__} and would come back as {base.__name__}; convert it"
    return f"{name} is not a type of this codec; pass plain data, or use another serializer"


def _same(value: Any) -> Any:
    return value


_SCALARS: dict[type, Callable[[Any], Any]] = {
    type(None): _same,
    bool: _same,
    int: _int,
    float: _float,
    str: _str,
    bytes: lambda value: {"$bytes": b64encode(value).decode()},
    Decimal: _decimal,
    UUID: lambda value: {"$uuid": str(value)},
    datetime: _moment("$datetime"),
    date: lambda value: {"$date": value.isoformat()},
    time: _moment("$time"),
    timedelta: lambda value: {"$timedelta": [value.days, value.seconds, value.microseconds]},
}
_CONTAINERS: dict[type, Callable[[Any, int], Any]] = {
    list: _items,
    dict: _dict,
    tuple: lambda value, depth: {"$tuple": _items(value, depth)},
    set: lambda value, depth: {"$set": _set_items(value, depth)},
    frozenset: lambda value, depth: {"$frozenset": _set_items(value, depth)},
}

# -- from JSON ---------------------------------------------------------------------------------------------


def _list(content: Any) -> list[Any]:
    if type(content) is not list:
        raise ValueError("not an array")
    return [untag(item) for item in content]


def _object(content: Any) -> dict[str, Any]:
    if type(content) is not dict:
        raise ValueError("not an object")
    return {key: untag(item) for key, item in content.items()}


def _real_decimal(content: Any) -> Decimal:
    value = Decimal(_text(content))
    if value.is_nan():
        raise ValueError("not a number")
    return value


def _text(content: Any) -> str:
    if type(content) is not str:
        raise ValueError("not a string")
    return content


def _moment_of(kind: type[datetime] | type[time]) -> Callable[[Any], Any]:
    def from_tag(content: Any) -> Any:
        if type(content) is not list:
            return kind.fromisoformat(_text(content))
        text, key, fold = content
        moment = kind.fromisoformat(_text(text))
        if key is None:
            return moment.replace(fold=fold)
        return moment.replace(tzinfo=_zone(_text(key)), fold=fold)

    return from_tag


def _zone(key: str) -> tzinfo:
    from zoneinfo import ZoneInfo  # 4 ms, which only a program with named zones should pay

    return ZoneInfo(key)


_BUILDERS: dict[str, Callable[[Any], Any]] = {
    "$tuple": lambda content: tuple(_list(content)),
    "$set": lambda content: set(_spread(_list(content))),
    "$frozenset": lambda content: frozenset(_spread(_list(content))),
    "$map": lambda content: _map(_list_raw(content)),
    "$dict": _object,
    "$bytes": lambda content: b64decode(_text(content), validate=True),
    "$decimal": _real_decimal,
    "$uuid": lambda content: UUID(_text(content)),
    "$date": lambda content: date.fromisoformat(_text(content)),
    "$timedelta": lambda content: timedelta(*_numbers(content)),
    "$datetime": _moment_of(datetime),
    "$time": _moment_of(time),
}


def _map(content: list[Any]) -> dict[Any, Any]:
    pairs = [(untag(key), untag(item)) for key, item in content]
    _spread([key for key, _ in pairs])
    return dict(pairs)


def _spread(items: list[Any]) -> list[Any]:
    """The items, unless too many of them have the same hash."""
    if len(items) > MOST_COLLISIONS and len(items) - len(set(map(hash, items))) > MOST_COLLISIONS:
        raise ValueError("too many items with the same hash")
    return items


def _list_raw(content: Any) -> list[Any]:
    if type(content) is not list:
        raise ValueError("not an array")
    return content


def _numbers(content: Any) -> list[int]:
    if type(content) is not list or [type(item) for item in content] != [int, int, int]:
        raise ValueError("not three integers")
    return content
