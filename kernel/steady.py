"""The one retry loop around a port call. Adapters never retry; everything that must, does it here."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar

from kernel.clock import SYSTEM, Clock
from kernel.errors import PartialSend, PortError, Unavailable
from kernel.native import monotonic, sleep
from kernel.ports.transport import Outgoing

log = logging.getLogger("kernel.ports")

#: Seconds before the second try; doubled from try to try.
FIRST_WAIT = 0.05
#: Longest wait between two tries, in seconds.
LONGEST_WAIT = 5.0
#: Seconds between two lines about one outage: it may be one that only an operator can end, such as a damaged file.
REMIND_EVERY = 60.0

_random = Random()
T = TypeVar("T")


class Backoff:
    """Waits that double, with jitter so that a fleet does not come back in step."""

    __slots__ = ("_next", "longest")

    def __init__(self, longest: float = LONGEST_WAIT) -> None:
        self.longest = longest
        self._next = FIRST_WAIT

    def wait_for(self) -> float:
        """Seconds to wait now."""
        wait, self._next = self._next, min(self.longest, self._next * 2)
        return wait * (0.5 + _random.random() / 2)

    def reset(self) -> None:
        """Start anew after a success."""
        self._next = FIRST_WAIT


class Outage:
    """Says that a service is away, at once and then every minute, and that it is back; however often it is tried."""

    __slots__ = ("_since", "_told_at", "_what", "backoff", "clock")

    def __init__(self, what: str, clock: Clock = SYSTEM) -> None:
        self._what = what
        self._since = 0.0
        self._told_at = 0.0
        self.clock = clock
        self.backoff = Backoff()

    @property
    def away(self) -> bool:
        """Whether the last call failed."""
        return self._since > 0.0

    def failed(self, error: PortError) -> float:
        """Note a failure; returns the seconds to wait before the next try."""
        now = self.clock.monotonic()
        if not self._since:
            self._since = self._told_at = now
            log.error("%s is unavailable: %s; trying again until it is back", self._what, error)
        elif now - self._told_at >= REMIND_EVERY:
            self._told_at = now
            log.error("%s is still unavailable after %.0f s: %s", self._what, now - self._since, error)
        return self.backoff.wait_for()

    def worked(self) -> None:
        """Note a success."""
        if self._since:
            log.warning("%s is back after %.1f s", self._what, self.clock.monotonic() - self._since)
            self._since = 0.0
            self.backoff.reset()


def persist(call: Callable[[], T], timeout: float) -> T:
    """Call until it works, an error other than `Unavailable` comes, or `timeout` seconds are over (the last error)."""
    deadline = monotonic() + timeout
    backoff = Backoff()
    while True:
        try:
            return call()
        except Unavailable:
            wait = backoff.wait_for()
            if monotonic() + wait > deadline:
                raise
            sleep(wait)


def send_all(send: Callable[[Sequence[Outgoing]], None], batch: Sequence[Outgoing], timeout: float) -> None:
    """Send a batch and what is left of it after partial failures, within `timeout` seconds in all.

    Raises `PartialSend`, with indexes into `batch`, when some messages are refused for good or time runs out for
    them, and the error of the service when none is known to be sent. What one try may have sent stays unknown, whatever
    the tries after it say.
    """
    left = list(range(len(batch)))
    refused: dict[int, PortError] = {}
    unclear: set[int] = set()

    def attempt() -> None:
        nonlocal left
        try:
            send([batch[index] for index in left] if len(left) < len(batch) else batch)
        except PartialSend as partial:
            again: list[int] = []
            for position, error in partial.errors.items():
                if isinstance(error, Unavailable):
                    again.append(left[position])
                    if error.sent == "unknown":
                        unclear.add(left[position])
                else:
                    refused[left[position]] = error
            left = again
            if left:
                raise Unavailable(str(partial), sent=partial.sent) from partial
        except PortError as error:
            if error.sent == "unknown":
                unclear.update(left)
            raise

    try:
        persist(attempt, timeout)
    except PortError as error:
        if len(left) == len(batch):
            if unclear:
                raise _unclear(error) from error
            raise
        refused.update(dict.fromkeys(left, error))
    if refused:
        raise PartialSend({at: _unclear(error) if at in unclear else error for at, error in refused.items()})


def _unclear(error: PortError) -> PortError:
    """An error of a message that an earlier try may have sent."""
    return error if error.sent == "unknown" else type(error)(str(error), sent="unknown")
