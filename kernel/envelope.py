"""The wire: what travels through a transport, and nothing else in kernel knows it.

Every frame starts with one byte that says what follows; the rest is MessagePack (https://msgpack.org), so that
another language can join. `docs/wire.md` has the layout with test vectors.

    0x01  live     [id, task, body, codec, attempt, generation, sent_at, extra]
    0x02..0x1F     live frames of later versions
    0xC0  carrier  [first_at, hops, payload]: bytes this release cannot read yet, sent on for a while
    0xE0  sealed   [key, sent_at, eta, box]: any other frame, signed or encrypted
    0xD0  dead     [payload, queue, kind, reason, error, deliveries, first_at, last_at, priority, extra]

Parsing is total: any bytes whatsoever end as a frame or as `DecodeError`. What it lets through is safe to use
without a second look: numbers and times are in their ranges, every known optional field has its type, and a frame
that was read can be written again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from kernel.errors import DecodeError, EncodeError, NewerVersion, SealError

LIVE = 0x01
NEWEST_LIVE = 0x1F
CARRIER = 0xC0
DEAD = 0xD0
SEALED = 0xE0

# Optional fields of an envelope, by small integer. A number is never reused. Fields that this release does not
# know survive a retry, a hop and the dead letters, because `extra` is carried as it came. Those of inboxes, and ON_OK,
# ON_ERROR, ORDER and DEADLINE, are reserved: this release carries them and no more.
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
FLOW = 11  #: what comes after in its workflow, encoded (`kernel.canvas.frames`); empty for nothing
ON_OK = 12  #: callbacks
ON_ERROR = 13  #: error callbacks
SOFT_LIMIT = 14  #: seconds
HARD_LIMIT = 15  #: seconds
REPLY_TO = 16  #: inbox of the caller
ORIGIN = 17  #: node that sent it
HEADERS = 18  #: the user's own, and trace context
STAMPS = 19  #: stamps of a workflow
SHADOW = 20  #: name to show instead of the task's
ENCODING = 21  #: how the body is packed; see `kernel.compression`
SCHEMA = 22  #: version of the arguments, 1 without it
RESULT = 23  #: result policy: 0 keep nothing, 1 keep, 2 keep errors only
RESULT_TTL = 24  #: seconds
UNIQUE = 25  #: [key, scope, replaceable, ttl]; scope 0: for a period, 1: until it starts, 2: until it is done
LIMITS = 26  #: [key, limit] (at once) and [key, limit, per, burst] (starts), the latter with when they are paid for
ORDER = 27  #: order key
DEADLINE = 28  #: wall clock by which a workflow ends
MAX_DELIVERIES = 29  #: recorded starts before the dead letters
UNKNOWN_SINCE = 30  #: wall clock at which a worker first did not know the task
MAX_RETRIES = 31  #: call-time override; -1: no limit
ACK_EARLY = 32  #: call-time override
FENCE = 33  #: redeliveries and hand-overs of the messages that this one goes on from
JOIN_SIZE = 34  #: members of the join in all
INPUTS = 35  #: what is put before the arguments: [group, size], the results of its members; [id, -1], that of a task;
#: or a map, itself

#: The last second of the year 9999: a larger `*_at` value could not be printed. NaN and inf are out of range too.
LATEST = 253402300799.0
#: Largest count. Every language has a type for it, and one more still fits.
MOST = 2**31 - 1
#: How deep lists and maps in an optional field may nest; without a bound a frame that was read on a shallow stack
#: could not be written again on a deeper one.
NESTING = 32
#: Most limits of one message.
MOST_LIMITS = 32

Name = Annotated[str, Meta(min_length=1)]
Count = Annotated[int, Meta(ge=0, le=MOST)]
Moment = Annotated[float, Meta(ge=0.0, le=LATEST)]
Priority = Annotated[int, Meta(ge=0, le=9)]


class Envelope(msgspec.Struct, array_like=True, gc=False):
    """One call of one task. `body` stays encoded: routing, expiry, revoking and retrying never read it."""

    id: Name
    task: Name
    #: `[args, kwargs]` in the codec named beside it.
    body: bytes
    codec: str
    #: 0 for the first run, one more for each retry.
    attempt: Count = 0
    #: 0, one more for each deliberate re-send of a settled task.
    generation: Count = 0
    #: Wall clock of the caller.
    sent_at: Moment = 0.0
    extra: dict[int, Any] = {}

    def but(self, **changes: Any) -> Envelope:
        """A copy with some fields changed; `extra` is shared unless given."""
        return msgspec.structs.replace(self, **changes)


class Carrier(msgspec.Struct, array_like=True):
    """Bytes of a newer version on their way to a worker that can read them."""

    #: Wall clock at which a worker first could not read it.
    first_at: Moment
    hops: Count
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
    #: Deliveries of the message, its last one included; 0 when unknown.
    deliveries: Count = 0
    #: Wall clock of the first sending (of its death where that is unknown) and of its death.
    first_at: Moment = 0.0
    last_at: Moment = 0.0
    priority: Priority = 0
    #: Reserved, as in an envelope.
    extra: dict[int, Any] = {}


class Sealed(msgspec.Struct, array_like=True, gc=False):
    """A frame, or the value of a result, that only who has a key could write."""

    #: Id of the key.
    key: Name
    #: Wall clock of the sealing, by who sealed it.
    sent_at: Moment
    #: Not before; 0.0: at once.
    eta: Moment
    #: What the key made of the bytes: the business of the `Seal` port.
    box: bytes


# -- optional fields ---------------------------------------------------------------------------------------


def _mapping(value: Any) -> bool:
    return type(value) is dict


def _inputs(value: Any) -> bool:
    if type(value) is dict:
        return True
    return type(value) is list and len(value) == 2 and type(value[0]) is str and _whole(-1, MOST)(value[1])


def _limits(value: Any) -> bool:
    return type(value) is list and len(value) <= MOST_LIMITS and all(map(_limit, value))


def _limit(value: Any) -> bool:
    if type(value) is not list or len(value) not in (2, 4, 5) or not _key(value[0]):
        return False
    if len(value) == 2:
        return type(value[1]) is int and 0 < value[1] <= MOST
    return all(map(_seconds, value[1:])) and value[1] > 0 < value[2] and (value[3] == 0 or value[3] >= 1)


def _unique(value: Any) -> bool:
    if type(value) is not list or len(value) != 4:
        return False
    key, scope, replaceable, ttl = value
    scoped = type(scope) is int and 0 <= scope <= 2 and type(replaceable) is bool
    return _key(key) and scoped and _seconds(ttl) and ttl > 0


def _key(value: Any) -> bool:
    return type(value) is str and value != ""


def _whole(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and low <= value <= high


def _seconds(value: Any) -> bool:
    return (type(value) is float or type(value) is int) and 0 <= value <= LATEST


#: What a known field must be, of those that have one type and in which nothing nests. Numbers are counts.
_PLAIN: dict[int, type] = {
    **dict.fromkeys((ROOT, PARENT, GROUP, JOIN, HOME, REPLY_TO, ORIGIN, SHADOW, ENCODING, ORDER), str),
    **dict.fromkeys((JOIN_INDEX, JOIN_SIZE, HOP, SCHEMA, MAX_DELIVERIES, FENCE), int),
    FLOW: bytes,
    ACK_EARLY: bool,
}
#: What the others must be; the two sorts of callbacks are the business of the workflows.
_CHECKS: dict[int, Callable[[Any], bool]] = {
    **dict.fromkeys((ETA, EXPIRES_AT, DEADLINE, UNKNOWN_SINCE, SOFT_LIMIT, HARD_LIMIT, RESULT_TTL), _seconds),
    **dict.fromkeys((HEADERS, STAMPS), _mapping),
    PRIORITY: _whole(0, 9),
    RESULT: _whole(0, 2),
    MAX_RETRIES: _whole(-1, MOST),
    INPUTS: _inputs,
    LIMITS: _limits,
    UNIQUE: _unique,
}


def _nested(value: Any, room: int) -> bool:
    """Whether lists and maps nest deeper than `room` levels."""
    if type(value) is dict:
        return room == 0 or any(_nested(item, room - 1) for pair in value.items() for item in pair)
    if type(value) is list or type(value) is tuple:
        return room == 0 or any(_nested(item, room - 1) for item in value)
    return False


def fault_of(extra: Mapping[int, Any]) -> str:
    """What is wrong with optional fields, "" when nothing is: asked before a send, and of everything that arrives.

    A message of a workflow has six or more, most of them plain, and those cost no call.
    """
    for number, value in extra.items():
        kind = type(value)
        if kind is not _PLAIN.get(number) or (kind is int and not 0 <= value <= MOST):
            fault = _fault(number, value)
            if fault:
                return fault
    return ""


def _fault(number: int, value: Any) -> str:
    if number in _PLAIN or (number in _CHECKS and not _CHECKS[number](value)):
        return f"optional field {number} cannot be {_short(value)}"
    return f"optional field {number} nests deeper than {NESTING} levels" if _nested(value, NESTING) else ""


def _short(value: Any) -> str:
    return f"{value!r:.40}" if isinstance(value, str | bytes | int | float) else f"a {type(value).__name__}"


# -- frames ------------------------------------------------------------------------------------------------

_pack = msgspec.msgpack.Encoder().encode
_decode_live = msgspec.msgpack.Decoder(Envelope).decode
_decode_carrier = msgspec.msgpack.Decoder(Carrier).decode
_decode_dead = msgspec.msgpack.Decoder(Dead).decode
_decode_sealed = msgspec.msgpack.Decoder(Sealed).decode
_LIVE_BYTE = bytes((LIVE,))
_CARRIER_BYTE = bytes((CARRIER,))
_DEAD_BYTE = bytes((DEAD,))
_SEALED_BYTE = bytes((SEALED,))
_FAULTS = (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError)


def _encode(frame: Envelope | Carrier | Dead | Sealed) -> bytes:
    try:
        return _pack(frame)
    except _FAULTS as error:
        raise EncodeError(f"no MessagePack form: {error}") from None


def encode(envelope: Envelope) -> bytes:
    """The wire form of a call; `EncodeError` when a value in `extra` has none."""
    return _LIVE_BYTE + _encode(envelope)


def decode(payload: bytes) -> Envelope:
    """Read a live frame; `NewerVersion` for a later one, `DecodeError` for everything else."""
    if payload[:1] == _LIVE_BYTE:
        try:
            envelope = _decode_live(memoryview(payload)[1:])
        except _FAULTS as error:
            raise DecodeError(f"damaged frame: {error}") from None
        if envelope.extra:
            fault = fault_of(envelope.extra)
            if fault:
                raise DecodeError(f"damaged frame: {fault}")
        return envelope
    if not payload:
        raise DecodeError("empty frame")
    first = payload[0]
    if LIVE < first <= NEWEST_LIVE:
        raise NewerVersion(f"frame version {first} is newer than {LIVE}, the newest that this release reads")
    if first == SEALED:
        raise SealError(locked(payload))
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
    except _FAULTS:
        return None


def encode_dead(dead: Dead) -> bytes:
    """The wire form of a dead letter; `EncodeError` when a value in `extra` has none."""
    return _DEAD_BYTE + _encode(dead)


def decode_dead(payload: bytes) -> Dead | None:
    """Read a dead letter; None when the bytes are something else, such as a raw frame that a broker moved by itself."""
    if payload[:1] != _DEAD_BYTE:
        return None
    try:
        dead = _decode_dead(memoryview(payload)[1:])
    except _FAULTS:
        return None
    return None if any(_nested(value, NESTING) for value in dead.extra.values()) else dead


def encode_sealed(sealed: Sealed) -> bytes:
    """The wire form of something sealed."""
    return _SEALED_BYTE + _encode(sealed)


def decode_sealed(payload: bytes) -> Sealed | None:
    """Read what is around something sealed; None when the bytes are something else. `SealError` for a damaged one."""
    if payload[:1] != _SEALED_BYTE:
        return None
    try:
        return _decode_sealed(memoryview(payload)[1:])
    except _FAULTS as error:
        raise SealError(f"damaged sealed frame: {error}") from None


def bound_to(purpose: str, place: str, sealed: Sealed) -> bytes:
    """What a seal binds beside the bytes themselves: what they are for, where they belong, which key, and when."""
    return _SEALED_BYTE + _pack((purpose, place, sealed.key, sealed.sent_at, sealed.eta))


def locked(payload: bytes) -> str:
    """What to say of something sealed where no seal is configured."""
    try:
        sealed = decode_sealed(payload)
    except SealError as error:
        return str(error)
    key = "" if sealed is None else f" with the key {sealed.key!r:.80}"
    return f"sealed{key}, and no seal is configured here: set seal= (KERNEL_SEAL) to the keys that open it"


# -- names -------------------------------------------------------------------------------------------------


def dead_queue(queue: str) -> str:
    """The queue that takes the dead letters of `queue`."""
    return f"{queue}.dead"
