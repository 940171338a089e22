"""`python -m faults.random.recovery --on redis`: every fault by itself, and how long until tasks end again.

A campaign heaps faults on each other, and runs beside another one. Here a fault has the system to itself, and the
system the machine: what is promised in leases is taken as it stands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median

import click
from rich.console import Console
from rich.table import Table

from faults.random.engine import RECOVERY, Engine
from faults.random.verdict import Verdict, in_folder
from faults.systems import SYSTEMS, System

#: Runs of one system: some have their results with the messages, some in a store of their own.
RUNS = 4
#: Of the tasks a second that a system manages at ease, these are sent.
SHARE = 0.5

#: What the columns of `Recovery.row` are.
COLUMNS = (
    "system", "runs", "kinds", "faults", "tasks", "lost", "median", "slowest", "three leases", "pace before", "after",
)  # fmt: skip


@dataclass
class Recovery:
    """What came of one system."""

    system: str
    #: Seconds of its lease.
    lease: float = 0.0
    verdicts: list[Verdict] = field(default_factory=list)

    def run(self, system: System, seed: int, folder: Path) -> Verdict:
        """Strike every fault once."""
        engine = Engine(folder, system, seed, alone=True)
        strikes, self.lease = engine.one_by_one(), engine.lease
        verdict = engine.run(round(strikes[-1].at * system.rate * SHARE), len(strikes), strikes)
        self.verdicts.append(verdict)
        return verdict

    @property
    def slowest(self) -> dict[str, float]:
        """Seconds of the slowest recovery from each fault, the slowest first."""
        found: dict[str, float] = {}
        for verdict in self.verdicts:
            for fault, took in verdict.recoveries.items():
                found[fault] = max(found.get(fault, 0.0), took)
        return dict(sorted(found.items(), key=lambda pair: -pair[1]))

    @property
    def row(self) -> tuple[str, ...]:
        """For a table; `COLUMNS` are the names."""
        slowest, runs = self.slowest, self.verdicts
        paces = [verdict.paces for verdict in runs if len(verdict.paces) == 2] or [[0.0, 0.0]]
        before, after = (median(pair[at] for pair in paces) for at in (0, 1))
        return (
            self.system,
            str(len(runs)),
            str(len(slowest)),
            str(sum(verdict.faults_in_all for verdict in runs)),
            f"{sum(verdict.tasks for verdict in runs):,}",
            str(sum(len(verdict.lost) for verdict in runs)),
            f"{median(took for verdict in runs for took in verdict.recoveries.values()):.1f} s",
            f"{max(slowest.values(), default=0.0):.1f} s",
            f"{RECOVERY * self.lease:g} s",
            f"{before:,.0f}/s",
            f"{after:,.0f}/s",
        )


def recover(name: str, seed: int, runs: int, said: Callable[[Verdict, Path | None], None]) -> Recovery:
    """Some runs of one system on the same servers. `said` is told of each, and of its folder if that is kept."""
    found = Recovery(name)
    with SYSTEMS[name]() as system:
        for number in range(runs):
            verdict, folder = in_folder(f"kernel-recovery-{name}-", partial(found.run, system, seed + number))
            said(verdict, folder)
    return found


@click.command()
@click.option("--on", "names", multiple=True, type=click.Choice(list(SYSTEMS)), help="Systems; default: all.")
@click.option("--seed", default=1, show_default=True, help="Of the first run of each; the next ones count up.")
@click.option("--runs", default=RUNS, show_default=True, help="Of each system; one has every fault once.")
def main(names: tuple[str, ...], seed: int, runs: int) -> None:
    """Strike each fault alone, on a machine that has nothing else to do; the status is 1 when anything is wrong."""
    console = Console()
    troubles: list[str] = []
    found = Table(*COLUMNS)

    def said(verdict: Verdict, folder: Path | None) -> None:
        console.print(f"seed {verdict.seed}: {verdict.trouble() or 'nothing wrong'}, {verdict.seconds:.0f} s")
        if folder:
            troubles.append(f"{verdict.trouble()}; ledgers in {folder}")

    for name in names or SYSTEMS:
        recovery = recover(name, seed, runs, said)
        found.add_row(*recovery.row)
        for fault, took in recovery.slowest.items():
            console.print(f"{took:6.1f} s {fault}")
    console.print(found)
    if troubles:
        raise click.ClickException("\n".join(troubles))


if __name__ == "__main__":
    main()
