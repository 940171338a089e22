"""A serializer that writes plain data as JSON in capital hexadecimal digits."""

from __future__ import annotations

import json
from math import isfinite
from typing import Any

from kernel.errors import DecodeError, EncodeError

_MARK = b"SHOUT "


class ShoutSerializer:
    """None, bool, int, finite float, str, list and dict with str keys; everything else is refused."""

    name = "shout"
    content_type = "application/x-shout"
    safe = True

    def dumps(self, value: Any) -> bytes:
        """Encode; `EncodeError` for what would come back changed."""
        try:
            _check(value)
            return _MARK + json.dumps(value, ensure_ascii=False).encode().hex().upper().encode()
        except (ValueError, RecursionError) as error:
            raise EncodeError(f"cannot shout: {error}") from None

    def loads(self, data: bytes) -> Any:
        """Decode; `DecodeError` for what was not shouted."""
        if not data.startswith(_MARK):
            raise DecodeError("nobody shouted")
        try:
            value = json.loads(bytes.fromhex(data[len(_MARK) :].decode()))
            _check(value)
        except (ValueError, RecursionError) as error:
            raise DecodeError(f"cannot make out what was shouted: {error}") from None
        return value


def _check(value: Any) -> None:
    kind = type(value)
    if kind is list:
        for item in value:
            _check(item)
    elif kind is dict:
        _check(list(value))
        if not all(type(key) is str for key in value):
            raise ValueError("keys must be text")
        _check(list(value.values()))
    elif kind is float and not isfinite(value):
        raise ValueError(f"{value} is no number of JSON")
    elif kind not in (type(None), bool, int, float, str):
        raise ValueError(f"{kind.__qualname__} is not plain data")
