"""`python -m faults`: all engines and the mutants, one after the other; what comes of each becomes a chapter of a page.

A chapter is kept as JSON below `build/prove`, so that one of them can be told anew without the hours of the others.
Crash points and models are kept by system, for the same reason.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from xml.etree import ElementTree

import click
from rich.console import Console
from rich.table import Table

from faults import mutants, soak
from faults.crashes import engine as crashes
from faults.crashes.places import PLACES
from faults.crew import ROOT
from faults.models import explore
from faults.random import campaign, recovery
from faults.random.verdict import Verdict

PAGE = ROOT / "docs" / "reliability.md"
KEPT = ROOT / "build" / "prove"
BEGIN, END = "<!-- prove:begin -->", "<!-- prove:end -->"

console = Console()


@dataclass
class Chapter:
    """What came of one engine."""

    title: str
    command: str
    columns: Sequence[str]
    rows: list[list[str]]
    #: Sentences below the table.
    notes: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    seconds: float = 0.0
    at: str = ""
    machine: str = ""

    def table(self) -> Table:
        """For the terminal."""
        shown = Table(*self.columns, title=self.title)
        for row in self.rows:
            shown.add_row(*row)
        return shown

    def markdown(self) -> str:
        """For the page."""
        lines = [
            f"### {self.title}",
            "",
            f"`{self.command}` in `tests/`; {self.at}, {self.seconds / 60:.0f} minutes on",
        ]
        lines[-1] += f" {self.machine}."
        lines += ["", f"| {' | '.join(self.columns)} |", f"|{'---|' * len(self.columns)}"]
        lines += [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in self.rows]
        lines += [line for note in self.notes for line in ("", note)]
        many = "" if len(self.troubles) == 1 else "s"
        lines += ["", f"**{len(self.troubles)} trouble{many}.**" if self.troubles else "Nothing was wrong."]
        return "\n".join([*lines, ""])


# -- the chapters --------------------------------------------------------------------------------------------------


def _crashes(quick: bool, seed: int, system: str) -> Chapter:
    pairs: crashes.Pairs = "none" if quick else "same"
    with PLACES[system]() as place:
        verdict = crashes.Engine(place).run(pairs, others=not quick)
    console.print(f"{system}: {verdict.cases} cases, {verdict.trouble() or 'nothing wrong'}")
    columns = (
        "points", "cases", "pairs", "tasks", "kills", "others", "lost", "phantoms", "duplicates", "stuck", "missed",
    )  # fmt: skip
    return Chapter(
        "Engine 1: crash points",
        f"python -m faults.crashes --pairs {pairs}",
        ("system", *columns),
        [[system, *(f"{getattr(verdict, name):,}" for name in columns)]],
        [
            "*others*: processes frozen and woken, calls refused, done and reported as failed. *bare* is a transport "
            "without native delay and without a common commit, *duplicates* are executions beyond the first, each of "
            "them accounted for by a fault. *missed*: cases whose fault did not come to pass in three tries."
        ],
        verdict.troubles,
    )


def _campaign(quick: bool, seed: int, system: str) -> Chapter:
    scale = 0.1 if quick else 1.0
    troubles: list[str] = []

    def said(name: str, verdict: Verdict, folder: str) -> None:
        console.print(f"{name} seed {verdict.seed}: {verdict.trouble() or 'nothing lost'}, {verdict.seconds:.0f} s")
        if verdict.trouble():
            troubles.append(f"{name}, {verdict.trouble()}; ledgers in {folder}")

    sums = campaign.campaign(list(campaign.SHARES), seed, 2, scale, said)
    faults = sum((each.faults for each in sums), Counter[str]())
    tasks = sum(verdict.tasks for each in sums for verdict in each.verdicts)
    seeds = {each.system: len(each.verdicts) for each in sums}
    mended = [text for each in sums for verdict in each.verdicts for text in verdict.mended]
    notes = [
        f"**{tasks:,} tasks, {faults.total():,} faults**, seeds {seed} to "
        + ", ".join(f"{seed + count - 1} ({name})" for name, count in seeds.items())
        + ". *unknown and ran*: sends of which nobody knew the outcome. *overlaps*: a zombie beside its successor. "
        "*slowest recovery*: seconds from the end of a fault to the next end of a task.",
        "Faults: " + ", ".join(f"{name} {count:,}" for name, count in faults.most_common()) + ".",
    ]
    if mended:
        notes.append("Mended by an operator, for a fault of the broker's: " + "; ".join(mended) + ".")
    return Chapter(
        "Engine 2: random faults",
        f"python -m faults.random --seed {seed} --scale {scale:g}",
        campaign.COLUMNS,
        [[str(cell) for cell in each.row] for each in sums],
        notes,
        troubles,
    )


def _recovery(quick: bool, seed: int, system: str) -> Chapter:
    troubles: list[str] = []

    def said(verdict: Verdict, folder: Path | None) -> None:
        console.print(f"{system} seed {verdict.seed}: {verdict.trouble() or 'all came back'}, {verdict.seconds:.0f} s")
        if folder:
            troubles.append(f"{system}, {verdict.trouble()}; ledgers in {folder}")

    found = recovery.recover(system, seed, 1 if quick else recovery.RUNS, said)
    return Chapter(
        "Engine 2: one fault at a time",
        f"python -m faults.random.recovery --seed {seed}",
        recovery.COLUMNS,
        [list(found.row)],
        [
            "Nothing else runs on the machine, and nothing is restarted but what the fault itself took whole. *median* "
            "and *slowest*: seconds from the end of a fault to the next end of a task, the start of processes that "
            "were killed or replaced included; above *three leases* is a trouble. *pace*: tasks a second before the "
            "first fault and after the last; below the half is a trouble.",
            f"{system}, the slowest from each fault in seconds: "
            + ", ".join(f"{fault} {took:.1f}" for fault, took in found.slowest.items())
            + ".",
        ],
        troubles,
    )


def _models(quick: bool, seed: int, system: str) -> Chapter:
    examples = 0 if quick else 3000 if system == "memory" else 60
    verdict = explore.explore(system, examples, seed)
    console.print(f"{system}: {verdict.steps} steps, {verdict.troubles or 'nothing wrong'}")
    return Chapter(
        "Engine 3: models",
        f"python -m faults.prove --only models --seed {seed}{' --quick' if quick else ''}",
        ("system", "examples", "commands"),
        [[system, f"{verdict.examples:,}", f"{verdict.steps:,}"]],
        ["Examples of all machines of a system together; a command is one call whose answer was judged."],
        [f"{system}, {trouble}" for trouble in verdict.troubles],
    )


def _mutants(quick: bool, seed: int, system: str) -> Chapter:
    wanted = [m for m in mutants.MUTANTS.values() if not quick or m.place == "sqlite"]
    catches: list[mutants.Catch] = []
    for name in dict.fromkeys(mutant.place for mutant in wanted):
        with PLACES[name]() as place:
            catches += mutants.hunt(place, [mutant for mutant in wanted if mutant.place == name])
    rows = []
    for catch in catches:
        mutant = mutants.MUTANTS[catch.mutant]
        faults = ", ".join(map(str, mutant.faults)) or "none"
        found = f"**{mutant.check}**" if catch.caught else "SURVIVES"
        rows.append([mutant.name, mutant.breaks, mutant.place, mutant.scenario, faults, found])
    return Chapter(
        "Mutants",
        "python -m faults.mutants",
        ("mutant", "what is wrong with it", "on", "scenario", "fault", "found by"),
        rows,
        [f"{sum(catch.caught for catch in catches)} of {len(catches)} are found by the check that is meant for them."],
        [f"{catch.mutant} survives: {catch.found}; {catch.healthy}" for catch in catches if not catch.caught],
    )


def _soak(quick: bool, seed: int, system: str) -> Chapter:
    minutes, rate = (1.0 if quick else 30.0), 150.0
    table, troubles, tasks = soak.soaked("redis", minutes, rate, "solo")
    return Chapter(
        "Soak",
        f"python -m faults.soak --minutes {minutes:g} --on redis",
        soak.COLUMNS,
        table,
        [f"{tasks:,} tasks, {rate:g} a second, without faults; lines through the samples after a quarter of the time."],
        troubles,
    )


def _wide(quick: bool, seed: int, system: str) -> Chapter:
    """The tests that the suite leaves out."""
    report = KEPT / "wide.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-m", "wide", f"--junitxml={report}", str(ROOT / "tests")]
    subprocess.run(command, cwd=ROOT, check=False)
    files: dict[str, Counter[str]] = {}
    troubles = []
    for case in ElementTree.parse(report).iter("testcase"):
        name = case.get("classname", "")
        ended = next((child.tag for child in case), "passed")
        files.setdefault(name, Counter())[ended] += 1
        if ended in ("failure", "error"):
            troubles.append(f"{name}::{case.get('name')}: {ended}")
    return Chapter(
        "Guarantees on every transport and pool",
        "python -m pytest -m wide",
        ("tests", "passed", "skipped", "failed"),
        [
            [f"`{name}`", str(found["passed"]), str(found["skipped"]), str(found["failure"] + found["error"])]
            for name, found in sorted(files.items())
        ],
        ["`make test` has each of them on each transport with one pool, and with each pool on one transport."],
        troubles,
    )


CHAPTERS: Mapping[str, Callable[[bool, int, str], Chapter]] = {
    "crashes": _crashes,
    "campaign": _campaign,
    "recovery": _recovery,
    "models": _models,
    "mutants": _mutants,
    "wide": _wide,
    "soak": _soak,
}
#: Told only when asked for by name: it takes as long as it takes.
_ASKED = ("soak",)
#: Told one system after the other; the others run all of theirs at once.
SYSTEMS: Mapping[str, Sequence[str]] = {
    "crashes": tuple(PLACES),
    "recovery": tuple(campaign.SHARES),
    "models": tuple(explore.SYSTEMS),
}
#: Those of a quick look.
_QUICK = {"crashes": ("sqlite",), "recovery": ("sqlite",)}


# -- the page ------------------------------------------------------------------------------------------------------


def kept() -> list[Chapter]:
    """What was told so far, in order."""
    found = []
    for name in CHAPTERS:
        files = [_file(name, system) for system in SYSTEMS.get(name, ("",))]
        parts = [Chapter(**json.loads(file.read_text("utf-8"))) for file in files if file.exists()]
        if parts:
            found.append(joined(parts))
    return found


def _file(name: str, system: str) -> Path:
    return KEPT / f"{name}{'-' if system else ''}{system}.json"


def joined(parts: Sequence[Chapter]) -> Chapter:
    """One chapter of those of its systems, which may have been told on different days."""
    days = sorted({part.at for part in parts})
    return replace(
        parts[-1],
        rows=[row for part in parts for row in part.rows],
        notes=list(dict.fromkeys(note for part in parts for note in part.notes)),
        troubles=[trouble for part in parts for trouble in part.troubles],
        seconds=sum(part.seconds for part in parts),
        at=" to ".join(days[:: max(1, len(days) - 1)]),
    )


def written(page: str, chapters: Sequence[Chapter]) -> str:
    """The page with these chapters in place of those it has."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    told = "\n".join(chapter.markdown() for chapter in chapters)
    return f"{before}{BEGIN}\n\n{told}\n{END}{after}"


