"""`python -m faults.random`: many seeds on all systems, side by side, until there is something to say a number of.

Each part of it, some runs of one system, is a process of its own (`--part`), which prints one verdict a line, as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from faults.random.engine import Engine
from faults.random.verdict import Verdict, in_folder
from faults.systems import SYSTEMS, System


@dataclass(frozen=True, slots=True)
class Share:
    """What one system has of a campaign."""

    runs: int
    tasks: int
    faults: int


#: 500,000 tasks and 2,000 faults in all.
SHARES: Mapping[str, Share] = {
    "rabbitmq": Share(8, 6_000, 45),
    "sqs": Share(8, 1_200, 30),
    "redis": Share(14, 17_000, 65),
    "sqlite": Share(14, 17_000, 65),
}
#: Runs of one part, on the same servers.
PART = 4
#: Seconds that a run may take.
PATIENCE = 600.0


@dataclass
class Sum:
    """All runs of one system."""

    system: str
    verdicts: list[Verdict]

    @property
    def row(self) -> tuple[object, ...]:
        """For a table; `COLUMNS` are the names."""
        found = self.verdicts
        return (
            self.system,
            len(found),
            f"{sum(each.tasks for each in found):,}",
            f"{sum(each.faults_in_all for each in found):,}",
            sum(len(each.lost) for each in found),
            sum(len(each.phantoms) for each in found),
            sum(each.duplicates for each in found),
            max((each.most_often for each in found), default=0),
            sum(each.overlaps for each in found),
            sum(each.recovered for each in found),
            f"{max((each.recovery for each in found), default=0.0):.1f}",
            round(sum(each.seconds for each in found)),
        )

    @property
    def faults(self) -> Counter[str]:
        """How often each happened."""
        return sum((verdict.faults for verdict in self.verdicts), Counter())


#: What the columns of `Sum.row` are.
COLUMNS = (
    "system", "runs", "tasks", "faults", "lost", "phantoms", "ran twice", "most often", "overlaps",
    "unknown and ran", "slowest recovery", "seconds",
)  # fmt: skip


def one(name: str, seed: int, runs: int, share: Share, said: Callable[[Verdict, Path | None], None]) -> None:
    """Some runs of one system on the same servers. `said` is told of each, and of its folder if that is kept."""
    with SYSTEMS[name]() as system:
        for number in range(runs):
            said(*in_folder(f"kernel-faults-{name}-", partial(_run, system, seed + number, share)))


def _run(system: System, seed: int, share: Share, folder: Path) -> Verdict:
    return Engine(folder, system, seed).run(share.tasks, share.faults)


def campaign(
    names: Sequence[str], seed: int, jobs: int, scale: float, said: Callable[[str, Verdict, str], None]
) -> list[Sum]:
    """All shares of these systems, `scale` times as many runs as usual; `said` is told of each run and its folder."""
    parts = [(name, at, runs) for name in names for at, runs in _parts(SHARES[name], seed, scale)]
    found: dict[str, list[Verdict]] = {name: [] for name in names}
    with ThreadPoolExecutor(jobs) as pool:
        for name, verdicts in pool.map(lambda part: (part[0], list(_part(*part, said))), parts):
            found[name] += verdicts
    return [Sum(name, verdicts) for name, verdicts in found.items()]


def _parts(share: Share, seed: int, scale: float) -> Iterator[tuple[int, int]]:
    runs = max(1, round(share.runs * scale))
    for first in range(0, runs, PART):
        yield seed + first, min(PART, runs - first)


def _part(name: str, seed: int, runs: int, said: Callable[[str, Verdict, str], None]) -> Iterator[Verdict]:
    command = [sys.executable, "-m", "faults.random", "--part", name, "--seed", str(seed), "--runs", str(runs)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        count = 0
        for line in process.stdout:
            data = json.loads(line)
            verdict = _verdict(data["verdict"])
            count += 1
            said(name, verdict, data["folder"])
            yield verdict
        process.wait(PATIENCE)
    if count < runs:
        broken = Verdict(seed + count, troubles=[f"the harness itself ended with status {process.returncode}"])
        said(name, broken, "")
        yield broken


def _data(verdict: Verdict) -> dict[str, Any]:
    return {key: sorted(value) if isinstance(value, set) else value for key, value in vars(verdict).items()}


def _verdict(data: dict[str, Any]) -> Verdict:
    sets = {name: set(data.pop(name)) for name in ("lost", "phantoms", "refused_and_run")}
    return Verdict(faults=Counter(data.pop("faults")), **sets, **data)


def table(sums: Sequence[Sum]) -> Table:
    """What came of it."""
    found = Table()
    for column in COLUMNS:
        found.add_column(column, justify="left" if column == "system" else "right")
    for each in sums:
        found.add_row(*map(str, each.row))
    return found


@click.command()
@click.option("--on", "names", multiple=True, type=click.Choice(list(SYSTEMS)), help="Systems; default: all.")
@click.option("--seed", default=1, show_default=True, help="Of the first run of each; the next ones count up.")
@click.option("--jobs", default=2, show_default=True, help="Systems side by side.")
@click.option("--scale", default=1.0, show_default=True, help="So many times as many runs.")
@click.option("--part", default="", hidden=True)
@click.option("--runs", default=1, hidden=True)
def main(names: tuple[str, ...], seed: int, jobs: int, scale: float, part: str, runs: int) -> None:
    """Run many seeds; the status is 1 when one of them shows something to be wrong."""
    if part:
        one(part, seed, runs, SHARES[part], _print)
        return
    console = Console()
    troubles: list[str] = []

    def said(name: str, verdict: Verdict, folder: str) -> None:
        outcome = verdict.trouble() or "nothing lost"
        mended = f"; mended: {verdict.mended}" if verdict.mended else ""
        counts = f"{verdict.tasks} tasks, {verdict.faults_in_all} faults, {verdict.seconds:.0f} s"
        console.print(f"{name} seed {verdict.seed}: {outcome}; {counts}{mended}")
        if verdict.trouble():
            troubles.append(f"{name}, {verdict.trouble()}; ledgers in {folder}")

    sums = campaign(names or list(SHARES), seed, jobs, scale, said)
    console.print(table(sums))
    for fault, count in sorted(sum((each.faults for each in sums), Counter[str]()).items(), key=lambda pair: -pair[1]):
        console.print(f"{count:6} {fault}")
    if troubles:
        raise click.ClickException("\n".join(troubles))


def _print(verdict: Verdict, folder: Path | None) -> None:
    sys.stdout.write(json.dumps({"verdict": _data(verdict), "folder": str(folder or "")}) + "\n")
    sys.stdout.flush()
