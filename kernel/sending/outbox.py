"""What goes into an outbox: messages that the transport does not answer for, and those of a user's transaction."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from random import Random
from types import TracebackType
from typing import Final

from kernel.clock import SYSTEM, Clock
from kernel.errors import PartialSend, PortError, Rejected, Unavailable
from kernel.native import monotonic
from kernel.ports import Outbox, Outgoing, Row, Transaction, Transport
from kernel.sending.batcher import Batch
from kernel.sending.errand import Errands, Overdue
from kernel.sending.relay import Relay
from kernel.steady import Outage

log = logging.getLogger("kernel.outbox")

#: Seconds after a send that failed in which nobody else asks the transport: what is sent goes into the outbox at once.
REST_FOR: Final = 5.0
#: Of the time of a send, the part that the transport has; the rest is for writing into the outbox.
SHARE: Final = 0.8

_random = Random()
_last = 0


def rows_of(messages: Sequence[Outgoing], now: float) -> list[Row]:
    """Rows with ids that grow, so that what one process writes is sent in its order."""
    global _last
    rows = []
    for message in messages:
        _last = max(_last + 1, time.time_ns())
        rows.append(Row(f"{_last:016x}{_random.getrandbits(64):016x}", message, now))
    return rows


class Spool:
    """Sends, and keeps in an outbox what cannot be sent now, until the transport is back.

    The process itself sends what it kept, in a thread that ends when there is nothing left; `kernel relay` does so for
    programs that end before that. A message of which nobody knows whether it was sent is kept too, as the same task:
    under at least once a second copy is what a lost answer costs, and losing the message would be the alternative.
    """

    def __init__(
        self, outbox: Outbox, find: Callable[[], Transport], errands: Errands, timeout: float, clock: Clock = SYSTEM
    ) -> None:
        """`timeout`: seconds for a send with everything."""
        self._outbox = outbox
        self._relay = Relay(outbox, find)
        self._errands = errands
        self._timeout = timeout
        self._clock = clock
        self._looked = False
        self._away: Unavailable | None = None
        self._ask_at = 0.0
        self._draining = threading.Lock()
        self._stop = threading.Event()

    def post(
        self, messages: Sequence[Outgoing], deadline: float, hand: Callable[[Sequence[Outgoing], float], None]
    ) -> None:
        """Send by `hand` until the deadline it is given, else keep; errors of what could be neither."""
        if not self._looked:
            self._look(deadline)
        now = monotonic()
        away = self._away
        if away is not None and now < self._ask_at:
            self._keep(messages, range(len(messages)), away, deadline)
            return
        self._ask_at = now + REST_FOR  # where it is away, one caller at a time finds out whether it is back
        refused: dict[int, PortError] = {}
        try:
            hand(messages, now + (deadline - now) * SHARE)
        except Unavailable as error:
            left: Sequence[int] = range(len(messages))
            away = error
        except PartialSend as partial:
            left = [index for index, error in partial.errors.items() if isinstance(error, Unavailable)]
            refused = {index: error for index, error in partial.errors.items() if index not in left}
            away = Unavailable(str(partial.errors[left[0]]), sent=partial.sent) if left else None
        else:
            self._away = None
            return
        self._away = away
        self._ask_at = monotonic() + REST_FOR
        if away is not None:
            self._keep(messages, left, away, deadline)
        if refused:
            raise PartialSend(refused)

    def close(self) -> None:
        """End the thread soon. What is kept stays kept. Idempotent."""
        self._stop.set()
        self._outbox.close()

    # -- inside --------------------------------------------------------------------------------------------

    def _look(self, deadline: float) -> None:
        """Open it, and begin to send what an earlier process left there."""
        try:
            fill = self._errands.run(self._opened, deadline - monotonic())
        except (Overdue, PortError) as error:
            log.warning("the outbox cannot be opened; trying again: %s", error or "it does not answer")
            return
        self._looked = True
        if fill:
            self._drain()

    def _opened(self) -> int:
        self._outbox.open()
        return self._outbox.fill().waiting

    def _keep(self, messages: Sequence[Outgoing], left: Sequence[int], away: Unavailable, deadline: float) -> None:
        rows = rows_of([messages[index] for index in left], self._clock.now())
        try:
            self._errands.run(lambda: self._outbox.add(rows), max(deadline - monotonic(), self._timeout * (1 - SHARE)))
        except Rejected as error:
            raise Unavailable(f"{away}; and it cannot be kept: {error}", sent=away.sent) from error
        except (Overdue, PortError) as error:
            raise Unavailable(f"{away}; and the outbox fails: {error or 'no answer'}", sent="unknown") from error
        self._drain()

    def _drain(self) -> None:
        """See to it that a thread sends what is kept."""
        if self._draining.acquire(blocking=False):
            threading.Thread(target=self._serve, name="kernel-outbox", daemon=True).start()

    def _serve(self) -> None:
        outage = Outage("sending what is in the outbox", self._clock)
        moved = 0
        try:
            while not self._stop.is_set():
                try:
                    moved += (step := self._relay.step()).total
                except PortError as error:
                    self._stop.wait(outage.failed(error))
                    continue
                outage.worked()
                if step.total:
                    self._away = None
                if not step.total and not self._outbox.fill().waiting:
                    break
                if not step.total:
                    self._stop.wait(1.0)  # somebody else has claimed the rest
        except Exception:
            log.exception("sending what is in the outbox has ended; the next message that is kept starts it again")
        finally:
            self._draining.release()
        if moved:
            log.info("%d messages of the outbox were sent", moved)


class Within:
    """`with app.within(transaction):` what is sent inside is written into the transaction when the block ends.

    When the block raises, nothing is written. `async with` for asynchronous sessions.
    """

    def __init__(
        self, transaction: Transaction, announce: Callable[[Sequence[Outgoing]], None], clock: Clock = SYSTEM
    ) -> None:
        """`announce` is told of the messages before they are written."""
        self._transaction = transaction
        self._announce = announce
        self._clock = clock
        self._rows: list[Row] = []
        self._batch = Batch(self._collect)

    def __enter__(self) -> Within:
        self._batch.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._batch.__exit__(kind, error, trace)
        rows, self._rows = self._rows, []
        if rows:
            self._transaction.write(rows)

    async def __aenter__(self) -> Within:
        self._batch.__enter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._batch.__exit__(kind, error, trace)
        rows, self._rows = self._rows, []
        if rows:
            await self._transaction.awrite(rows)

    def _collect(self, messages: Sequence[Outgoing]) -> None:
        self._announce(messages)
        self._rows += rows_of(messages, self._clock.now())
