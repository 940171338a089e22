"""The command line of a driver: what the harness asks of a system's client, inside of that system's environment."""

from __future__ import annotations

import json
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from typing import Any, NamedTuple, Protocol, runtime_checkable

from marks import LENGTHS, ORDER

#: One in so many messages is sent before the clock runs.
LEAD_IN = 20


class Variant(NamedTuple):
    """One configuration of a system, as data that goes into the report."""

    #: What is set, for people.
    settings: str
    #: What happens to a task whose worker dies.
    guarantee: str
    #: Command lines of the workers; `{bin}` is the folder of the environment's programs, `{driver}` this script.
    workers: list[list[str]]
    #: How tasks are sent in bulk, for people; "" where that is one by one.
    bulk: str = ""
    #: Expected tasks per second, from which the number of tasks of a run is made: results ignored, results kept.
    pace: tuple[int, int] = (1000, 1000)
    #: Expected sends per second: one by one, in bulk.
    sends: tuple[int, int] = (1000, 1000)
    #: Expected steps of chains per second.
    steps: int = 1000
    #: Processes that run tasks.
    processes: int = 2
    #: Environment variables of the workers.
    environment: dict[str, str] = {}


class Side(Protocol):
    """A system as seen by its client."""

    def open(self) -> None:
        """Be ready to send."""

    def send(self, numbers: Iterable[int]) -> None:
        """Send one task per number, each stored before the next is sent, as far as the system can do that."""

    def send_many(self, numbers: Iterable[int]) -> None:
        """Send one task per number in the fastest way that the system has."""

    def round_trips(self, numbers: Iterable[int]) -> list[float]:
        """Send one task per number and wait for its result: the seconds that each took."""

    def close(self) -> None:
        """Let go of everything."""

    def serve(self) -> None:
        """Run tasks until the process is ended; only of bare loops, which have no worker program."""


@runtime_checkable
class Weaves(Protocol):
    """A system that has workflows, as seen by its client."""

    def chains(self, numbers: range) -> None:
        """Start chains of `STEPS` tasks; each step is given the result of the one before and a number of its own."""

    def chord(self, numbers: range) -> None:
        """Start one chord of tasks that do nothing, whose body is given the list of their results."""

    def sizes(self, lengths: Sequence[int]) -> list[int]:
        """Bytes that are sent and stored when a chain of such a length is started."""


def timed(call: Callable[[int], object], numbers: Iterable[int]) -> list[float]:
    """Seconds that the call took with each number."""
    took = []
    clock = time.perf_counter
    for number in numbers:
        began = clock()
        call(number)
        took.append(clock() - began)
    return took


def main(side: Side, variants: dict[str, Variant], packages: Sequence[str]) -> None:
    """Do what the command line says and print the answer as JSON."""
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    if command == "describe":
        answer = {
            "python": platform.python_version(),
            "versions": {name: metadata.version(name) for name in packages},
            "variants": {name: variant._asdict() for name, variant in variants.items()},
        }
    elif command == "serve":
        side.serve()
        return
    elif command in ("send", "send_many", "round_trips", "chains", "chord"):
        answer = _measured(side, command)
    elif command == "sizes":
        assert isinstance(side, Weaves)
        answer = {"sizes": side.sizes(LENGTHS)}
    else:
        raise SystemExit("usage: DRIVER describe | send | send_many | round_trips | chains | chord | sizes | serve")
    sys.stdout.write(json.dumps(answer) + "\n")


def _measured(side: Side, command: str) -> dict[str, Any]:
    side.open()
    run = getattr(side, command)
    numbers = range(ORDER.tasks)
    if command in ("send", "send_many"):
        # Most of them connect with the first message, and none is to be faster for having done so before.
        first = len(numbers) // LEAD_IN
        run(numbers[:first])
        numbers = numbers[first:]
    cpu, began = time.process_time(), time.perf_counter()
    took = run(numbers)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    side.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": seconds, "cpu": cpu, "took": took, "peak": peak, "tasks": len(numbers)}
