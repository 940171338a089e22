"""The bench of the schedule store tests."""

from __future__ import annotations

from typing import cast

from kernel.ports import Parked, ScheduleFeatures, ScheduleStore
from kernel_conformance.bench import Bench

#: The space of most tests.
SPACE = "delay"


class ScheduleBench(Bench[ScheduleStore]):
    """Schedule stores of one namespace.

    `take` is told what time it is. Whether a lease ends by that time or by the clock of the service is the
    adapter's choice, so the tests of leases tell the true time.
    """

    @property
    def f(self) -> ScheduleFeatures:
        """The claims of the adapter."""
        return cast(ScheduleFeatures, self.features)

    @property
    def lease(self) -> float:
        """A lease that a test can wait for."""
        return 60.0 if self.tuning.clock else self.tuning.lease_for

    def add(self, key: str, due_at: float, payload: bytes = b"", space: str = SPACE) -> Parked:
        """Store one entry by the first adapter."""
        entry = Parked(space, key, due_at, payload or key.encode())
        self.first.add([entry])
        return entry

    def take(
        self, now: float, limit: int = 10, lease: float = 60.0, by: ScheduleStore | None = None, space: str = SPACE
    ) -> list[str]:
        """Keys of what is taken."""
        return [entry.key for entry in (by or self.first).take(space, now, limit, lease)]
