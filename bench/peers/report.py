"""Tables of a recording: for a terminal, and as Markdown between two marks of a page."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import rich.table
from rich.console import Console

from bench.peers.claims import verdicts
from bench.peers.drivers.marks import LENGTHS, STEPS
from bench.peers.record import Recording, Sample
from bench.peers.systems import KERNEL, LOOP, PLAN, TRIAL

BEGIN = "<!-- written by `make bench-peers`: begin -->"
END = "<!-- written by `make bench-peers`: end -->"
SERVERS = {"redis": "Redis", "rabbitmq": "RabbitMQ", "sqlite": "SQLite"}


@dataclass(frozen=True)
class Table:
    """A title, columns, rows; the columns from `numbers` on are numbers."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    numbers: int = 1


@dataclass(frozen=True)
class Column:
    """A value of a workload as a column: its heading, and how it is written."""

    heading: str
    key: str
    form: str = "{:,.0f}"
    factor: float = 1.0


@dataclass(frozen=True)
class View:
    """How a workload is shown."""

    title: str
    columns: list[Column]
    #: Value that kernel is compared by, and the heading of that column.
    compared: str = ""
    heading: str = "kernel is so many times as fast"
    #: Whether less is better, so that the ratio is turned round.
    least: bool = False


RATE = Column("tasks/s", "rate")
SIZE = Column("tasks per run", "of")
COSTS = [Column("us of CPU per task, workers", "worker_us"), Column("us of CPU per task, server", "server_us")]
VIEWS = {
    "kept": View("No-op tasks, results kept", [RATE, *COSTS, SIZE], "rate"),
    "ignored": View("No-op tasks, no results", [RATE, *COSTS, SIZE], "rate"),
    "enqueue": View("Enqueue one by one", [RATE, Column("us of CPU per task, client", "client_us"), SIZE], "rate"),
    "bulk": View("Enqueue in bulk", [RATE, Column("us of CPU per task, client", "client_us"), SIZE], "rate"),
    "latency": View(
        "Round trip of one task, idle workers",
        [Column("p50, ms", "p50", "{:.2f}"), Column("p99, ms", "p99", "{:.2f}"), Column("round trips", "of")],
        "p50",
        least=True,
    ),
    "cpu": View("Tasks that compute for 2 ms", [RATE, COSTS[0], SIZE], "rate"),
    "footprint": View(
        "Cold start and idle cost of the workers",
        [
            Column("start to first task, s", "start", "{:.2f}"),
            Column("idle, MiB", "memory", "{:.0f}"),
            Column("idle, % of a core", "idle", "{:.2f}"),
            Column("processes", "of"),
        ],
    ),
    "backlog": View(
        "Few waiting against many, no results",
        [
            Column("few", "few"),
            Column("many", "many"),
            Column("tasks/s with few", "few_rate"),
            Column("tasks/s with many", "many_rate"),
            Column("us of CPU per task with few", "few_us"),
            Column("with many", "many_us"),
        ],
    ),
    "chain": View(f"Chains of {STEPS} tasks, many at once", [Column("steps/s", "rate"), *COSTS, SIZE], "rate"),
    "chord": View(
        "A chord of 10,000 tasks, beside as many plain tasks",
        [
            Column("members/s, until the body has run", "rate"),
            Column("plain tasks/s", "plain_rate"),
            Column("share", "share", "{:.0%}"),
            *COSTS,
            Column("of plain tasks, both", "plain_us"),
        ],
        "rate",
    ),
    "sizes": View(
        "Bytes sent and stored when a chain is started",
        [*(Column(f"of {length:,}", str(length)) for length in LENGTHS), Column("for each step", "each", "{:.1f}")],
    ),
}


def spread(values: Sequence[float], form: str) -> str:
    """The median, with the smallest and the largest value where they differ."""
    middle, least, most = (form.format(each) for each in (statistics.median(values), min(values), max(values)))
    return middle if least == most else f"{middle} ({least}-{most})"


def tables(recording: Recording) -> list[Table]:
    """Everything, in the order of reading."""
    found = [_wanted(recording)]
    for workload, server in dict.fromkeys((row.workload, row.server) for row in [*PLAN, *TRIAL]):
        samples = recording.of(workload, server)
        if samples:
            found.append(_measured(recording, workload, server, samples))
    return [*found, _settings(recording)]


def _wanted(recording: Recording) -> Table:
    rows = []
    found = verdicts(recording)
    for verdict, following in zip(found, [*found, None][1:], strict=True):
        claim = verdict.claim
        met = "yes" if verdict.met else "**no**"
        if not verdict.met and following is not None and following.claim.instead and following.met:
            met = "by the next"
        wanted = f"{'at most' if claim.least else 'at least'} {claim.form.format(claim.wanted)}"
        named = f"{claim.text} ({verdict.against})" if claim.against.startswith("best") else claim.text
        rows.append([named, wanted, spread(verdict.values, claim.form), met])
    return Table("What is wanted", ["of kernel", "wanted", "found", "met"], rows)