def tell(name: str, quick: bool, seed: int, system: str = "") -> Chapter:
    """Run one engine, where it is told by system on that one, and keep what came of it."""
    KEPT.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    chapter = CHAPTERS[name](quick, seed, system)
    chapter.seconds = time.monotonic() - began
    chapter.at = time.strftime("%Y-%m-%d")
    chapter.machine = f"{os.cpu_count()} cores, {platform.system()}, CPython {platform.python_version()}"
    _file(name, system).write_text(json.dumps(asdict(chapter), indent=1), "utf-8")
    return chapter


def _systems(name: str, quick: bool, wanted: Sequence[str]) -> Sequence[str]:
    """On which systems a chapter is told."""
    has = SYSTEMS.get(name, ("",))
    if wanted:
        return [system for system in has if system in wanted]
    return _QUICK.get(name, has) if quick else has


@click.command()
@click.option("--only", "names", multiple=True, type=click.Choice(list(CHAPTERS)), help="Default: all but the soak.")
@click.option(
    "--on",
    "systems",
    multiple=True,
    type=click.Choice(sorted({s for some in SYSTEMS.values() for s in some})),
    help="Crash points, single faults and models of these systems; default: all.",
)
@click.option("--quick", is_flag=True, help="A part of each.")
@click.option("--seed", default=1, show_default=True, help="Of the random engines.")
@click.option("--record", is_flag=True, help=f"Write what was told so far into {PAGE.relative_to(ROOT)}.")
def main(names: tuple[str, ...], systems: tuple[str, ...], quick: bool, seed: int, record: bool) -> None:
    """Look for lost, repeated and stuck tasks with three engines, and for what they would not find with mutants.

    The status is 1 when anything is wrong. It takes two to three hours on two cores; --quick tries a part.
    """
    troubles: list[str] = []
    for name in names or [name for name in CHAPTERS if name not in _ASKED]:
        chapters = [tell(name, quick, seed, system) for system in _systems(name, quick, systems)]
        if chapters:
            console.print(joined(chapters).table())
        troubles += [trouble for chapter in chapters for trouble in chapter.troubles]
    if record:
        PAGE.write_text(written(PAGE.read_text("utf-8"), kept()), "utf-8")
    if troubles:
        raise click.ClickException("\n".join(troubles))


if __name__ == "__main__":
    sys.exit(main())
