"""The work of every task, and the count of executions that the tasks keep themselves.

A count is eight bytes of mapped memory per process: no system call and no lock, so it costs all systems the same next
to nothing (0.2 us). A second file has one byte per task, so that a task that never ran or ran twice is seen.
"""

from __future__ import annotations

import json
import mmap
import os
from typing import NamedTuple

#: Tasks of a chain.
STEPS = 20
#: Lengths of the chains whose messages are measured.
LENGTHS = (2, 20, 200, 2000)
#: Environment variable with the order as JSON.
VARIABLE = "PEERS_ORDER"


class Order(NamedTuple):
    """What one run is to do; the workers and the client of a run read the same."""

    variant: str = ""
    broker: str = "redis://127.0.0.1:1/0"
    results: str = "redis://127.0.0.1:1/0"
    #: Whether results are stored.
    kept: bool = False
    #: Tasks of the run; each is called with a number below this.
    tasks: int = 1
    #: Folder of the counts.
    marks: str = ""
    #: Rounds of the loop of a task that computes.
    burn: int = 0
    #: Name of the task that is sent: noop or burn.
    task: str = "noop"


ORDER = Order(**json.loads(os.environ.get(VARIABLE, "{}")))

_count: memoryview | None = None
_seen: memoryview = memoryview(b"")


def hit(number: int) -> None:
    """Count one execution of the task with this number."""
    if _count is None:
        _open()
    assert _count is not None
    _count[0] += 1
    _seen[number] += 1


def _open() -> None:
    """Map the files of this process: at its first task, because most systems fork before that."""
    global _count, _seen
    _seen = _mapped(f"{ORDER.marks}/seen", ORDER.tasks)
    _count = _mapped(f"{ORDER.marks}/count-{os.getpid()}", 8).cast("Q")


def _mapped(path: str, size: int) -> memoryview:
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        os.truncate(file, size)
        return memoryview(mmap.mmap(file, size))
    finally:
        os.close(file)


def noop(number: int) -> int:
    """The task that does nothing."""
    hit(number)
    return number


def step(before: object, number: int) -> int:
    """A step of a chain: it is given what the one before has returned."""
    hit(number)
    return number


def last(values: list[int]) -> int:
    """The body of a chord: the task after its members."""
    hit(len(values))
    return len(values)


def burn(number: int) -> int:
    """The task that computes for about two milliseconds."""
    hit(number)
    spin(ORDER.burn)
    return number


def spin(rounds: int) -> int:
    """Keep a core busy."""
    total = 0
    for number in range(rounds):
        total += number * number
    return total
