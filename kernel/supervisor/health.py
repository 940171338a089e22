"""How a worker is, as its supervisor sees it on the board: alive, ready, and why not."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from kernel.supervisor.crew import Crew, Order

#: Reasons that are told at most: a worker may have hundreds of processes, and all may have the same.
MOST_REASONS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """One look at all processes."""

    #: No process is stuck. One that waits for a service that is away, or runs a long task, is not.
    live: bool
    #: As many processes as there should be take in work, and the services that they need answer.
    ready: bool
    #: One line for each thing that is not as it should be.
    why: list[str]

    def dump(self) -> bytes:
        """As JSON, bounded."""
        why = self.why[:MOST_REASONS]
        if len(self.why) > MOST_REASONS:
            why.append(f"and {len(self.why) - MOST_REASONS} more")
        return msgspec.json.encode({"live": self.live, "ready": self.ready, "why": why}) + b"\n"


def examine(crew: Crew, order: Order, processes: int, missing: int, now: float) -> Health:
    """Look now. `missing`: processes that wait to be started again, of `processes` that there should be."""
    stuck = crew.stuck(now)
    absent = crew.absent()
    why = stuck + [line for line in absent if line not in stuck]
    if missing:
        why.append(f"{missing} of {processes} processes wait for their start")
    if order is not Order.RUN:
        why.insert(0, f"the worker was told to stop: {order.name.lower()}")
    # Not "nobody is absent": during a rolling restart there is one more than needed, which starts or ends.
    enough = len(crew.children) - len(absent) >= processes
    return Health(live=not stuck, ready=enough and not stuck and order is Order.RUN, why=why)
