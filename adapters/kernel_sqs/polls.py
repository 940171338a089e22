"""Long polls on several queues at once.

SQS polls one queue per call and cannot be told to stop. So each queue that a `receive` waits for has a poll on a
native thread of its own, which lasts `wait` seconds and outlives the `receive` where that ends before: the next one
finds the poll under way, and idle queues cost one request per `wait` and not one per `receive`. A connection that is
cut in place of that was rejected: the service may be handing a message to it, which then is hidden for its lease.

What a poll brings is handed out by whichever `receive` comes within `GRACE` seconds and asks for that queue, and is
given back by the poll's own thread after that. Nothing waits longer, and at most `MOST` polls are under way. The
visibility that a poll asks for is longer by its own length and the grace, so whatever is handed out has a whole lease
before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kernel.errors import PortError, Unavailable
from kernel.native import Signal, Thread, allocate_lock, monotonic
from kernel.ports import Delivery

#: Polls under way at once in one transport; queues beyond them are looked at once per second.
MOST = 32
#: Seconds for which a message waits for a `receive` before it is given back.
GRACE = 0.5
#: Least seconds between the starts of two polls of one queue, should an endpoint answer without waiting.
PACE = 0.25


class Poll:
    """One long poll of one queue."""

    def __init__(self, queue: str, limit: int) -> None:
        self.queue = queue
        self.limit = limit
        self.started_at = monotonic()
        self.found: list[Delivery] = []
        self.error: PortError | None = None
        self.ended = False
        #: Nothing of it is left to be handed out.
        self.cleared = Signal()
        self.thread: Thread | None = None


class Polls:
    """The polls of one transport. `take` blocks for a whole poll; `release` must not fail."""

    def __init__(
        self, take: Callable[[str, int], list[Delivery]], release: Callable[[Sequence[Delivery]], None], bell: Signal
    ) -> None:
        self._take = take
        self._release = release
        self._bell = bell
        self._lock = allocate_lock()
        self._polls: dict[str, Poll] = {}
        self._closing = False

    def under_way(self, queue: str) -> bool:
        """A poll of the queue has not come back."""
        poll = self._polls.get(queue)
        return poll is not None and not poll.ended

    def start(self, queues: Sequence[str], limit: int) -> bool:
        """Have a poll under way for each of the queues; returns whether all have one."""
        complete = True
        now = monotonic()
        for queue in queues:
            with self._lock:
                poll = self._polls.get(queue)
                if poll is not None and (not poll.ended or poll.found):
                    continue
                paced = poll is not None and now - poll.started_at < PACE
                if self._closing or paced or sum(not each.ended for each in self._polls.values()) >= MOST:
                    complete = False
                    continue
                poll = self._polls[queue] = Poll(queue, limit)
            self._begin(poll)
        return complete

    def collect(self, queues: Sequence[str], limit: int) -> list[Delivery]:
        """What polls have brought for these queues, in their order. If that is nothing, the error of one is raised."""
        found: list[Delivery] = []
        error: PortError | None = None
        with self._lock:
            for queue in queues:
                poll = self._polls.get(queue)
                if poll is None or not poll.ended:
                    continue
                room = limit - len(found)
                found += poll.found[:room]
                del poll.found[:room]
                error, poll.error = error or poll.error, None
                if not poll.found:
                    poll.cleared.set()
        if error is not None and not found:
            raise error
        return found

    def close(self, timeout: float) -> None:
        """Start no more; give back what comes, and wait up to `timeout` seconds for the end of all."""
        with self._lock:
            self._closing = True
            polls = list(self._polls.values())
        until = monotonic() + timeout
        for poll in polls:
            poll.cleared.set()
        for poll in polls:
            if poll.thread is not None:
                poll.thread.join(until - monotonic())

    def _begin(self, poll: Poll) -> None:
        poll.thread = Thread(lambda: self._run(poll), f"sqs-poll-{poll.queue}")
        try:
            poll.thread.start()
        except RuntimeError as error:
            poll.thread, poll.ended = None, True
            raise Unavailable(f"no thread for a long poll: {error}") from error

    def _run(self, poll: Poll) -> None:
        found: list[Delivery] = []
        error: PortError | None = None
        try:
            found = self._take(poll.queue, poll.limit)
        except PortError as raised:
            error = raised
        finally:
            with self._lock:
                poll.found, poll.error, poll.ended = found, error, True
            self._bell.set()
        if found:
            poll.cleared.wait(GRACE)
            with self._lock:
                left, poll.found = poll.found, []
            if left:
                self._release(left)
