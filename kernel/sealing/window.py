"""The replay window: until when a message that somebody kept a copy of can be sent in again. Pure: no clock, no I/O.

A message is stale when it was due long before its queue was last seen empty: then it has been there already. Measured
from the present instead, a backlog of some days would be stale as a whole, and so would the first message after a
weekend without workers. Remembering what was seen was rejected: at-least-once sending delivers some messages twice in
all honesty, and the memory would have to last as long as the window.
"""

from __future__ import annotations

#: Seconds for which a queue must give nothing before it counts as empty, unless messages just flowed: a broker that
#: comes back has queues that seem to be empty until it has found their contents.
QUIET = 60.0


class Window:
    """What is known of the queues of one receiver; by one thread at a time. Times are wall clock."""

    def __init__(self, length: float) -> None:
        """`length` in seconds."""
        self._length = length
        #: Since when a queue has given nothing.
        self._quiet_since: dict[str, float] = {}
        #: The last message of a queue was fresh: it is worked off, and nothing hides in it.
        self._flows: dict[str, bool] = {}
        #: When a queue was last seen empty.
        self._empty_at: dict[str, float] = {}

    def nothing(self, queue: str, at: float) -> None:
        """A question to the queue, asked at `at`, was answered by nothing for as long as it lasted."""
        since = self._quiet_since.setdefault(queue, at)
        if self._flows.get(queue) or at - since >= QUIET:
            self._empty_at[queue] = at

    def lost(self) -> None:
        """The service does not answer: what is known of its queues need not hold when it does."""
        self._quiet_since.clear()
        self._flows.clear()

    def stale(self, queue: str, due_at: float, now: float) -> float:
        """By how many seconds a message is too old, 0.0 for none: one that was due at `due_at` and came `now`."""
        self._quiet_since.pop(queue, None)
        late = self._empty_at.get(queue, 0.0) - self._length - due_at
        if late > 0.0:
            return late
        self._flows[queue] = now - due_at < QUIET
        return 0.0
