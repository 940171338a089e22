"""How a task ended, and the record of it that stands in the store. Pure data.

An `Outcome` is what one execution came to; an `Entry` is what a result store keeps of it and what every reader,
the caller's `AsyncResult` and a worker that meets the task again, decides by.
"""

from __future__ import annotations

import traceback
from typing import Annotated, Any, Literal

import msgspec

from kernel.compression import PACKED, Pack, unpacked
from kernel.envelope import DeadKind, Envelope
from kernel.errors import DecodeError

State = Literal["PENDING", "UNKNOWN", "STARTED", "RETRY", "REPLACED", "SUCCESS", "FAILURE", "REVOKED", "EXPIRED"]

#: States that no other state of the same generation follows.
FINAL: frozenset[str] = frozenset({"SUCCESS", "FAILURE", "REVOKED", "EXPIRED"})
#: States after which the task does not run again. REPLACED is not final: its result is that of what runs in its place.
DECIDED: frozenset[str] = FINAL | {"REPLACED"}
#: Attempt and fence of a record that stands against all others of its generation.
MOST = 2**31 - 1

#: Longest name of a state, in characters.
LONGEST_STATE = 64
#: A traceback longer than this keeps its head and its tail, in characters; a recursion error has a megabyte of it.
TRACEBACK_LIMIT = 20_000
#: An exception's text beyond this is cut, in characters.
MESSAGE_LIMIT = 10_000


class Error(msgspec.Struct, array_like=True, frozen=True):
    """An exception as data: it can be read without the class that it came from, and never runs code."""

    type: str
    message: str
    traceback: str = ""


class ErrorInfo(msgspec.Struct, frozen=True):
    """An exception as the hooks of a task get it; its text is the formatted traceback."""

    exception: BaseException
    traceback: str

    def __str__(self) -> str:
        return self.traceback


class Ok(msgspec.Struct):
    """The task returned; `value` is encoded already."""

    value: bytes


class Failed(msgspec.Struct):
    """The task ended in an error that no retry mends. With `dead`, its message goes to the dead letters."""

    error: Error
    dead: DeadKind | None = None
    reason: str = ""
    #: An end that the task declares with `throws`: it is no reason to log a traceback.
    expected: bool = False


class Again(msgspec.Struct):
    """Send it on, not before `at`. A retry counts as an attempt; a hop (too early, unknown here) does not."""

    at: float
    error: Error | None = None
    hop: bool = False
    #: Wall clock at which the task was first unknown to a worker, carried along by a hop; 0.0 when it is known.
    since: float = 0.0
    #: A hop that the task asked for: it ran, and wants to run later without a retry.
    snoozed: bool = False
    #: The call and the queue of a retry that changes them; None and "" leave them.
    call: Envelope | None = None
    queue: str = ""


class Drop(msgspec.Struct):
    """Acknowledge and do nothing more; `state` is recorded unless it is None."""

    reason: str
    state: State | None = None


class GiveBack(msgspec.Struct):
    """The body was cancelled before it ended, by a worker that stops: the message is released, nothing is recorded."""


class Replaced(msgspec.Struct):
    """Another workflow runs in its place, and has its value."""

    #: A `kernel.canvas.Flow`, which builds on this module.
    flow: Any


#: What an execution comes to whose record stands behind that of a later one: that one answers for the task.
OVERTAKEN = Drop("a later execution has taken over")

Outcome = Ok | Failed | Again | Drop | GiveBack | Replaced


class Entry(msgspec.Struct, array_like=True):
    """The value of a stored record."""

    #: One of `State`, or one of the task's own while it runs: then the body is what it says of it.
    state: Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_STATE)]
    #: Codec of `body`; "" where there is none.
    codec: str = ""
    #: The encoded return value.
    body: bytes = b""
    error: Error | None = None
    #: Wall clock of the write.
    at: float = 0.0
    attempt: int = 0
    #: The task's message goes, or went, to the dead letters for this reason: a repeated settlement repeats it.
    dead: DeadKind | None = None
    reason: str = ""
    #: Where it runs or ran.
    node: str = ""
    #: Wall clock of the next run, for RETRY.
    retry_at: float = 0.0
    #: Id of the task of its workflow that decided this one without its having run; "": it was itself.
    cause: str = ""
    #: Ids of what it sent while it ran.
    children: list[str] = []
    #: The value is a list of results, its own first: who collects the results of its group is given them one by one.
    spread: bool = False


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Entry).decode


def encode_entry(entry: Entry, pack: Pack | None = None) -> bytes:
    """The stored form of an entry, as `pack` makes it smaller."""
    return _encode(entry) if pack is None else pack(_encode(entry))


def decode_entry(value: bytes) -> Entry:
    """Read a stored form, packed or not; `DecodeError` when it is none."""
    try:
        return _decode(value if value[:1] != PACKED else unpacked(value))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:  # ValueError: text that is not UTF-8
        raise DecodeError(f"damaged result record: {error}") from None


def value_key(id: str, position: int) -> str:
    """The key of a value that a task emits while it runs."""
    return f"{id}:value:{position}"


def name_of(kind: type[BaseException]) -> str:
    """The type of an exception as records name it: with its module, unless it is a builtin."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def describe(error: BaseException) -> Error:
    """An exception with its traceback as data. Never raises, whatever the exception's own `__str__` does."""
    name = name_of(type(error))
    try:
        message = str(error)
    except BaseException as inner:
        message = f"<no text: {type(inner).__name__} in __str__>"
    try:
        text = "".join(traceback.format_exception(error))
    except BaseException as inner:
        text = f"{name}: {message}\n<no traceback: {type(inner).__name__} while formatting>\n"
    return Error(printable(name), _clip(message, MESSAGE_LIMIT), _clip(text, TRACEBACK_LIMIT))


def printable(value: object) -> str:
    """The text of a value as it can be stored: of bounded length, and UTF-8. Raises what its `__str__` raises."""
    return _clip(str(value), MESSAGE_LIMIT)


def _clip(text: str, limit: int) -> str:
    """Keep head and tail. Lone surrogates become escapes, because what cannot be UTF-8 cannot be stored."""
    text = str.__str__(text)  # of a subclass, whose methods may do anything, the plain text
    if len(text) > limit:
        text = f"{text[: limit // 2]}\n... {len(text) - limit} characters left out ...\n{text[-limit // 2 :]}"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
