"""Delays: one queue per bit of the waiting time, each with its own time to live, joined by dead-letter exchanges.

A delay is a number of units. A message enters at its highest bit. The queue of a level holds everything for the same
time, so that its head is always the next to go and nobody waits behind anybody; then it goes on to the exchange of the
next lower level, which either puts it into its own queue or passes it on at once, by one word of the routing key. Below
the lowest level, the last word is the destination. Every level is a quorum queue that lets go of a message only when
the next one has confirmed it.
"""

from __future__ import annotations

from functools import partial
from math import ceil
from typing import Any, Final

from kernel_rabbitmq.names import word
from kernel_rabbitmq.steps import Steps
from kernel_rabbitmq.topology import NO_LIMIT, Topology

#: Milliseconds: how late a delay may be, because it is rounded up to this.
UNIT: Final = 125
#: 2 ** 25 units are 48.5 days, near the longest time to live that the broker takes (2 ** 32 ms).
LEVELS: Final = 26
#: Seconds; longer ones are sent in hops by the kernel. The margin is for clocks that differ.
LONGEST: Final = ((1 << LEVELS) - 1) * UNIT / 1000 - 60.0
#: Names of the levels on the broker. They are shared by all that use a virtual host, whatever their prefix: what waits
#: carries its destination.
PREFIX: Final = "kernel.delay"
DELIVERY: Final = f"{PREFIX}.delivery"

#: Where delayed messages end whose queue is gone when they are due.
ASTRAY: Final = f"{PREFIX}.dead"


def units(seconds: float) -> int:
    """A delay in units, rounded up: never early."""
    return max(1, ceil(seconds * 1000 / UNIT))


def entry(delay: int) -> str:
    """The exchange at which a delay of so many units begins."""
    return f"{PREFIX}.{delay.bit_length() - 1}"


def routing_key(delay: int, name: str) -> str:
    """One word per level, the highest first, then the destination."""
    return ".".join(f"{delay:0{LEVELS}b}") + f".{word(name)}"


class Delays:
    """Declares the levels that are needed, and the way from the last one to a queue."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology

    def declare(self, longest: int, queues: set[str]) -> Steps[None]:
        """Make what a delay of `longest` units to these queues needs. The queues are declared already."""
        yield from self._topology.remember(DELIVERY, self._delivery)
        for level in range(longest.bit_length()):
            yield from self._topology.remember(f"{PREFIX}.{level}", partial(self._level, level))
        for queue in queues:
            name = self._topology.name(queue)
            yield from self._topology.remember(f"{DELIVERY} {queue}", partial(self._destination, name))

    def _delivery(self) -> Steps[None]:
        # A destination that was deleted meanwhile must not hold up the others: a level waits for every confirm.
        rpc = self._topology.rpc
        yield from rpc("exchange_declare", ASTRAY, "fanout", durable=True)
        arguments = {"x-queue-type": "quorum", "x-delivery-limit": NO_LIMIT}
        yield from rpc("queue_declare", ASTRAY, durable=True, arguments=arguments)
        yield from rpc("queue_bind", ASTRAY, ASTRAY)
        yield from rpc("exchange_declare", DELIVERY, "topic", durable=True, arguments={"alternate-exchange": ASTRAY})

    def _destination(self, name: str) -> Steps[None]:
        yield from self._topology.rpc("queue_bind", name, DELIVERY, f"#.{word(name)}")

    def _level(self, level: int) -> Steps[None]:
        """Exchange, queue and the two ways out of the exchange. The next lower level is there already."""
        rpc = self._topology.rpc
        name = f"{PREFIX}.{level}"
        below = f"{PREFIX}.{level - 1}" if level else DELIVERY
        arguments: dict[str, Any] = {
            "x-queue-type": "quorum",
            "x-message-ttl": UNIT << level,
            "x-dead-letter-exchange": below,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
            "x-delivery-limit": NO_LIMIT,
        }
        bit = "*." * (LEVELS - 1 - level)
        yield from rpc("exchange_declare", name, "topic", durable=True)
        yield from rpc("queue_declare", name, durable=True, arguments=arguments)
        yield from rpc("queue_bind", name, name, f"{bit}1.#")
        yield from rpc("exchange_bind", below, name, f"{bit}0.#")
