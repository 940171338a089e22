"""`python -m faults.models --on redis --examples 200 --seed 5`: random commands, each answer compared with a model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import click
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.errors import Flaky
from hypothesis.stateful import run_state_machine_as_test
from rich.console import Console

from faults.models.machine import QueueMachine
from faults.models.machine_kernel import KernelMachine
from faults.models.machine_places import SYSTEMS, Place, System
from faults.models.machine_stores import FactMachine, ParkedMachine, RecordMachine
from faults.models.model import Trouble

#: The machines, by what they are about; each runs where the system has the port.
MACHINES: Mapping[str, tuple[type[Any], str]] = {
    "transport": (QueueMachine, "transport"),
    "results": (RecordMachine, "results"),
    "coordination": (FactMachine, "coordination"),
    "schedules": (ParkedMachine, "schedules"),
    "kernel": (KernelMachine, ""),
}


@dataclass
class Verdict:
    """What came of one exploration."""

    system: str
    seed: int
    examples: int = 0
    steps: int = 0
    seconds: float = 0.0
    troubles: list[str] = field(default_factory=list)


def run(
    machine: type[Any], place_of: Callable[[int], Place], examples: int, number: int | None, steps: int, shrink: bool
) -> tuple[int, str]:
    """Run one machine; the number of its steps, and the trouble it met, "" for none."""
    total, found = [0], list[str]()
    case = type(machine.__name__, (machine,), {"place_of": staticmethod(place_of), "total": total, "found": found})
    phases = [Phase.generate, *([Phase.shrink] if shrink else [])]
    chosen = settings(
        max_examples=examples,
        stateful_step_count=steps,
        phases=phases,
        database=None,
        report_multiple_bugs=False,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=settings().derandomize and number is None,
    )
    if number is not None:
        case = seed(number)(case)
    try:
        run_state_machine_as_test(case, settings=chosen)
    except (Trouble, Flaky) as error:
        return total[0], found[-1 if shrink else 0] if found else f"not the same again: {error}"
    return total[0], ""


def explore(system: str, examples: int, number: int, only: Iterable[str] = ()) -> Verdict:
    """Run every machine that a system has a port for; `number` is the seed. No examples: as many as are quick."""
    verdict = Verdict(system, number)
    began = time.monotonic()
    with SYSTEMS[system]() as started:
        examples = examples or started.few
        for name in list(only) or MACHINES:
            machine, port = MACHINES[name]
            place = started.place(0)
            if getattr(place, port) is None if port else system != "memory":
                continue  # a port that the system has not, or what runs in memory only
            steps, trouble = run(machine, started.place, examples, number, started.steps, place.virtual)
            verdict.examples += examples
            verdict.steps += steps
            if trouble:
                verdict.troubles.append(f"{name}, seed {number}: {trouble}")
    verdict.seconds = time.monotonic() - began
    return verdict


__all__ = ["MACHINES", "System", "Verdict", "explore", "run"]


@click.command()
@click.option("--on", "names", multiple=True, type=click.Choice(list(SYSTEMS)), help="Systems; default: all.")
@click.option("--machine", "only", multiple=True, type=click.Choice(list(MACHINES)), help="Machines; default: all.")
@click.option("--examples", default=100, show_default=True, help="Examples of each machine.")
@click.option("--seed", "number", default=1, show_default=True, help="The same seed makes the same commands.")
def main(names: tuple[str, ...], only: tuple[str, ...], examples: int, number: int) -> None:
    """Give random commands to adapters and to their models; the status is 1 when an answer was not allowed."""
    console = Console()
    troubles: list[str] = []
    for name in names or SYSTEMS:
        verdict = explore(name, examples, number, only)
        console.print(f"{name}: {verdict.examples} examples, {verdict.steps} steps in {verdict.seconds:.0f} s")
        troubles += [f"{name}, {trouble}" for trouble in verdict.troubles]
    if troubles:
        raise click.ClickException("\n".join(troubles))
