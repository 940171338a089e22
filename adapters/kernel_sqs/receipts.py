"""What settles a delivery, and all that this transport holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kernel.native import monotonic


@dataclass(slots=True, eq=False)
class Receipt:
    """The fencing token of one delivery.

    SQS may honour a receipt handle after its visibility timeout, although somebody else has the message: on a standard
    queue a stale handle can still delete. So the receipt knows until when the message is surely hidden, counted from
    before the call that received it, and is worth nothing afterwards.
    """

    url: str
    handle: str
    #: Monotonic time until which the message is surely hidden.
    held_until: float
    #: Monotonic time beyond which no extension can hold it.
    total_until: float
    #: Key of the payload in S3; "" where it is in the message.
    stored: str = ""
    #: "acked": settled by us. "gone": released or lost.
    state: Literal["held", "acked", "gone"] = "held"


class Held:
    """The receipts that were neither settled nor lost, to be given back at the end."""

    def __init__(self) -> None:
        self._receipts: set[Receipt] = set()
        self._prune_above = 1000

    def add(self, receipts: list[Receipt]) -> None:
        """Remember them. Those that have run out are forgotten now and then, so that leases bound the set."""
        self._receipts.update(receipts)
        if len(self._receipts) > self._prune_above:
            now = monotonic()
            self._receipts.difference_update([each for each in list(self._receipts) if each.held_until < now])
            self._prune_above = max(1000, 2 * len(self._receipts))

    def drop(self, receipt: Receipt) -> None:
        """Forget one. No error when it is not there."""
        self._receipts.discard(receipt)

    def every(self) -> list[Receipt]:
        """All of them, at this moment."""
        return list(self._receipts)
