"""Engine 1: every crash point of every scenario, alone and again during the recovery.

What there is to try is not listed by hand. A run without a fault shows the points of a scenario; a process is killed at
each of them, and the recovery shows the points for the second kill. The cases run side by side, because most of their
time is spent waiting for leases to run out.

`python -m faults.crashes --on sqlite --pairs all` tries them all and prints what came of it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final, Literal

import click
import msgspec
from rich.console import Console
from rich.table import Table

import kernel
from faults.crashes.judging import Finding, judge
from faults.crashes.places import PLACES, Place
from faults.crashes.points import Fault, Mode, Role, expected, journal, modes
from faults.crashes.scenarios import SCENARIOS, Scenario
from faults.crashes.trial import Case, audited, points_of, run
from kernel import discovery

ROOT = Path(kernel.__file__).parents[1]
#: A point is tried at its first hits in a run.
HITS: Final = 2
#: How often a fault is tried again that did not come to pass, because its point depends on time.
TRIES: Final = 3
#: Troubles that the command prints.
SHOWN: Final = 25

#: Second kills: none, at the same point again, or at every point of the recovery.
Pairs = Literal["none", "same", "all"]


class Outcome(msgspec.Struct):
    """What came of one case."""

    case: Case
    findings: list[Finding]
    #: Points with their hit, all of them, and those of processes that began after the last fault.
    points: list[tuple[Role, str, int]]
    recovery: list[tuple[Role, str, int]]
    #: Faults that came to pass, tasks that were sent, executions beyond the first of each.
    faults: int
    tasks: int
    duplicates: int
    seconds: float
    folder: str

    @property
    def unhit(self) -> bool:
        """Whether a fault did not come to pass."""
        return self.faults < len(self.case.faults)


@dataclass
class Verdict:
    """What came of all cases on one system."""

    system: str
    #: Distinct points at which a process was killed.
    points: int = 0
    cases: int = 0
    pairs: int = 0
    tasks: int = 0
    kills: int = 0
    #: Faults other than kills.
    others: int = 0
    lost: int = 0
    phantoms: int = 0
    #: Executions beyond the first, all of them accounted for unless there is trouble.
    duplicates: int = 0
    stuck: int = 0
    #: Cases whose fault did not come to pass in any of its tries: some points are there only when time has it so.
    missed: int = 0
    seconds: float = 0.0
    troubles: list[str] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """One more case."""
        case, found = outcome.case, Counter(finding.check for finding in outcome.findings)
        self.cases += 1
        self.pairs += len(case.faults) == 2
        self.tasks += outcome.tasks
        kills = sum(fault.mode == "kill" for fault in case.faults)
        self.kills += min(kills, outcome.faults)
        self.others += max(0, outcome.faults - kills)
        self.lost += found["lost"]
        self.phantoms += found["phantom"]
        self.stuck += found["stuck"]
        self.duplicates += outcome.duplicates
        if outcome.findings:
            what = "; ".join(str(finding) for finding in outcome.findings[:3])
            self.troubles.append(f"{self.system}, {case}: {what} ({outcome.folder})")

    def trouble(self) -> str:
        """What is wrong, "" for nothing."""
        return "\n".join(self.troubles)


# -- the host: forks cases from a process that has imported everything ----------------------------------------------


def host() -> None:
    """Read a place and batches of cases from standard input, try them side by side, and answer on standard output."""
    lines = sys.stdin.buffer
    place = msgspec.json.decode(lines.readline(), type=Place)
    for url in msgspec.structs.astuple(place.urls):
        if url:
            discovery.transport(url.format(folder="/", tag="x"))  # imports its client before the first fork
    tags = (f"c{number}" for number in count(os.getpid() * 1000))
    while size := int(lines.readline() or b"0"):
        cases = [msgspec.json.decode(lines.readline(), type=Case) for _ in range(size)]
        for outcome in _side_by_side(place, deque(cases), tags):
            sys.stdout.buffer.write(msgspec.json.encode(outcome) + b"\n")
            sys.stdout.buffer.flush()


def _side_by_side(place: Place, waiting: deque[Case], tags: Iterator[str]) -> Iterator[Outcome]:
    running: dict[int, tuple[Path, str]] = {}
    free: list[str] = []
    while waiting or running:
        while waiting and len(running) < place.lanes:
            folder = Path(tempfile.mkdtemp(prefix="kernel-crash-"))
            case, tag = waiting.popleft(), free.pop() if free else next(tags)
            pid = os.fork()
            if not pid:
                try:
                    _try(place, case, folder, tag)
                finally:
                    os._exit(0)
            running[pid] = folder, tag
        folder, tag = running.pop(os.wait()[0])
        outcome = msgspec.json.decode((folder / "outcome.json").read_bytes(), type=Outcome)
        if not outcome.findings:
            shutil.rmtree(folder, ignore_errors=True)
            if place.reuses:
                free.append(tag)
        yield outcome


def _try(place: Place, case: Case, folder: Path, tag: str) -> None:
    """One case in a process of its own; the outcome is left in its folder."""
    course = run(place, case, folder, tag)
    events = journal(folder)
    findings = judge(place, SCENARIOS[case.scenario], events, audited(folder), course.stuck)
    starts = Counter(tuple(event.words[:3]) for event in events if event.what == "begun")
    happened = [event for event in events if event.what == "fault" and event.words[0] != "poison"]
    outcome = Outcome(
        case, findings, points_of(events), points_of(events, 1 + max((event.life for event in happened), default=0)),
        len(happened), sum(len(event.words) for event in events if event.what == "attempt"),
        sum(count - 1 for count in starts.values()), course.seconds, str(folder),
    )  # fmt: skip
    (folder / "outcome.json").write_bytes(msgspec.json.encode(outcome))


class Host:
    """The other end of `host`."""

    def __init__(self, place: Place) -> None:
        path = os.pathsep.join(map(str, (ROOT, ROOT / "adapters", ROOT / "tests")))
        clean = {key: value for key, value in os.environ.items() if not key.startswith("KERNEL_")}
        self._directory = Path(tempfile.mkdtemp(prefix="kernel-crashes-"))
        environment = {**clean, "PYTHONPATH": path, "KERNEL_CONFIG": "none", "TMPDIR": str(self._directory)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "faults.crashes", "--host"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment,
        )  # fmt: skip
        self._write(place)

    def _write(self, thing: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(thing) + b"\n")
        self._process.stdin.flush()

    def outcomes(self, cases: Sequence[Case]) -> Iterator[Outcome]:
        """Try cases; yields what came of them in the order in which they end."""
        if not cases:
            return
        self._write(len(cases))
        for case in cases:
            self._write(case)
        assert self._process.stdout is not None
        for _ in cases:
            line = self._process.stdout.readline()
            assert line, "the process that forks the cases has ended"
            yield msgspec.json.decode(line, type=Outcome)

    def close(self) -> None:
        """End it. What it has forked ends by itself; folders of cases with findings stay for who looks into them."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        if not any(self._directory.glob("kernel-crash-*")):
            shutil.rmtree(self._directory, ignore_errors=True)


