"""Chooses what an adapter needs around it, once it is open."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Protocol

from kernel.clock import SYSTEM, Clock
from kernel.emulate.delay import Hops, Parking
from kernel.emulate.priority import LEVELS, QueuePriority, ScaledPriority
from kernel.emulate.refuse import Refuse
from kernel.emulate.unique import WINDOW, Claims, Unique
from kernel.errors import ConfigError
from kernel.ports import ScheduleStore, Transport


class Pump(Protocol):
    """A thread that an emulation needs."""

    def start(self) -> None:
        """Begin, once."""

    def stop(self, timeout: float) -> bool:
        """End; returns whether it has ended within `timeout` seconds. Idempotent."""


@dataclass(frozen=True, slots=True)
class Completed:
    """A transport that can do what the kernel needs, and what was added to it."""

    #: The adapter itself where it lacks nothing.
    transport: Transport
    #: One line for each emulation, for the banner.
    emulated: tuple[str, ...] = ()
    #: One line for each feature that is refused at send, for want of a helper.
    refused: tuple[str, ...] = ()
    #: To be started by workers and stopped before the ports close. Senders alone need not start them.
    pumps: tuple[Pump, ...] = ()


def complete(
    transport: Transport,
    schedule: ScheduleStore | None = None,
    coordination: Claims | None = None,
    clock: Clock = SYSTEM,
    *,
    levels: int = LEVELS,
) -> Completed:
    """Put around an open transport what it lacks: priority, then delay, then dedup, the refusals outermost.

    `schedule` is open too. `levels` (1 to 10) is the number of queues that emulate priorities; all
    processes that share queues must agree on it.
    """
    if not 1 <= levels <= 10:
        raise ConfigError(f"{levels} queues for each queue: priorities need 1 to 10")
    native = transport.features
    emulated: list[str] = []
    refused: list[str] = []
    pumps: list[Pump] = []
    if native.priorities == 0:
        transport = QueuePriority(transport, levels)
        emulated.append(f"priority: {levels} queues for each queue")
    elif native.priorities < 10:
        transport = ScaledPriority(transport)
        emulated.append(f"priority: 0 to 9 in {native.priorities} levels")
    if 0.0 < native.delay < inf:
        transport = hops = Hops(transport, clock)
        emulated.append(f"delay beyond {native.delay:g} s: hops of {hops.hop:g} s")
    elif native.delay == 0.0 and schedule is not None:
        transport = parking = Parking(transport, schedule, clock)
        pumps.append(parking.pump)
        emulated.append("delay: schedule store")
    elif native.delay == 0.0:
        refused.append("delay: no schedule store")
    if native.dedup == 0.0 and coordination is not None:
        transport = Unique(transport, coordination)
        emulated.append(f"dedup: claims for {WINDOW:g} s")
    elif native.dedup == 0.0:
        refused.append("dedup: no coordination service")
    if refused:
        no_delay, no_dedup = native.delay == 0.0 and schedule is None, native.dedup == 0.0 and coordination is None
        transport = Refuse(transport, clock, delay=no_delay, dedup=no_dedup)
    return Completed(transport, tuple(emulated), tuple(refused), tuple(pumps))
