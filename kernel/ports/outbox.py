"""The Outbox port: messages that are stored here first and sent by a relay.

Two things are one: the file that takes what a transport does not answer for, and the table in a user's own database
whose rows are written in the user's own transaction. A relay reads either and sends to any transport.
Threads and errors: as for the Transport port.

A row is claimed under an owner and an expiry, sent, and then dropped, in this order: a relay that dies in between
leaves a row that another one sends again, as the same task. Times are those of the machine of the relay; a clock that
is wrong repeats and does not lose.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from kernel.ports.transport import Outgoing


class Row(msgspec.Struct, gc=False):
    """One message in an outbox."""

    #: Unique, and later ones of one process are greater: rows are claimed in this order.
    id: str
    message: Outgoing
    #: Wall clock at which it was written.
    added_at: float


class Waiting(msgspec.Struct, frozen=True):
    """One row as a tool shows it."""

    id: str
    queue: str
    payload: bytes
    added_at: float
    #: Why it can never be sent; "" for one that waits.
    reason: str = ""


class Fill(msgspec.Struct, frozen=True):
    """What is in an outbox."""

    #: Rows to be sent, claimed ones included.
    waiting: int
    #: Rows that the transport has refused for good.
    refused: int
    #: Wall clock at which the oldest waiting row was written; None when there is none.
    oldest_at: float | None


class Outbox(Protocol):
    """Where a relay finds messages. Every method is one transaction."""

    def ddl(self) -> str:
        """The statements that make what `open` looks for, to be put into a migration; without connecting."""

    def create(self) -> None:
        """Make it now. Idempotent. Errors as of `open`."""

    def open(self) -> None:
        """Connect and look. Idempotent. `Unavailable` when it is away, `ConfigError` when it was never made; a file
        that is empty or not there is made."""

    def close(self) -> None:
        """Let go of everything. Idempotent."""

    def add(self, rows: Sequence[Row]) -> None:
        """Write all rows or none; durable on return. A row that is there already is left as it is.

        `Rejected` when there is no room for them, `Unavailable` when the store is away.
        """

    def claim(self, owner: str, limit: int, ttl: float) -> list[Row]:
        """Up to `limit` rows in the order of their ids that nobody has claimed or whose claim has run out, and that are
        not refused; nobody else is given them for `ttl` seconds. `owner` is a name that no other claim has."""

    def drop(self, owner: str, ids: Sequence[str]) -> None:
        """Delete rows that this owner still holds. Idempotent."""

    def refuse(self, owner: str, reasons: Sequence[tuple[str, str]]) -> None:
        """Keep rows that this owner still holds and never give them out again, given as (id, reason)."""

    def release(self, owner: str) -> None:
        """End the claim of this owner."""

    def fill(self) -> Fill:
        """What is in it."""

    def waiting(self, refused: bool, limit: int) -> list[Waiting]:
        """Up to `limit` rows, the refused ones or those to be sent, in the order of their ids; nothing is taken."""

    def retry(self, ids: Sequence[str]) -> int:
        """Let refused rows be claimed again, without ids all of them; returns how many."""

    def purge(self, ids: Sequence[str]) -> int:
        """Delete refused rows, without ids all of them; returns how many."""


class Transaction(Protocol):
    """A transaction of the user's, in which rows are written beside the user's own. Found by entry points of the group
    `kernel.transactions`: callables that take the user's object and return one of these, or None for a stranger."""

    def write(self, rows: Sequence[Row]) -> None:
        """Insert rows; they are there when the user commits, and never were when the user rolls back."""

    def note(self, key: str) -> bool:
        """Insert a key; whether it was not there before. Who asks while another transaction has inserted it and is not
        ended waits for that end, as long as the database lets it."""

    async def awrite(self, rows: Sequence[Row]) -> None:
        """`write` for asynchronous sessions, and for all others too."""

    async def anote(self, key: str) -> bool:
        """`note` for asynchronous sessions, and for all others too."""
