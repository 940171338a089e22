"""What the two pure functions ask for, and what they are told.

`lower` and `advance` are generators. Each `yield` is one of these requests, and is given the answer; who drives them
does the I/O, and may drive many at once, so that the requests of a batch of tasks become one call of each port. Giving
up at any request and starting again later is always right.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import msgspec

from kernel.canvas.frames import Parcel, Place
from kernel.outcome import Error, State


class Value(msgspec.Struct, frozen=True):
    """A result, encoded."""

    body: bytes
    codec: str
    #: A list, whose items are results of as many members.
    spread: bool = False


class Inputs(msgspec.Struct, array_like=True, frozen=True):
    """The list of a group's results, of `member_id(group, i)` for each `i` below `size`, looked up when it runs."""

    group: str
    size: int


class Failure(msgspec.Struct, frozen=True):
    """Which task failed, and how: the argument of error callbacks."""

    id: str
    task: str
    error: Error

    def told(self) -> dict[str, str]:
        """As an error callback gets it."""
        return {"id": self.id, "task": self.task, "type": self.error.type, "message": self.error.message}


#: What is put before the arguments of a task; None: nothing.
Given = Value | Inputs | Failure | None


class Send(msgspec.Struct, frozen=True):
    """One message."""

    id: str
    call: Parcel
    given: Given
    root: str
    parent: str
    generation: int
    place: Place
    #: The wire form of what comes after; b"": nothing.
    rest: bytes


class Kept(msgspec.Struct, frozen=True):
    """A record of a workflow in the result store. `first`: the first one of a generation stands."""

    key: str
    value: bytes
    generation: int
    first: bool = False
    #: It is the record of a join, whose members are going to be counted.
    join: bool = False


class Verdict(msgspec.Struct, frozen=True):
    """The final record of a task that another one (`cause`) has decided: a failure without a value, else a success.

    Written with the highest rank of its generation, so that it stands against a start, and against everything later.
    """

    id: str
    cause: str
    generation: int
    error: Error | None
    value: Value | None = None


class Keep(msgspec.Struct, frozen=True):
    """Put records. Answer: None."""

    items: list[Kept]


class Decide(msgspec.Struct, frozen=True):
    """Put verdicts. Answer, for each: whether the record that stands has this `cause`."""

    verdicts: list[Verdict]


class Get(msgspec.Struct, frozen=True):
    """Read a record. Answer: its value, or None."""

    key: str


class Count(msgspec.Struct, frozen=True):
    """Add a member to a set. Answer: how many it has now."""

    join: str
    member: str


class Post(msgspec.Struct, frozen=True):
    """Send messages. Answer: None."""

    sends: list[Send]


Request = Keep | Decide | Get | Count | Post
Requests = Generator[Request, Any, None]


class Settled(msgspec.Struct, frozen=True):
    """A message of a workflow, and the record that stands for its task."""

    id: str
    task: str
    generation: int
    root: str
    place: Place
    #: The `FLOW` of its envelope; b"" without one.
    rest: bytes
    state: State | str
    value: Value | None = None
    error: Error | None = None
    #: Who decided it, where it was not the task itself.
    cause: str = ""
