"""Ids of tasks."""

from __future__ import annotations

import os
import time
from random import Random

# An own generator, not the module-level one: a program that calls random.seed(0) must not make ids collide.
_random = Random(os.urandom(32))
_bits = _random.getrandbits
_now = time.time
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _random.seed(os.urandom(32)))


def new_id() -> str:
    """A task id: 48 bits of time in milliseconds and 80 random bits, as 32 hexadecimal digits.

    The time comes first, as in UUID version 7 (RFC 9562), so that ids of one moment are neighbours in an index: with
    random keys every stored result dirties a page of its own.
    """
    return "%032x" % (int(_now() * 1000) << 80 | _bits(80))


def new_ids(number: int) -> list[str]:
    """As many ids of one moment, in a third of the time: the clock is read, and random bits are drawn, once for all."""
    moment = f"{int(_now() * 1000):012x}"
    digits = _random.randbytes(10 * number).hex()
    return [moment + digits[at : at + 20] for at in range(0, 20 * number, 20)]


def made_at(id: str) -> float | None:
    """The wall clock at which a task id was made, in seconds; None for one that is not ours."""
    if len(id) != 32:
        return None
    try:
        int(id, 16)
        return int(id[:12], 16) / 1000
    except ValueError:
        return None
