"""`python -m faults --on redis --runs 5`: random faults on a real system, and what the ledger says of it."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from faults.engine import Engine
from faults.systems import SYSTEMS
from faults.verdict import Verdict


@click.command()
@click.option("--on", "names", multiple=True, type=click.Choice(list(SYSTEMS)), help="Systems; default: all.")
@click.option("--runs", default=1, show_default=True, help="Runs of each system, each with a seed of its own.")
@click.option("--tasks", default=2000, show_default=True, help="Tasks of a run.")
@click.option("--faults", default=15, show_default=True, help="Faults of a run.")
@click.option("--seed", default=1, show_default=True, help="Seed of the first run; the next ones count up.")
def main(names: tuple[str, ...], runs: int, tasks: int, faults: int, seed: int) -> None:
    """Send tasks while workers, producers and servers are killed, frozen and restarted; compare the ledger.

    The status is 1 when a confirmed task was lost, a task ran that nobody sent, or one ran more often than the faults
    account for. A seed repeats the schedule of faults.
    """
    console = Console()
    table = Table()
    for name in ("system", "runs", "tasks", "faults", "lost", "phantoms", "ran twice", "most often", "seconds"):
        table.add_column(name, justify="left" if name == "system" else "right")
    troubles: list[str] = []
    for name in names or SYSTEMS:
        found: list[Verdict] = []
        with SYSTEMS[name]() as system:
            for number in range(runs):
                folder = Path(tempfile.mkdtemp(prefix="kernel-faults-"))
                verdict = Engine(folder, system, seed + number).run(tasks, faults)
                found.append(verdict)
                console.print(
                    f"{name} seed {verdict.seed}: {verdict.trouble() or 'nothing lost'}; {dict(verdict.faults)}"
                )
                if verdict.trouble():
                    troubles.append(f"{name}, {verdict.trouble()}; ledgers in {folder}")
                else:
                    shutil.rmtree(folder, ignore_errors=True)
        table.add_row(name, *map(str, _row(found)))
    console.print(table)
    if troubles:
        raise click.ClickException("\n".join(troubles))


def _row(found: list[Verdict]) -> list[object]:
    faults: Counter[str] = sum((verdict.faults for verdict in found), Counter())
    return [
        len(found),
        sum(verdict.tasks for verdict in found),
        faults.total(),
        sum(len(verdict.lost) for verdict in found),
        sum(len(verdict.phantoms) for verdict in found),
        sum(verdict.duplicates for verdict in found),
        max(verdict.most_often for verdict in found),
        round(sum(verdict.seconds for verdict in found)),
    ]


if __name__ == "__main__":
    main()
