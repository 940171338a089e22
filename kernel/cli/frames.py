"""What a message is, for people and programs: live calls, carriers, dead letters and bytes that are none of them."""

from __future__ import annotations

from typing import Any

from kernel import envelope as wire
from kernel.dead import Letter, read_letter
from kernel.envelope import Envelope, dead_queue, decode, decode_carrier
from kernel.errors import DecodeError
from kernel.sealing.transport import Read, read_plain
from kernel.serializers.json_ import JsonSerializer

#: Optional fields of an envelope by the name that people know; the others are of no use to them.
NAMES = {
    wire.ETA: "eta",
    wire.EXPIRES_AT: "expires_at",
    wire.PRIORITY: "priority",
    wire.HOP: "hops",
    wire.ROOT: "root_id",
    wire.PARENT: "parent_id",
    wire.GROUP: "group",
    wire.SOFT_LIMIT: "soft_time_limit",
    wire.HARD_LIMIT: "time_limit",
    wire.ORIGIN: "origin",
    wire.HEADERS: "headers",
    wire.MAX_RETRIES: "max_retries",
    wire.MAX_DELIVERIES: "max_deliveries",
}

_DEAD = dead_queue("")
_loads = JsonSerializer().loads


def described(payload: bytes, queue: str = "", read: Read = read_plain) -> dict[str, Any]:
    """A message found in `queue` as plain data; `frame` is live, carrier, dead, sealed (closed here) or unknown."""
    letter = read_letter(payload, queue.removesuffix(_DEAD), read)
    if letter.payload is not payload:
        return {"frame": "dead", **letter_described(letter)}
    size = len(payload)
    if letter.fault:
        return {"frame": "sealed", "reason": letter.fault, "bytes": size}
    carrier = decode_carrier(letter.frame)
    if carrier is not None:
        return {"frame": "carrier", "first_at": carrier.first_at, "hops": carrier.hops, "bytes": size}
    try:
        return {"frame": "live", **call_described(decode(letter.frame)), "bytes": size}
    except DecodeError as error:
        return {"frame": "unknown", "reason": str(error), "bytes": size}


def call_described(envelope: Envelope) -> dict[str, Any]:
    """A call. Arguments are decoded where that runs no code, which is JSON; else they are None."""
    args, kwargs = arguments(envelope)
    return {
        "id": envelope.id,
        "task": envelope.task,
        "args": args,
        "kwargs": kwargs,
        "codec": envelope.codec,
        "retries": envelope.attempt,
        "generation": envelope.generation,
        "sent_at": envelope.sent_at or None,
        **{name: envelope.extra[field] for field, name in NAMES.items() if field in envelope.extra},
    }


def arguments(envelope: Envelope) -> tuple[Any, Any]:
    """Positional and keyword arguments; (None, None) where they cannot be read safely."""
    if envelope.codec != JsonSerializer.name:
        return None, None
    try:
        args, kwargs = _loads(envelope.body)
    except (DecodeError, TypeError, ValueError):
        return None, None
    return args, kwargs


def letter_described(letter: Letter) -> dict[str, Any]:
    """A dead letter and the call in it."""
    call = {} if letter.envelope is None else call_described(letter.envelope)
    return {
        "id": letter.id,
        "task": letter.task,
        "queue": letter.queue,
        "kind": letter.kind,
        "reason": letter.reason,
        "summary": letter.summary,
        "error": letter.error,
        "deliveries": letter.deliveries,
        "first_at": letter.first_at or None,
        "last_at": letter.last_at or None,
        "priority": letter.priority,
        "bytes": len(letter.payload),
        "call": call or None,
    }
