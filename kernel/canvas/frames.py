"""Workflows as they travel: a stack of frames that says what comes after a task.

`lower` makes frames of a workflow, `advance` takes them off one by one. The stack of a message is in its envelope
(`FLOW`); that of a join is in the join's record, and members carry only where they belong (`JOIN`, `JOIN_INDEX`,
`JOIN_SIZE`, `GROUP`). Stacks inside of frames stay encoded until they are started, so a step decodes and copies no
more than what is next to it, nothing nests on the wire, and the size is linear in the number of tasks.

Ids are derived. A frame has the number of its task within its *base*; number 0 is the base itself, the id under which
the end of a flow leaves its result. The base of the workflow is the id that its caller holds, the base of member `i`
of a group is derived from the group and `i`. So a step that is repeated makes the same ids again, no id is written
down for each of a thousand steps, and the results of a group are found by counting.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import msgspec

from kernel.errors import DecodeError


class Rare(msgspec.Struct, omit_defaults=True, frozen=True):
    """What most calls do not have."""

    #: Optional fields of its envelope.
    extra: dict[int, Any] = msgspec.field(default_factory=dict, name="x")
    #: Seconds from its sending, or from `eta` where that is later, to its start.
    countdown: float | None = msgspec.field(default=None, name="c")
    #: Wall clock, not before.
    eta: float | None = msgspec.field(default=None, name="e")
    #: Seconds from its sending after which it is not started any more.
    expires: float | None = msgspec.field(default=None, name="l")
    #: It takes no value from what comes before.
    immutable: bool = msgspec.field(default=False, name="i")
    #: Where the transport has exchanges: sent there, with this key.
    exchange: str = msgspec.field(default="", name="t")
    routing_key: str = msgspec.field(default="", name="k")


class Parcel(msgspec.Struct, array_like=True, frozen=True):
    """One call, ready to be sent but for the value that is put before its arguments, and for its ids."""

    task: str
    #: `[args, kwargs]`, encoded.
    body: bytes
    codec: str
    queue: str
    rare: Rare = Rare()


class Link(msgspec.Struct, array_like=True, frozen=True):
    """A callback: the stack of a flow, whose base has this number."""

    n: int
    flow: bytes


class Step(msgspec.Struct, array_like=True, tag=1, frozen=True):
    """Send this task."""

    n: int
    call: Parcel


class Fan(msgspec.Struct, array_like=True, tag=2, frozen=True):
    """Start these flows beside each other. With a body, wait for all of them and go on with it."""

    n: int
    members: list[bytes]
    #: What takes the list of results: the stack begins with a step. None: nobody waits.
    body: bytes | None
    #: A task that is sent with the members and ends the join when it is late.
    watch: Parcel | None = None


class Sub(msgspec.Struct, array_like=True, tag=3, frozen=True):
    """Start this stack, whose end, or failure, starts callbacks."""

    flow: bytes
    callbacks: list[Link]
    errbacks: list[Link]


class Scope(msgspec.Struct, array_like=True, tag=4, frozen=True):
    """The end of what a `Sub` started."""

    callbacks: list[Link]
    errbacks: list[Link]


class Deliver(msgspec.Struct, array_like=True, tag=5, frozen=True):
    """The value is the result of this task, which was replaced; what follows has its base."""

    id: str
    base: str


class More(msgspec.Struct, array_like=True, tag=6, frozen=True):
    """The frames that belong here are in the result store."""

    key: str


Frame = Step | Fan | Sub | Scope | Deliver | More
#: Frames that are not looked into before it is their turn.
Stack = list[msgspec.Raw]


class Place(msgspec.Struct, array_like=True, frozen=True):
    """Where the value at the end of a stack goes: it is number `index` of a group."""

    group: str = ""
    #: The key of the join; "": nobody waits.
    join: str = ""
    #: -1: no member, but what ends the join when it is late.
    index: int = 0
    #: Members in all; -1: the seal says so.
    size: int = 0


class Rest(msgspec.Struct, array_like=True, frozen=True):
    """What comes after a task: the wire form of `FLOW`."""

    base: str
    frames: Stack = []


class Join(msgspec.Struct, array_like=True, frozen=True):
    """The record of a join: what goes on when it is full, or when one of its members has failed."""

    rest: Rest
    place: Place
    group: str
    size: int
    root: str
    parent: str
    generation: int


_encode = msgspec.msgpack.Encoder().encode
_DECODERS: dict[Any, Any] = {kind: msgspec.msgpack.Decoder(kind) for kind in (list[Frame], Stack, Frame, Rest, Join)}


def encode(value: Rest | Join | Stack | list[Frame] | Frame) -> bytes:
    """The wire form."""
    return _encode(value)


def raw(frame: Frame) -> msgspec.Raw:
    """A frame as it is in a stack."""
    return msgspec.Raw(_encode(frame))


def decode_frame(data: bytes | msgspec.Raw) -> Frame:
    """Read one frame; `DecodeError` for anything else."""
    return _decoded(Frame, data)  # type: ignore[no-any-return]


def decode_frames(data: bytes) -> list[Frame]:
    """Read a stack and all frames in it; `DecodeError` for anything else."""
    return _decoded(list[Frame], data)  # type: ignore[no-any-return]


def decode_stack(data: bytes) -> Stack:
    """Read a stack; `DecodeError` for anything else."""
    return _decoded(Stack, data)  # type: ignore[no-any-return]


def decode_rest(data: bytes) -> Rest:
    """Read what comes after a task; `DecodeError` for anything else."""
    return _decoded(Rest, data)  # type: ignore[no-any-return]


def decode_join(data: bytes) -> Join:
    """Read the record of a join; `DecodeError` for anything else."""
    return _decoded(Join, data)  # type: ignore[no-any-return]


def _decoded(kind: Any, data: bytes | msgspec.Raw) -> Any:
    try:
        return _DECODERS[kind].decode(data)
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise DecodeError(f"damaged workflow: {error}") from None


def derive(id: str, position: int | str) -> str:
    """The id of what is at a position of something: the same whenever it is asked for.

    It keeps the time that a task id begins with, so that the tasks of a workflow are neighbours in an index, and has 80
    bits of a hash, as many as a new id has of chance.
    """
    digest = blake2b(f"{id}/{position}".encode("utf-8", "surrogatepass"), digest_size=10).hexdigest()
    return id[:12] + digest


def numbered(base: str, n: int) -> str:
    """The id of number `n` of a base."""
    return derive(base, n) if n else base


def member_id(group: str, index: int) -> str:
    """The base of member `index` of a group, and the id of its result; no number of anything else."""
    return derive(group, f"[{index}]")


def member_ids(group: str, size: int) -> list[str]:
    """The ids of all members of a group; what is the same in each is hashed once."""
    begun = blake2b(f"{group}/[".encode("utf-8", "surrogatepass"), digest_size=10)
    head = group[:12]
    ids = []
    for index in range(size):
        digest = begun.copy()
        digest.update(b"%d]" % index)
        ids.append(head + digest.hexdigest())
    return ids


def join_key(group: str, generation: int) -> str:
    """The key of the join of a group, one for each time that it is deliberately started again."""
    return f"{group}:join:{generation}"


def seal_key(join: str) -> str:
    """The key of the record that says how many members a join has that did not know it at first."""
    return f"{join}:seal"


def replacement_key(id: str) -> str:
    """The key of the record that says what a task was replaced by."""
    return f"{id}:replacement"
