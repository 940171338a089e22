"""`python -m bench`: no-op tasks per second, beside a bare loop with the same client calls in the same run.

Every measurement is a process of its own (two for "2 processes"), kernel and bare loop in turn, repeated; the table
shows medians with the smallest and largest value. Ratios compare neighbours of one run, because machines are noisy.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench import footprint

ROOT = Path(__file__).parent.parent
#: Columns of the tables where there is no terminal.
WIDTH = 160


@dataclass
class Case:
    """One row of the table."""

    adapter: str
    durability: str
    what: str
    processes: int
    results: bool
    kernel: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        """Share of the bare loop that kernel reached, run by run."""
        return [ours / limit for ours, limit in zip(self.kernel, self.bare, strict=True)]


def cases() -> list[Case]:
    """What is measured."""
    memory, full, normal = "the process", "power loss (full)", "a kill (normal)"
    return [
        Case("memory", memory, "enqueue", 1, True),
        Case("memory", memory, "execute", 1, False),
        Case("memory", memory, "execute", 1, True),
        Case("sqlite", full, "enqueue", 1, True),
        Case("sqlite", full, "enqueue", 2, True),
        *(Case("sqlite", full, "execute", n, kept) for n in (1, 2) for kept in (False, True)),
        Case("sqlite", normal, "execute", 1, True),
        Case("sqlite", normal, "execute", 2, True),
    ]


def measure(case: Case, side: str, tasks: int, batch: int, directory: Path) -> float:
    """Tasks per second of one side of one case."""
    url = "memory://bench"
    if case.adapter == "sqlite":
        option = "full" if "full" in case.durability else "normal"
        url = f"sqlite:///{directory}/{side}.db?synchronous={option}"
    order = {"side": side, "what": case.what, "url": url, "results": case.results, "batch": batch, "tasks": tasks}
    order["here"] = case.adapter == "memory"
    if case.what == "enqueue":
        order["tasks"] = tasks // case.processes
    elif not order["here"]:
        _run([{**order, "side": "kernel", "what": "enqueue"}])
    answers = _run([order] * case.processes)
    done = sum(int(answer["done"]) for answer in answers)
    if case.what == "execute" and done != tasks:
        raise SystemExit(f"{side} on {case.adapter}: {done} of {tasks} tasks were executed")
    span = max(answer["ended"] for answer in answers) - min(answer["began"] for answer in answers)
    return done / span


def _run(orders: list[dict[str, object]]) -> list[dict[str, float]]:
    """One process per order; they begin together."""
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "bench.load", json.dumps(order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for order in orders
    ]
    if not orders[0]["here"]:
        for child in children:
            assert child.stdout is not None
            child.stdout.readline()
    answers = []
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        out, _ = child.communicate(timeout=600)
        if child.returncode:
            raise SystemExit(f"a measurement failed with exit code {child.returncode}")
        answers.append(json.loads(out.splitlines()[-1]))
    return answers


def show(measured: list[Case], extras: dict[str, float], tasks: int, batch: int, console: Console) -> None:
    """The tables for people."""
    title = f"{tasks} no-op tasks, batches of {batch}, Python {platform.python_version()}, {platform.machine()}"
    table = Table(title=title)
    for name in ("adapter", "survives", "what", "processes", "results"):
        table.add_column(name)
    for name in ("kernel/s (min-max)", "bare loop/s (min-max)", "share of bare", "us per task"):
        table.add_column(name, justify="right")
    for case in measured:
        table.add_row(
            case.adapter,
            case.durability,
            case.what,
            str(case.processes),
            "kept" if case.results else "ignored",
            _spread(case.kernel),
            _spread(case.bare),
            f"{statistics.median(case.ratios):.0%} ({min(case.ratios):.0%}-{max(case.ratios):.0%})",
            f"{1e6 / statistics.median(case.kernel):.1f}",
        )
    console.print(table)
    for name, value in extras.items():
        console.print(f"{name}: {value:.1f}")


def _spread(rates: list[float]) -> str:
    return f"{statistics.median(rates):,.0f} ({min(rates):,.0f}-{max(rates):,.0f})"


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--tasks", type=int, default=50_000, help="tasks per measurement (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=1000, help="messages per port call (default: %(default)s)")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each measurement (default: %(default)s)")
    parser.add_argument("--only", default="", help="only rows that contain this word, such as sqlite")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    options = parser.parse_args()
    chosen = [case for case in cases() if options.only in f"{case.adapter} {case.durability} {case.what}"]
    # A pipe has no width of its own; a table that is cut to 80 columns says nothing.
    console = Console(stderr=options.json, width=None if sys.stdout.isatty() else WIDTH)
    with Progress(console=console) as progress:
        line = progress.add_task("measuring", total=2 * options.repeat * len(chosen))
        for _ in range(options.repeat):
            for case in chosen:
                for side, rates in (("kernel", case.kernel), ("bare", case.bare)):
                    with tempfile.TemporaryDirectory(prefix="kernel-bench-") as directory:
                        rates.append(measure(case, side, options.tasks, options.batch, Path(directory)))
                    progress.advance(line)
    extras = footprint.measure()
    if options.json:
        sys.stdout.write(json.dumps({"cases": [asdict(case) for case in chosen], **extras}, indent=2) + "\n")
    else:
        show(chosen, extras, options.tasks, options.batch, console)


if __name__ == "__main__":
    main()
