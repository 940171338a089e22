"""A payload as the body of a message.

The body is the payload in base64. SQS takes text only, and not all of it. A binary message attribute would save a
third of the size; the body was chosen because it is what consoles show, what other services that feed or read
queues pass on, and what one line writes in any language. A body that is not base64 is handed on as it is:
what it means is for the kernel to find out, which puts it into the dead letters.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error
from typing import Final

#: The body of an empty payload: SQS has no empty bodies, and this is no base64.
EMPTY: Final = "="


def largest(message_size: int) -> int:
    """The largest payload in bytes whose body fits into a message of so many bytes."""
    return message_size // 4 * 3


def encode(payload: bytes) -> str:
    """The body of a payload."""
    return b64encode(payload).decode("ascii") if payload else EMPTY


def decode(body: str) -> bytes:
    """The payload of a body. Total: what is no base64 is its own text."""
    if body == EMPTY:
        return b""
    try:
        return b64decode(body, validate=True)
    except (Error, ValueError):
        return body.encode("utf-8", "surrogatepass")
