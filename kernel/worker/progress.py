"""Whether a worker gets on, as opposed to being there."""

from __future__ import annotations

from kernel.worker.intake import Intake
from kernel.worker.outlet import Outlet


class Progress:
    """Sees by their turns whether the loops of a worker go round. For one thread, which looks now and then.

    A beat of the thread that looks would only say that the process exists: it goes on beside an intake that waits for
    ever inside of a client library. Counters and not times, because counting costs the loops nothing.
    """

    def __init__(self, intake: Intake, outlet: Outlet, inline: bool) -> None:
        """`inline`: the intake's loop stands still while a task runs, and nobody else settles."""
        self._intake = intake
        self._outlet = outlet
        self._inline = inline
        self._turns = [-1, -1]
        self._moved_at = [0.0, 0.0]

    def at(self, now: float, running: bool, away: bool) -> float:
        """When the loop that is furthest behind got on last; `now` while all do.

        `running`: tasks run; `away`: the transport is, for which the loops wait and try. A worker that stops has loops
        no more, and whoever stops it has a deadline.
        """
        excused = away or self._intake.stopping.is_set()
        looks = (self._intake.turns, self._inline and running), (self._outlet.turns, self._inline)
        for loop, (turns, stands_still) in enumerate(looks):
            if excused or stands_still or turns != self._turns[loop]:
                self._turns[loop] = turns
                self._moved_at[loop] = now
        return min(self._moved_at)
