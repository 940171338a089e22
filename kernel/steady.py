"""The one retry loop around a port call. Adapters never retry; everything that must, does it here."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar

from kernel.clock import SYSTEM, Clock
from kernel.errors import PartialSend, PortError, Unavailable
from kernel.native import allocate_lock, monotonic, sleep
from kernel.ports.transport import Outgoing

log = logging.getLogger("kernel.ports")

#: Seconds before the second try; doubled from try to try.
FIRST_WAIT = 0.05
#: Longest wait between two tries, in seconds.
LONGEST_WAIT = 5.0
#: Seconds between two lines about one outage: it may be one that only an operator can end, such as a damaged file.
REMIND_EVERY = 60.0
#: Seconds after which the failure of an operation that was not tried again says nothing about its service any more.
FORGOTTEN_AFTER = 30.0

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


class Service:
    """One service that several operations call: says once that it is away, and every minute, and once that it is back.

    Each operation has an `Outage` of its own, because one may fail while another works (a server that is full takes
    no sends and gives messages out), and a line for each change would then be a line for each call.
    """

    __slots__ = ("_failing", "_lock", "_since", "_told_at", "clock", "longest", "what")

    def __init__(self, what: str, clock: Clock = SYSTEM, longest: float = LONGEST_WAIT) -> None:
        """`what` names it in the log; `longest` is the longest wait between two tries."""
        self.what = what
        self.clock = clock
        self.longest = longest
        self._lock = allocate_lock()
        #: When each failing operation failed last.
        self._failing: dict[Outage, float] = {}
        self._since = 0.0
        self._told_at = 0.0

    @property
    def away(self) -> bool:
        """Whether an operation failed lately and has not worked since."""
        recent = self.clock.monotonic() - FORGOTTEN_AFTER
        with self._lock:
            return any(at > recent for at in self._failing.values())

    def failed(self, operation: Outage, error: PortError) -> None:
        """Note a failure."""
        now = self.clock.monotonic()
        with self._lock:
            self._failing[operation] = now
            first = not self._since
            if not first and now - self._told_at < REMIND_EVERY:
                return
            self._since, self._told_at = self._since or now, now
        if first:
            log.error("%s is unavailable: %s; trying again until it is back", self.what, error)
        else:
            log.error("%s is still unavailable after %.0f s: %s", self.what, now - self._since, error)

    def worked(self, operation: Outage) -> None:
        """Note a success. What an operation that is not tried any more had met does not count for ever."""
        now = self.clock.monotonic()
        with self._lock:
            self._failing.pop(operation, None)
            if not self._since or any(at > now - FORGOTTEN_AFTER for at in self._failing.values()):
                return
            since, self._since = self._since, 0.0
        log.warning("%s is back after %.1f s", self.what, now - since)


class Outage:
    """What one operation meets of a service that is away: how long to wait before the next try, and what to say."""

    __slots__ = ("away", "backoff", "service")

    def __init__(self, service: str | Service, clock: Clock = SYSTEM) -> None:
        """A name stands for a service that no other operation calls."""
        self.service = Service(service, clock) if isinstance(service, str) else service
        self.backoff = Backoff(self.service.longest)
        #: Whether the last call failed.
        self.away = False

    def failed(self, error: PortError) -> float:
        """Note a failure; returns the seconds to wait before the next try."""
        self.away = True
        self.service.failed(self, error)
        return self.backoff.wait_for()

    def worked(self) -> None:
        """Note a success."""
        if self.away:
            self.away = False
            self.backoff.reset()
            self.service.worked(self)


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
            left = sorted(again)  # an adapter names them in any order, and a whole batch is sent as it is
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
