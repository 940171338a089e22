"""Names of queues: kernel's are any text, those of SQS have letters, digits, `-` and `_`, 80 in all.

A dot becomes `-`, because every queue has some in its kin (`work.dead` is `work-dead`, `work.p1` is `work-p1`). `_`
begins what is less common: `_-` is a hyphen, `__` an underscore, `_x<hex of UTF-8>_` anything else. No two names
become one, and each can be read back.
"""

from __future__ import annotations

import re
from typing import Final

from kernel.errors import Rejected

#: Longest name of a queue, its ending included (CreateQueue, API reference).
LONGEST: Final = 80
#: What the name of a FIFO queue has to end with.
FIFO: Final = ".fifo"
_OTHER: Final = re.compile(r"[^A-Za-z0-9]")
#: The levels that kernel makes where a transport has no priorities.
_LEVEL: Final = re.compile(r"(.+)\.p[1-9]", re.DOTALL)
_ESCAPES: Final = {".": "-", "-": "_-", "_": "__"}


def encoded(queue: str) -> str:
    """The name of a queue in the letters of SQS; `Rejected` for what no text can be."""
    try:
        return _OTHER.sub(lambda found: _ESCAPES.get(found[0]) or f"_x{found[0].encode().hex()}_", queue)
    except UnicodeEncodeError:
        raise Rejected(f"queue {queue!r}: not text that can be encoded") from None


def full(prefix: str, queue: str, fifo: bool) -> str:
    """The whole name on the service; `Rejected` beyond 80 letters and for the empty name."""
    name = prefix + encoded(queue) + (FIFO if fifo else "")
    if not queue or len(name) > LONGEST:
        raise Rejected(f"queue {queue!r} is {name!r} in SQS: a name has 1 to {LONGEST} letters")
    return name


def dead_of(queue: str) -> str:
    """Kernel's dead-letter queue of a queue and of its levels; "" of a dead-letter queue."""
    level = _LEVEL.fullmatch(queue)
    home = level[1] if level else queue
    return "" if home.endswith(".dead") else f"{home}.dead"
