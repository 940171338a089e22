"""A stored message: a header of fixed size, then the payload.

| bytes | meaning |
|---|---|
| 0 | priority, 0 to 9 |
| 1-2 | earlier deliveries, big-endian, at most 65,535 |
| 3-10 | milliseconds since 1970 from which it is ready |
| 11-18 | milliseconds since 1970 from which it has expired, 0 for never |

The scripts read the first three fields, so a change here is a change in `lua/queue.lua`.
"""

from __future__ import annotations

from math import ceil
from struct import Struct

from kernel.ports import Outgoing

HEADER = Struct(">BHQQ")
_pack = HEADER.pack
_unpack = HEADER.unpack_from
_SIZE = HEADER.size


def stored(out: Outgoing, now: int) -> bytes:
    """The bytes of a message sent at `now` (milliseconds)."""
    at = now
    if out.not_before:
        at = max(at, milliseconds(out.not_before))
    return header(out.priority, at, milliseconds(out.expires_at) if out.expires_at else 0) + out.payload


def header(priority: int, ready_at: int, expires_at: int = 0) -> bytes:
    """What stands before the payload of a new message; times in milliseconds, 0 for never."""
    return _pack(priority, 0, ready_at, expires_at)


def opened(message: bytes) -> tuple[bytes, int, int]:
    """Payload, earlier deliveries and expiry (milliseconds, 0: never) of a stored message.

    What is too short to be one, because somebody else wrote it, is a payload as a whole.
    """
    if len(message) < _SIZE:
        return message, 0, 0
    _, deliveries, _, expires_at = _unpack(message)
    return message[_SIZE:], deliveries, expires_at


def milliseconds(at: float) -> int:
    """A time in seconds as whole milliseconds, never earlier; what lies beyond the calendar is its end."""
    return ceil(min(max(at, 0.0), 1e12) * 1000)
