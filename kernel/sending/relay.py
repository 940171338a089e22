"""From an outbox to the transport: claimed, sent, dropped, in this order and in batches."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from kernel.errors import PartialSend, PortError, Rejected, Unavailable
from kernel.ids import new_id
from kernel.ports import Outbox, Outgoing, Row, Transport
from kernel.sending.exchanges import strangers
from kernel.steady import send_all

log = logging.getLogger("kernel.relay")

#: Seconds for which claimed rows are kept from other relays: how long those of a relay that died have to wait.
CLAIM_FOR: Final = 30.0
#: Seconds for which the sending of one batch is tried before its rows are let go.
SEND_FOR: Final = 5.0
#: Rows in one batch.
BATCH: Final = 500
#: Seconds between two looks into an outbox that was empty.
INTERVAL: Final = 0.2


class Moved(msgspec.Struct, frozen=True):
    """What one step did."""

    sent: int = 0
    refused: int = 0

    @property
    def total(self) -> int:
        """Rows that will not be claimed again."""
        return self.sent + self.refused


class Relay:
    """Moves messages; any number of them may work on one outbox, in any process.

    One that dies, at whatever point, has either not sent a row, which is sent when its claim has run out, or sent it
    and not dropped it; then it is sent again, as the same task. Nothing is lost, and only rows of its last batch are
    there twice. What the transport refuses for good stays in the outbox with the reason, and holds up nothing.
    """

    def __init__(self, outbox: Outbox, find: Callable[[], Transport], batch: int = BATCH) -> None:
        """`find` opens the transport, or returns it when it is open."""
        self._outbox = outbox
        self._find = find
        self._batch = batch

    def step(self) -> Moved:
        """Move one batch. `Unavailable`, with all that was not sent free again, when either side is away."""
        transport = self._find()
        owner = new_id()
        rows = self._outbox.claim(owner, min(self._batch, transport.features.max_batch), CLAIM_FOR)
        if not rows:
            return Moved()
        errors = self._send(transport, rows)
        self._outbox.drop(owner, [row.id for index, row in enumerate(rows) if index not in errors])
        refused = [(rows[index].id, str(error)) for index, error in errors.items() if isinstance(error, Rejected)]
        for index, error in errors.items():
            if isinstance(error, Rejected):
                log.error("message %s for %r stays in the outbox: %s", rows[index].id, rows[index].message.queue, error)
        self._outbox.refuse(owner, refused)
        away = next((error for error in errors.values() if not isinstance(error, Rejected)), None)
        if away is not None:
            self._outbox.release(owner)
            raise Unavailable(str(away)) from away
        return Moved(len(rows) - len(errors), len(refused))

    def drain(self) -> Moved:
        """Move batches until there is nothing to claim. Errors as of `step`."""
        sent = refused = 0
        while (moved := self.step()).total:
            sent += moved.sent
            refused += moved.refused
        return Moved(sent, refused)

    # -- inside --------------------------------------------------------------------------------------------

    def _send(self, transport: Transport, rows: Sequence[Row]) -> dict[int, PortError]:
        """Send all; the errors by index."""
        batch = [row.message for row in rows]
        if refused := strangers(transport, batch):
            others = [index for index in range(len(rows)) if index not in refused]
            errors = self._send(transport, [rows[index] for index in others]) if others else {}
            return {**refused, **{others[at]: error for at, error in errors.items()}}
        try:
            send_all(transport.send, batch, SEND_FOR)
        except PartialSend as partial:
            return dict(partial.errors)
        except Rejected as error:
            # Which one was it? Alone, each has an answer of its own.
            return {0: error} if len(batch) == 1 else self._send_each(transport, batch)
        except PortError as error:
            return dict.fromkeys(range(len(batch)), error)
        return {}

    def _send_each(self, transport: Transport, batch: Sequence[Outgoing]) -> dict[int, PortError]:
        errors: dict[int, PortError] = {}
        for index, out in enumerate(batch):
            try:
                transport.send([out])
            except PartialSend as partial:
                errors[index] = next(iter(partial.errors.values()))
            except Rejected as error:
                errors[index] = error
            except PortError as error:
                errors.update(dict.fromkeys(range(index, len(batch)), error))
                break
        return errors
