"""The pickle codec: any Python object, between parties that trust each other."""

from __future__ import annotations

import pickle
from typing import Any

from kernel.errors import DecodeError, EncodeError


class PickleSerializer:
    """Pickle, protocol 5.

    Whoever can write to a queue can run code in a worker that accepts this codec, so `safe` is False and a worker
    refuses it unless its `accept` setting names it.
    """

    __slots__ = ()

    name = "pickle"
    content_type = "application/x-python-pickle"
    safe = False

    def dumps(self, value: Any) -> bytes:
        """Encode. `EncodeError` for what cannot be pickled."""
        try:
            return pickle.dumps(value, protocol=5)
        except Exception as error:  # __reduce__ and __getstate__ of any class run here
            raise EncodeError(f"cannot pickle the value: {type(error).__name__}: {error}") from error

    def loads(self, data: bytes) -> Any:
        """Decode. Whatever goes wrong is a `DecodeError`, also inside of the classes that are rebuilt."""
        try:
            return pickle.loads(data)
        except Exception as error:
            raise DecodeError(f"damaged or unknown pickle: {type(error).__name__}: {error}") from error
