"""The wire: what travels through a transport, and nothing else in kernel knows it.

Every frame starts with one byte that says what follows; the rest is MessagePack (https://msgpack.org), so that
another language can join. `docs/wire.md` has the layout with test vectors.

    0x01  live     [id, task, body, codec, attempt, generation, sent_at, extra]
    0x02..0x1F     live frames of later versions
    0xC0  carrier  [first_at, hops, payload]: bytes this release cannot read yet, sent on for a while
    0xD0  dead     [payload, queue, kind, reason, error, deliveries, first_at, last_at, priority, extra]

Parsing is total: any bytes whatsoever end as a frame or as `DecodeError`.
"""

from __future__ import annotations

import os
from random import Random
from typing import Any, Literal

import msgspec

from kernel.errors import DecodeError, NewerVersion

LIVE = 0x01
NEWEST_LIVE = 0x1F
CARRIER = 0xC0
DEAD = 0xD0

# Optional fields of an envelope, by small integer. A number is never reused. Fields that this release does not
# know survive a retry, a hop and the dead letters, because `extra` is carried as it came.
ETA = 1  #: wall clock, not before
EXPIRES_AT = 2  #: wall clock, not from then on
PRIORITY = 3  #: 0 to 9
HOME = 4  #: the queue it was sent to, where it travels through another one
HOP = 5  #: how often it was sent on without running (delay, unknown task)
ROOT = 6  #: id of the task that started the workflow
PARENT = 7  #: id of the task that sent this one
GROUP = 8  #: id of the group
JOIN = 9  #: key of the join record
JOIN_INDEX = 10  #: position in the join
FLOW = 11  #: what comes after, encoded, or the key of it
ON_OK = 12  #: callbacks
ON_ERROR = 13  #: error callbacks
SOFT_LIMIT = 14  #: seconds
HARD_LIMIT = 15  #: seconds
REPLY_TO = 16  #: inbox of the caller
ORIGIN = 17  #: node that sent it
HEADERS = 18  #: the user's own, and trace context
STAMPS = 19  #: stamps of a workflow
SHADOW = 20  #: name to show instead of the task's
ENCODING = 21  #: content encoding of the body (compression)
SCHEMA = 22  #: version of the arguments
RESULT = 23  #: result policy: 0 keep nothing, 1 keep, 2 keep errors only
RESULT_TTL = 24  #: seconds
UNIQUE = 25  #: unique key
LIMITS = 26  #: keys of limits
ORDER = 27  #: order key
DEADLINE = 28  #: wall clock by which a workflow ends
MAX_DELIVERIES = 29  #: recorded starts before the dead letters
UNKNOWN_SINCE = 30  #: wall clock at which a worker first did not know the task
MAX_RETRIES = 31  #: call-time override; -1: no limit
ACK_EARLY = 32  #: call-time override


class Envelope(msgspec.Struct, array_like=True, gc=False):
    """One call of one task. `body` stays encoded: routing, expiry, revoking and retrying never read it."""

    id: str
    task: str
    #: `[args, kwargs]` in the codec named beside it.
    body: bytes
    codec: str
    #: 0 for the first run, one more for each retry.
    attempt: int = 0
    #: 0, one more for each deliberate re-send of a settled task.
    generation: int = 0
    #: Wall clock of the caller.
    sent_at: float = 0.0
    extra: dict[int, Any] = {}

    def but(self, **changes: Any) -> Envelope:
        """A copy with some fields changed; `extra` is shared unless given."""
        return msgspec.structs.replace(self, **changes)


class Carrier(msgspec.Struct, array_like=True):
    """Bytes of a newer version on their way to a worker that can read them."""

    #: Wall clock at which a worker first could not read it.
    first_at: float
    hops: int
    payload: bytes


#: Why a frame is dead: the task failed in a way that no retry mends, or it never could become a task.
DeadKind = Literal["failed", "unprocessable"]


class Dead(msgspec.Struct, array_like=True):
    """A dead letter: the original bytes verbatim, and all that is known about their end."""

    payload: bytes
    #: The queue a requeue sends it to.
    queue: str
    kind: DeadKind
    reason: str
    #: The last error as text, "" for none.
    error: str = ""
    #: Recorded starts.
    deliveries: int = 0
    #: Wall clock of the first sending (of its death where that is unknown) and of its death.
    first_at: float = 0.0
    last_at: float = 0.0
    priority: int = 0
    #: Reserved, as in an envelope.
    extra: dict[int, Any] = {}


_encode = msgspec.msgpack.Encoder().encode
_decode_live = msgspec.msgpack.Decoder(Envelope).decode
_decode_carrier = msgspec.msgpack.Decoder(Carrier).decode
_decode_dead = msgspec.msgpack.Decoder(Dead).decode
_LIVE_BYTE = bytes((LIVE,))
_CARRIER_BYTE = bytes((CARRIER,))
_DEAD_BYTE = bytes((DEAD,))


def encode(envelope: Envelope) -> bytes:
    """The wire form of a call."""
    return _LIVE_BYTE + _encode(envelope)


def decode(payload: bytes) -> Envelope:
    """Read a live frame; `NewerVersion` for a later one, `DecodeError` for everything else."""
    try:
        if payload[0] == LIVE:
            return _decode_live(memoryview(payload)[1:])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DecodeError(f"damaged frame: {error}") from None
    except IndexError:
        raise DecodeError("empty frame") from None
    first = payload[0]
    if LIVE < first <= NEWEST_LIVE:
        raise NewerVersion(f"frame version {first} is newer than {LIVE}, the newest that this release reads")
    raise DecodeError(f"not a frame: first byte 0x{first:02x}")


def encode_carrier(carrier: Carrier) -> bytes:
    """The wire form of a carrier."""
    return _CARRIER_BYTE + _encode(carrier)


def decode_carrier(payload: bytes) -> Carrier | None:
    """Read a carrier; None when the bytes are something else."""
    if payload[:1] != _CARRIER_BYTE:
        return None
    try:
        return _decode_carrier(memoryview(payload)[1:])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def encode_dead(dead: Dead) -> bytes:
    """The wire form of a dead letter."""
    return _DEAD_BYTE + _encode(dead)


def decode_dead(payload: bytes) -> Dead | None:
    """Read a dead letter; None when the bytes are something else, such as a raw frame that a broker moved by itself."""
    if payload[:1] != _DEAD_BYTE:
        return None
    try:
        return _decode_dead(memoryview(payload)[1:])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


# An own generator, not the module-level one: a program that calls random.seed(0) must not make ids collide.
_random = Random(os.urandom(32))
_bits = _random.getrandbits
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _random.seed(os.urandom(32)))


def new_id() -> str:
    """A task id: 128 random bits as 32 hexadecimal digits."""
    return f"{_bits(128):032x}"


def dead_queue(queue: str) -> str:
    """The queue that takes the dead letters of `queue`."""
    return f"{queue}.dead"
