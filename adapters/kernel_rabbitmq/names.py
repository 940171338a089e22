"""Names on the broker: of queues, of their dead letters, and of a queue inside of a routing key."""

from __future__ import annotations

import re
from hashlib import sha256

from kernel.errors import Rejected

#: Longest name in bytes; the protocol has one byte for the length.
LONGEST = 255
#: Longest part of a routing key that names a queue; the levels of a delay stand before it.
LONGEST_WORD = 150

_LEVEL = re.compile(r"(.+)\.p[1-9]", re.DOTALL)
_PLAIN = re.compile(rb"[A-Za-z0-9_-]")


def checked(name: str) -> str:
    """A name for a queue, which the protocol can carry; `Rejected` for any other."""
    if not carried(name):
        raise Rejected("a queue's name is empty")
    if name.startswith("amq."):
        raise Rejected(f"{name!r}: names that begin with amq. are the broker's own")
    return name


def carried(text: str) -> str:
    """A name or a key that the protocol can carry; `Rejected` for any other."""
    try:
        length = len(text.encode())
    except UnicodeEncodeError:
        raise Rejected(f"{text!r} is not text that a broker can take") from None
    if length > LONGEST:
        raise Rejected(f"{text[:40]!r}: a name or a key has at most {LONGEST} bytes, not {length}")
    return text


def dead_of(queue: str) -> str:
    """The queue for what the broker gives up on; "" for one that holds such letters itself.

    kernel names the dead letters of `q` `q.dead`, and the queues of its priorities `q.p1` and up: they share one.
    """
    home = _LEVEL.fullmatch(queue)
    queue = home[1] if home else queue
    return "" if queue.endswith(".dead") else f"{queue}.dead"


def word(queue: str) -> str:
    """A queue as one word of a routing key: no dots, ASCII, told apart from every other one."""
    coded = "".join(
        byte.decode() if _PLAIN.match(byte) else f"%{byte[0]:02X}"
        for byte in (bytes((number,)) for number in queue.encode())
    )
    return coded if len(coded) <= LONGEST_WORD else f"~{sha256(queue.encode()).hexdigest()}"
