"""The command line of `make bench-peers`."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.peers import report
from bench.peers.drivers.marks import spin
from bench.peers.environments import PACKAGES, ask, programs
from bench.peers.processes import busy, own_cpu
from bench.peers.record import Recording, Sample
from bench.peers.servers import DURABILITY, Rabbitmq, Redis, Server, Sqlite
from bench.peers.systems import PLAN, TRIAL, Row, System
from bench.peers.workloads import backlog, flows, footprint, latency, sending, throughput
from bench.peers.workloads.trial import Trial

WORKLOADS: dict[str, Callable[[Trial], dict[str, float]]] = {
    "kept": throughput.kept,
    "ignored": throughput.ignored,
    "cpu": throughput.computing,
    "enqueue": sending.one_by_one,
    "bulk": sending.bulk,
    "latency": latency.measure,
    "footprint": footprint.measure,
    "backlog": backlog.measure,
    "chain": flows.chains,
    "chord": flows.chord,
    "sizes": flows.sizes,
}
#: Columns of the tables where there is no terminal.
WIDTH = 200
#: Seconds that a task which computes takes.
BURN = 0.002


def chosen(rows: list[Row], only: str, peers: str, quick: bool) -> list[Row]:
    """The rows that were asked for, with the peers that were."""
    wanted = [set(item.split(":")) for item in only.split(",") if item]
    names = [name.strip().lower() for name in peers.split(",") if name.strip()]
    found = []
    for row in rows:
        asked = any(words <= {row.workload, row.server} for words in wanted) if wanted else not (quick and row.long)
        systems = [
            each
            for each in row.systems
            if each.role != "peer" or not peers or any(name in each.name.lower() for name in names)
        ]
        if asked:
            found.append(replace(row, systems=systems))
    return found


def calibrated() -> int:
    """Rounds of the loop that take two milliseconds on a core that nobody disturbs."""
    rounds = 20_000
    took = []
    for _ in range(15):
        began = time.perf_counter()
        spin(rounds)
        took.append(time.perf_counter() - began)
    return int(rounds * BURN / min(took))


class Session:
    """One run of the harness: its servers, its recording."""

    def __init__(self, durability: str, seconds: float) -> None:
        system = f"{platform.system()}, {platform.machine()}, Python {platform.python_version()}"
        machine = f"{os.cpu_count()} cores that servers, workers and clients share, {system}"
        self.recording = Recording(time.strftime("%Y-%m-%d"), machine)
        self._durability = durability
        self._seconds = seconds
        self._servers: dict[str, Server] = {}
        self._burn = calibrated()

    def server(self, name: str) -> Server:
        """A server, started on first use."""
        if name not in self._servers:
            if name == "rabbitmq":
                self.server("redis")
                redis = self._servers["redis"]
                assert isinstance(redis, Redis)
                self._servers[name] = Rabbitmq(redis)
            else:
                self._servers[name] = Redis(self._durability) if name == "redis" else Sqlite()
            self.recording.servers[name] = self._servers[name].settings
        return self._servers[name]

    def measure(self, row: Row, system: System, number: int) -> Sample:
        """One sample; what goes wrong is in it."""
        sample = Sample(row.workload, row.server, system.name, system.role, number)
        server = self.server(row.server)
        began, everyone, ours = time.monotonic(), busy(), own_cpu(server.pids())
        try:
            drivers = self.recording.drivers
            if system.driver not in drivers:
                drivers[system.driver] = ask(system.environment, system.driver, "describe", {}, 60.0)
            self.recording.variants.setdefault(f"{row.server}/{system.name}", (system.driver, system.variant))
            variant = drivers[system.driver]["variants"][system.variant]
            trial = Trial(system, server, variant, self._seconds, self._burn)
            sample.values = WORKLOADS[row.workload](trial)
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            sample.error = f"{type(error).__name__}: {error}"
        sample.wall = time.monotonic() - began
        strange = busy() - everyone - (own_cpu(server.pids()) - ours)
        sample.others = max(0.0, strange / sample.wall / (os.cpu_count() or 1))
        self.recording.samples.append(sample)
        return sample

    def close(self) -> None:
        """End the servers, the last first."""
        for server in reversed(self._servers.values()):
            server.close()


def run(session: Session, rows: list[Row], repeat: int, minutes: float, console: Console, store: Path | None) -> None:
    """Measure round by round until all is done or time is up; what was measured until then is kept."""
    deadline = time.monotonic() + minutes * 60
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        line = progress.add_task(
            "measuring", total=sum(len(row.measured(number)) for row in rows for number in range(repeat))
        )
        for number in range(repeat):
            for row in rows:
                for system in row.measured(number):
                    if time.monotonic() > deadline:
                        progress.console.print(f"time is up in round {number + 1}")
                        return
                    progress.update(line, description=f"{row.server}, {row.workload}, {system.name}")
                    sample = session.measure(row, system, number)
                    if sample.error:
                        progress.console.print(
                            f"{row.server}, {row.workload}, {system.name}: {sample.summary}", markup=False
                        )
                    progress.advance(line)
                    if store is not None:
                        session.recording.save(store)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--only", default="", metavar="A,B", help="Workloads, servers, or both as in redis:kept.")
@click.option("--peers", default="", metavar="A,B", help="Only peers whose names contain one of these words.")
@click.option("--repeat", type=click.IntRange(1), default=None, help="Rounds.  [default: 3; with --quick: 1]")
@click.option("--seconds", type=float, default=None, help="Length of a run.  [default: 3; with --quick: 1.5]")
@click.option("--minutes", type=float, default=24.0, show_default=True, help="No measurement begins later.")
@click.option("--quick", is_flag=True, help="One round of short runs, without the longest workloads.")
@click.option(
    "--trial", is_flag=True, help="kernel and a bare loop on SQLite: no server, no peer; for the harness itself."
)
@click.option(
    "--durability",
    type=click.Choice(list(DURABILITY)),
    default="none",
    show_default=True,
    help="What Redis writes to the disk, the same for every system: nothing, once a second, or every command.",
)
@click.option("--json", "store", type=click.Path(path_type=Path), help="Store all samples in this file, and go on.")
@click.option(
    "--from", "stored", type=click.Path(exists=True, path_type=Path), help="Measure nothing: read such a file."
)
@click.option(
    "--write", type=click.Path(exists=True, path_type=Path), help="Put the tables between the marks of a page."
)
def main(
    only: str,
    peers: str,
    repeat: int | None,
    seconds: float | None,
    minutes: float,
    quick: bool,
    trial: bool,
    durability: str,
    store: Path | None,
    stored: Path | None,
    write: Path | None,
) -> None:
    """Measure kernel, its peers and bare loops with the same workloads, in turn, round after round.

    Every peer is installed into a virtual environment of its own on first use, in its newest release, under
    build/peers; remove that folder to have newer ones. Servers are private and end with the run.

    \b
    Workloads: kept, ignored (no-op tasks with and without results), enqueue, bulk, latency, cpu, footprint, backlog,
               chain, chord, sizes (workflows).
    Servers:   redis, rabbitmq.

    \b
    Examples:
      python -m bench.peers --quick
      python -m bench.peers --only redis:kept,redis:latency --peers celery,dramatiq
      python -m bench.peers --json build/peers.json --write docs/benchmarks.md
    """
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    if stored is not None:
        recording = Recording.load(stored)
    else:
        rows = chosen(TRIAL if trial else PLAN, only, peers, quick)
        if not rows:
            raise click.UsageError(f"nothing is called {only!r}")
        for name in PACKAGES:
            if any(system.environment == name for row in rows for system in row.systems):
                console.print(f"environment of {name}: {programs(name).parent.name}")
        # Whoever ends this program ends its servers and workers too.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        session = Session(durability, seconds or (1.5 if quick else 3.0))
        try:
            run(session, rows, repeat or (1 if quick else 3), minutes, console, store)
        finally:
            session.close()
        recording = session.recording
    report.show(recording, console)
    if write is not None:
        report.write(write, recording)


if __name__ == "__main__":
    main()
