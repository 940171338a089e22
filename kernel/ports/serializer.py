"""The Serializer port: arguments and results to bytes and back, never silently changed."""

from __future__ import annotations

from typing import Any, Protocol


class Serializer(Protocol):
    """One codec. Stateless and safe to call from any thread."""

    @property
    def name(self) -> str:
        """Short name that travels in every envelope, such as "json"."""

    @property
    def content_type(self) -> str:
        """MIME type, for bridges to other systems."""

    @property
    def safe(self) -> bool:
        """Whether bytes from a stranger can do no more than fail to decode. One that is not is refused by a
        worker unless its configuration accepts it by name."""

    def dumps(self, value: Any) -> bytes:
        """Encode. `loads` gives back an equal value of the same type, or this raises `EncodeError`."""

    def loads(self, data: bytes) -> Any:
        """Decode. Any bytes whatsoever end as a value or as `DecodeError`."""
