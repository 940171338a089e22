"""The JSON codec: plain JSON for plain data, tags for the Python types that JSON lacks.

`None`, `bool`, `int`, `float`, `str`, `list` and `dict` with `str` keys are written as JSON has them, so that any
language can read and write them. Every other supported type is an object with exactly one member, whose name is a
tag:

    {"$tuple": [...]}                  tuple, items encoded in turn
    {"$set": [...]}                    set
    {"$frozenset": [...]}              frozenset
    {"$map": [[key, value], ...]}      dict with a key that is not a str
    {"$dict": {...}}                   dict that looks like a tag: one key, and it starts with "$"
    {"$bytes": "aGk="}                 bytes, base64
    {"$decimal": "1.10"}               decimal.Decimal
    {"$uuid": "..."}                   uuid.UUID
    {"$date": "2024-02-29"}            datetime.date
    {"$timedelta": [d, s, us]}         datetime.timedelta: days, seconds, microseconds
    {"$datetime": "..."}               datetime.datetime, ISO 8601, naive or with a fixed offset
    {"$datetime": ["...", zone, fold]} the same with the key of its time zone (or null) and its fold
    {"$time": "..."}, {"$time": [...]} datetime.time, as for a datetime

What would come back changed is refused with `EncodeError` and the path of the value: NaN and infinity, lone
surrogates, subclasses of the types above (enums, named tuples, ...), dataclasses, time zones without a key, offsets
finer than a second, nesting deeper than `MAX_DEPTH`. An unknown tag is a `DecodeError`: guessing would change a value
silently.
"""

from __future__ import annotations

from typing import Any

import msgspec

from kernel.errors import DecodeError, EncodeError
from kernel.serializers import tags

#: Containers inside of each other. Far below the interpreter's limit, so that a value encoded in a shallow stack can
#: be decoded in a deep one.
MAX_DEPTH = tags.MAX_DEPTH

_SCALARS = frozenset({int, str, bool, type(None)})
_STR = frozenset({str})
_FINITE = float("inf")
#: Items up to which a loop takes less time than the call into C.
_FEW = 4

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def plain(value: Any, depth: int = MAX_DEPTH) -> bool:
    """Whether JSON has all of `value` as it is; the C encoder would otherwise change it without a word.

    Written for speed: the types of many items are checked by one call into C, those of a few, as most arguments are,
    one by one.
    """
    kind = type(value)
    if kind is dict:
        if not _STR.issuperset(map(type, value)) or (len(value) == 1 and next(iter(value))[:1] == "$"):
            return False
        value = value.values()
    elif kind is not list:
        return kind in _SCALARS or (kind is float and -_FINITE < value < _FINITE)
    if len(value) > _FEW and _SCALARS.issuperset(map(type, value)):
        return True
    for item in value:
        kind = type(item)
        if kind in _SCALARS:
            continue
        if kind is list or kind is dict:
            if not depth or (item and not plain(item, depth - 1)):
                return False
        elif kind is not float or not -_FINITE < item < _FINITE:
            return False
    return True


class JsonSerializer:
    """JSON with tags; the default codec."""

    __slots__ = ()

    name = "json"
    content_type = "application/json"
    safe = True

    def dumps(self, value: Any) -> bytes:
        """Encode. `EncodeError`, naming the path of the first value that cannot come back as it is."""
        try:
            if plain(value):
                return _encode(value)
        except (ValueError, OverflowError, msgspec.MsgspecError):
            pass  # a lone surrogate or a giant integer; the walk below finds where
        tagged = tags.tag(value)
        try:
            return _encode(tagged)
        except (ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
            raise EncodeError(f"cannot encode the value as JSON: {error}") from None

    def loads(self, data: bytes) -> Any:
        """Decode. `DecodeError` for bytes that are not JSON, are nested too deep or carry a damaged tag."""
        try:
            value = _decode(data)
            # A tag needs a string that starts with "$", as it is or escaped; most payloads have none.
            if b'"$' in data or b'"\\u0024' in data:
                return tags.untag(value)
        except (ValueError, RecursionError, msgspec.MsgspecError) as error:
            raise DecodeError(f"not JSON of this codec: {error}") from None
        return value