def _measured(recording: Recording, workload: str, server: str, samples: dict[str, list[Sample]]) -> Table:
    view = VIEWS[workload]
    columns = ["system", *(column.heading for column in view.columns)]
    if view.compared:
        columns.insert(2, view.heading)
    if workload == "cpu":
        columns.insert(3, "share of the bare processes")
    rows = []
    for system, rounds in samples.items():
        row = [system]
        for column in view.columns:
            values = recording.values(workload, server, system, column.key)
            row.append(spread([value * column.factor for value in values.values()], column.form) if values else "-")
        if view.compared:
            pair = (system, KERNEL.name) if view.least else (KERNEL.name, system)
            row.insert(2, _ratio(recording.ratios(workload, server, view.compared, *pair)))
        if workload == "cpu":
            row.insert(3, _ratio(recording.ratios(workload, server, "rate", system, LOOP.name), "{:.0%}"))
        row[0] += _remarks(rounds)
        rows.append(row)
    return Table(f"{SERVERS[server]}: {view.title}", columns, rows)


def _ratio(values: list[float], form: str = "{:.2f}") -> str:
    if not values:
        return "-"
    return spread(values, form if max(values) < 10 else "{:.1f}")


def _remarks(rounds: list[Sample]) -> str:
    """What a reader must know of the samples of one system."""
    said = []
    failed = [sample for sample in rounds if sample.error]
    if failed:
        said.append(f"{len(failed)} of {len(rounds)} failed")
    twice = sum(sample.values.get("twice", 0) for sample in rounds)
    if twice:
        said.append(f"{twice:.0f} executions too many")
    if any(sample.values.get("processes", 2) < 2 for sample in rounds):
        said.append("one process did all the work")
    return f" ({'; '.join(said)})" if said else ""


def _settings(recording: Recording) -> Table:
    rows = []
    for place, (driver, name) in recording.variants.items():
        server, _, system = place.partition("/")
        found = recording.drivers[driver]
        variant = found["variants"][name]
        versions = ", ".join(f"{package} {version}" for package, version in found["versions"].items())
        bulk = variant["bulk"] or "one by one"
        rows.append([system, SERVERS[server], variant["settings"], bulk, variant["guarantee"], versions])
    columns = ["system", "server", "settings", "bulk enqueue", "a task whose worker dies", "versions"]
    return Table("Settings, guarantees, versions", columns, rows, len(columns))


def _quiet(recording: Recording) -> str:
    """How much of the machine was not ours."""
    others = [sample.others for sample in recording.samples] or [0.0]
    return f"Other programs used {statistics.median(others):.0%} of the machine meanwhile (at most {max(others):.0%})."


def show(recording: Recording, console: Console) -> None:
    """Print the tables."""
    for table in tables(recording):
        drawn = rich.table.Table(title=table.title, title_justify="left")
        for place, column in enumerate(table.columns):
            drawn.add_column(column, justify="right" if place >= table.numbers else "left")
        for row in table.rows:
            drawn.add_row(*(cell.replace("**", "") for cell in row))
        console.print(drawn)
    console.print(_quiet(recording))
    for sample in recording.samples:
        if sample.error:
            console.print(f"{sample.workload}, {sample.server}, {sample.system}: {sample.summary}", markup=False)


def markdown(recording: Recording) -> str:
    """The tables as Markdown."""
    rounds = max((sample.round for sample in recording.samples), default=0) + 1
    lines = [f"Measured on {recording.date}: {recording.machine}. Rounds: {rounds}."]
    lines += [f"{settings}." for settings in recording.servers.values()]
    lines.append(_quiet(recording))
    for table in tables(recording):
        marks = ["--:" if place >= table.numbers else "---" for place in range(len(table.columns))]
        lines += ["", f"### {table.title}", ""]
        lines += ["| " + " | ".join(cells) + " |" for cells in (table.columns, marks, *map(_escaped, table.rows))]
    return "\n".join(lines) + "\n"


def _escaped(cells: list[str]) -> list[str]:
    return [cell.replace("|", "\\|") for cell in cells]


def write(page: Path, recording: Recording, rendered: Callable[[Recording], str] = markdown) -> None:
    """Put the tables between the marks of a page. `ValueError` when it has not both, once, in order."""
    text = page.read_text("utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no marks {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n\n{rendered(recording)}\n{END}{after}", "utf-8")
