"""huey."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import marks
from huey import RedisHuey
from marks import ORDER
from side import Side, Variant, main, timed

VARIANTS = {
    "process": Variant(
        "`huey_consumer -k process -w 2`",
        "at most once: popped before the run",
        [["{bin}/huey_consumer", "huey_.huey", "-k", "process", "-w", "2", "--quiet"]],
        pace=(4500, 3000),
        sends=(5300, 5300),
    ),
    # A caller that waits is told, which costs every task two more commands: so only where somebody waits.
    "notify": Variant(
        "`huey_consumer -k process -w 2`, `notify_result`",
        "at most once: popped before the run",
        [["{bin}/huey_consumer", "huey_.huey", "-k", "process", "-w", "2", "--quiet"]],
        pace=(4500, 3000),
        sends=(5300, 5300),
    ),
}

huey = RedisHuey("peers", url=ORDER.broker, results=ORDER.kept, notify_result=ORDER.variant == "notify")
noop = huey.task(name="noop")(marks.noop)
burn = huey.task(name="burn")(marks.burn)
TASK: Any = {"noop": noop, "burn": burn}[ORDER.task]


class HueySide:
    """The client of huey."""

    def open(self) -> None:
        """Nothing: the first call connects."""

    def send(self, numbers: Iterable[int]) -> None:
        """Call the task."""
        for number in numbers:
            TASK(number)

    def send_many(self, numbers: Iterable[int]) -> None:
        """The same: it has no bulk way."""
        self.send(numbers)

    def round_trips(self, numbers: Iterable[int]) -> list[float]:
        """Call, and `get(blocking=True)`."""

        def call(number: int) -> Any:
            return TASK(number).get(blocking=True, timeout=10)

        return timed(call, numbers)

    def close(self) -> None:
        """Disconnect."""
        huey.storage.close()

    def serve(self) -> None:
        """Its own command does that."""
        raise NotImplementedError


if __name__ == "__main__":
    side: Side = HueySide()
    main(side, VARIANTS, ["huey", "redis"])