# -- the engine ----------------------------------------------------------------------------------------------------


class Engine:
    """Enumerates the crash points of one system."""

    def __init__(self, place: Place, scenarios: Iterable[str] = (), hits: int = HITS) -> None:
        """All scenarios that the place can have, or those named. Each point is tried at so many of its hits."""
        self.place = place
        wanted = set(scenarios) or set(SCENARIOS)
        self._scenarios = [s for s in SCENARIOS.values() if s.name in wanted and s.needs <= place.traits]
        self._every = wanted == set(SCENARIOS)
        self._hits = hits
        self._numbers = 0
        self._killed: set[tuple[Role, str]] = set()
        self.verdict = Verdict(place.name)

    def run(self, pairs: Pairs = "none", others: bool = False) -> Verdict:
        """Kill at each point, and with `others` do everything else there is to do; then the second kills."""
        began_at = time.monotonic()
        self._host = Host(self.place)
        try:
            healthy = self._try([self._case(scenario) for scenario in self._scenarios])
            first = [case for outcome in healthy for case in self._first(outcome, others)]
            recovered = self._try(first)
            if pairs != "none":
                self._try([case for outcome in recovered for case in self._second(outcome, pairs)])
        finally:
            self._host.close()
        if self._every:
            missing = expected(self.place.traits) - self._killed
            self.verdict.troubles += [
                f"{self.place.name}: nobody was killed at {role} {at}" for role, at in sorted(missing)
            ]
        self.verdict.points = len(self._killed)
        self.verdict.seconds = time.monotonic() - began_at
        return self.verdict

    def _case(self, scenario: Scenario, *faults: Fault) -> Case:
        self._numbers += 1
        return Case(self._numbers, scenario.name, faults)

    def _first(self, outcome: Outcome, others: bool) -> Iterator[Case]:
        scenario = SCENARIOS[outcome.case.scenario]
        for role, point, hit in outcome.points:
            if hit <= self._hits:
                yield self._case(scenario, Fault(role, point, "kill", hit))
            if others and hit == 1:
                for mode in self._other_modes(role, point):
                    yield self._case(scenario, Fault(role, point, mode))

    def _other_modes(self, role: Role, point: str) -> list[Mode]:
        """What makes sense there: only a worker is overtaken, and only a call can be refused or lied about."""
        return [mode for mode in modes(point) if role == "worker" or mode not in ("freeze", "quit")]

    def _second(self, outcome: Outcome, pairs: Pairs) -> Iterator[Case]:
        case = outcome.case
        first = case.faults[0]
        if first.mode != "kill" or first.hit > 1:
            return
        for role, point, hit in outcome.recovery:
            same = (role, point) == (first.role, first.point)
            if hit == 1 and (same or pairs == "all"):
                yield self._case(SCENARIOS[case.scenario], first, Fault(role, point))

    def _try(self, cases: Sequence[Case]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for tries in range(TRIES):
            again: list[Case] = []
            for outcome in self._host.outcomes(cases):
                if outcome.unhit and not outcome.findings:
                    again.append(outcome.case)
                    if tries < TRIES - 1:
                        continue
                    self.verdict.missed += 1
                self.verdict.add(outcome)
                outcomes.append(outcome)
                if not outcome.unhit:
                    self._killed.update((f.role, f.point) for f in outcome.case.faults if f.mode == "kill")
            cases = again
        return outcomes


@click.command()
@click.option("--host", "is_host", is_flag=True, hidden=True)
@click.option("--on", "names", multiple=True, type=click.Choice(list(PLACES)), help="Systems; default: all.")
@click.option("--scenario", "scenarios", multiple=True, type=click.Choice(list(SCENARIOS)), help="Default: all.")
@click.option("--pairs", type=click.Choice(["none", "same", "all"]), default="none", show_default=True)
@click.option("--others/--kills", default=True, help="Also freeze, refuse and lie at the points; or only kill.")
def main(is_host: bool, names: tuple[str, ...], scenarios: tuple[str, ...], pairs: Pairs, others: bool) -> None:
    """Kill processes at every step of the protocol; the status is 1 when anything is wrong afterwards."""
    if is_host:
        host()
        return
    verdicts = []
    for name in names or PLACES:
        with PLACES[name]() as place:
            verdicts.append(Engine(place, scenarios).run(pairs, others))
    Console().print(table(verdicts))
    if any(verdict.troubles for verdict in verdicts):
        troubles = [trouble for verdict in verdicts for trouble in verdict.troubles]
        more = [f"... and {len(troubles) - SHOWN} more"] if len(troubles) > SHOWN else []
        raise click.ClickException("\n".join([*troubles[:SHOWN], *more]))


def table(verdicts: Sequence[Verdict]) -> Table:
    """What was tried and found, a row for each system."""
    columns = (
        "points",
        "cases",
        "pairs",
        "tasks",
        "kills",
        "others",
        "lost",
        "phantoms",
        "duplicates",
        "stuck",
        "missed",
    )
    shown = Table("system", *columns, "seconds")
    for verdict in verdicts:
        shown.add_row(verdict.system, *[str(getattr(verdict, name)) for name in columns], f"{verdict.seconds:.0f}")
    return shown
