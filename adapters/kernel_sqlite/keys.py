"""The key of a message: queue, priority and sequence in one integer, so that key order is delivery order."""

from __future__ import annotations

from typing import Final

#: Bits of the sequence: 14 years at 20,000 messages a second.
SEQUENCE_BITS: Final = 43
#: Bits below the queue: the sequence, and four for the priority, the most urgent first.
QUEUE_SHIFT: Final = SEQUENCE_BITS + 4
#: Largest queue number: key and queue stay below 2**63.
LAST_QUEUE: Final = 2**16 - 1
#: The most urgent priority.
TOP: Final = 9


def first_key(queue: int) -> int:
    """The lowest key of a queue."""
    return queue << QUEUE_SHIFT


def last_key(queue: int) -> int:
    """The highest key of a queue."""
    return ((queue + 1) << QUEUE_SHIFT) - 1


def key_of(queue: int, priority: int, sequence: int) -> int:
    """The key of a message."""
    return queue << QUEUE_SHIFT | (TOP - priority) << SEQUENCE_BITS | sequence


def queue_of(key: int) -> int:
    """The queue of a key."""
    return key >> QUEUE_SHIFT
