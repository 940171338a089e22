"""Messages of workflows: from what is to be sent to an envelope, and from an envelope back to its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kernel import envelope as wire
from kernel.canvas.effects import Failure, Given, Inputs, Send, Value
from kernel.canvas.frames import Deliver, Parcel, Place, Scope, decode_frame, decode_rest
from kernel.envelope import Envelope

#: A value of more bytes is not copied into the message that takes it, which then says whose result it is: no message
#: is refused for what a task has returned.
REFERENCE = 32 * 1024
#: In place of a size: the result of one task and not of a group.
ONE = -1


def envelope_of(send: Send, now: float) -> Envelope:
    """The call to be sent, at this wall clock."""
    call, rare, place = send.call, send.call.rare, send.place
    extra: dict[int, Any] = {**rare.extra, wire.ROOT: send.root, wire.FLOW: send.rest}
    if send.parent:
        extra[wire.PARENT] = send.parent
    if place.group:
        extra[wire.GROUP] = place.group
        if place.index >= 0:
            extra[wire.JOIN_INDEX] = place.index
        if place.size >= 0:
            extra[wire.JOIN_SIZE] = place.size
        if place.join:
            extra[wire.JOIN] = place.join
    if rare.eta is not None or rare.countdown is not None:
        extra[wire.ETA] = max(now, rare.eta or 0.0) + (rare.countdown or 0.0)
    if rare.expires is not None:
        extra[wire.EXPIRES_AT] = now + rare.expires
    body, told = _given(call, send.given, send.parent)
    if told is not None:
        extra[wire.INPUTS] = told
    return Envelope(send.id, call.task, body, call.codec, 0, send.generation, now, extra)


def _given(call: Parcel, given: Given, sender: str) -> tuple[bytes, Any]:
    """The body with what is put before its arguments, or the body and what `INPUTS` says of it.

    Only JSON is put into JSON here, by its text. What would have to be decoded for that is left to who runs the task,
    and decides whose codecs it trusts.
    """
    match given:
        case None:
            return call.body, None
        case Inputs(group, size):
            return call.body, [group, size]
        case Failure():
            return call.body, given.told()
        case Value(value, codec):
            plain = call.body.startswith(b"[[") and wire.ENCODING not in call.rare.extra
            if plain and codec == call.codec == "json" and len(value) <= REFERENCE:
                rest = call.body[2:]
                return b"".join((b"[[", value, b"" if rest.startswith(b"]") else b",", rest)), None
            return call.body, [sender, ONE]


def counted(envelope: Envelope) -> tuple[str, str, int] | None:
    """Its join, its member there and the size of that, where all that a success brings about is to be counted.

    Such a member causes nothing unless it sees its join full: thousands of them are counted, and only the last ones
    asked what they cause.
    """
    extra = envelope.extra
    index, size = extra.get(wire.JOIN_INDEX), extra.get(wire.JOIN_SIZE)
    if index is None or size is None or envelope.generation or extra.get(wire.FLOW) or not extra.get(wire.JOIN):
        return None
    return extra[wire.JOIN], str(index), size


def place_of(extra: Mapping[int, Any]) -> Place:
    """Where the value of a message belongs."""
    group = extra.get(wire.GROUP, "")
    if not group:
        return Place()
    return Place(group, extra.get(wire.JOIN, ""), extra.get(wire.JOIN_INDEX, -1), extra.get(wire.JOIN_SIZE, -1))


def extensible(extra: Mapping[int, Any]) -> bool:
    """Whether a message is the end of a member of a group that something waits for: its value goes to no other task."""
    if not extra.get(wire.JOIN):
        return False
    rest = extra.get(wire.FLOW)
    return not rest or all(isinstance(decode_frame(frame), Deliver | Scope) for frame in decode_rest(rest).frames)
