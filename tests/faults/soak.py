"""`python -m faults.soak --minutes 30 --on redis`: a mixed load without faults, and processes that must not grow."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from threading import Event

import click
from rich.console import Console
from rich.table import Table

from faults.crew import Crew
from faults.ledger import Books
from faults.systems import SYSTEMS, Rig

#: Tasks that are sent at once before anything is looked at, so that buffers, caches and the allocator find their size:
#: at a few tasks a second they would take an hour for it.
BURST = 10_000
#: Part of the time that is not looked at either.
WARM_UP = 0.25
#: Seconds between two samples.
EVERY = 2.0
#: Most MiB that a process may gain in an hour, by the line through its samples, and beside it what a line through
#: noise may show over a short time, in MiB.
PER_HOUR, NOISE = 2.0, 1.0
#: Longest wait for the last tasks, in seconds.
REST = 60.0
MIB = 1 << 20

_pause = Event()


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at one process."""

    at: float
    rss: int
    descriptors: int
    threads: int


@dataclass(frozen=True, slots=True)
class Growth:
    """How a process has changed."""

    first: float  #: MiB, on the line through the samples
    last: float
    per_hour: float  #: MiB
    descriptors: tuple[int, int]  #: most of the first and of the last third
    threads: tuple[int, int]

    def trouble(self) -> str:
        """What is wrong with it, "" for nothing."""
        grown = self.last - self.first
        if self.per_hour > PER_HOUR and grown > NOISE:
            return f"gains {self.per_hour:.1f} MiB an hour, more than {PER_HOUR:g}"
        if self.descriptors[1] > self.descriptors[0]:
            return f"had {self.descriptors[0]} descriptors and has {self.descriptors[1]}"
        if self.threads[1] > self.threads[0]:
            return f"had {self.threads[0]} threads and has {self.threads[1]}"
        return ""


def look(pid: int) -> Sample | None:
    """A sample of a process, None when it has ended."""
    try:
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        return Sample(time.monotonic(), int(fields["VmRSS"].split()[0]) * 1024, descriptors, int(fields["Threads"]))
    except (OSError, KeyError):
        return None


def line_through(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Slope and value at the first point of the straight line that fits best (least squares)."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0
    return slope, mean_y + slope * (points[0][0] - mean_x)


def growth(samples: Sequence[Sample]) -> Growth:
    """How a process changed after it had warmed up."""
    warm = samples[int(len(samples) * WARM_UP) :]
    slope, first = line_through([(sample.at, sample.rss / MIB) for sample in warm])
    third = max(1, len(warm) // 3)
    early, late = warm[:third], warm[-third:]
    return Growth(
        first,
        first + slope * (warm[-1].at - warm[0].at),
        slope * 3600,
        (max(sample.descriptors for sample in early), max(sample.descriptors for sample in late)),
        (max(sample.threads for sample in early), max(sample.threads for sample in late)),
    )


class Soak:
    """One system under load, and what its processes are like meanwhile."""

    def __init__(self, folder: Path, rig: Rig, pool: str = "solo") -> None:
        self._folder = folder
        self._rig = rig
        # Results that live for a minute: else a store in memory would grow as it should.
        settings = {**rig.settings, "KERNEL_RESULT_EXPIRES": "60", "KERNEL_POOL": pool}
        if settings["KERNEL_TRANSPORT"].startswith("redis"):
            # This client waits a second for an answer. On a machine that stood still for as long, what it sends again
            # would be a second message.
            settings["KERNEL_SEND_ONCE"] = "true"
        self._crew = Crew(folder, settings)
        self.samples: Mapping[str, list[Sample]] = defaultdict(list)
        self.books = Books()

    def run(self, seconds: float, rate: float, burst: int = 0) -> None:
        """Send some tasks at once, then so many a second for so long, and wait until they have ended."""
        try:
            self._crew.worker.ready(2)
            if burst:
                self._crew.produce(burst, 2, 1e6)
                self._rest(2 * REST)
            self._crew.produce(int(seconds * rate), 1, rate)
            until = time.monotonic() + seconds
            for number in count(1):
                _pause.wait(min(EVERY, max(0.0, until - time.monotonic())))
                if time.monotonic() >= until:
                    break
                self._sample()
                if number % 15 == 0:
                    self.books.update(self._folder)
            self._rest(REST)
        finally:
            self._crew.close()
            self._rig.close()

    def _sample(self) -> None:
        supervisor = self._crew.worker.process.pid
        for pid in [supervisor, *self._crew.children()]:
            sample = look(pid)
            if sample is not None:
                name = "supervisor" if pid == supervisor else f"worker process {pid}"
                self.samples[name].append(sample)

    def _rest(self, patience: float) -> None:
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            self.books.update(self._folder)
            if not self._crew.producing and all(key[0] == "g" for key in self.books.unfinished):
                return
            _pause.wait(0.5)

    def troubles(self) -> list[str]:
        """What is wrong: growth, and what no run without faults may show."""
        found = [f"{name} {trouble}" for name, own in self.samples.items() if (trouble := growth(own).trouble())]
        if len(self.samples) > 3:
            found.append(f"{len(self.samples)} processes were there, which are more than three: some have ended")
        lost = {key for key in self.books.unfinished if key[0] != "g"}
        if lost:
            found.append(f"{len(lost)} lost: {sorted(lost)[:5]}")
        if self.books.duplicates:
            found.append(f"{self.books.duplicates} ran twice without a fault")
        return found


#: What the columns of a row are.
COLUMNS = ("process", "MiB at first", "MiB at last", "MiB an hour", "descriptors", "threads")


def soaked(name: str, minutes: float, rate: float, pool: str) -> tuple[list[list[str]], list[str], int]:
    """A row for each process, what is wrong, and how many tasks were sent."""
    folder = Path(tempfile.mkdtemp(prefix="kernel-soak-"))
    with SYSTEMS[name]() as system:
        soak = Soak(folder, system.rig(folder, 1), pool)
        soak.run(minutes * 60, rate, BURST)
    rows = []
    for process, samples in soak.samples.items():
        found = growth(samples)
        changed = ["{} to {}".format(*pair) for pair in (found.descriptors, found.threads)]
        rows.append([process, f"{found.first:.1f}", f"{found.last:.1f}", f"{found.per_hour:+.2f}", *changed])
    troubles = soak.troubles()
    if troubles:
        troubles.append(f"ledgers in {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return rows, troubles, len(soak.books.attempted)


@click.command()
@click.option("--on", "name", default="redis", show_default=True, type=click.Choice(list(SYSTEMS)))
@click.option("--minutes", default=30.0, show_default=True)
@click.option("--rate", default=150.0, show_default=True, help="Tasks a second.")
@click.option("--pool", default="solo", show_default=True)
def main(name: str, minutes: float, rate: float, pool: str) -> None:
    """Run a mixed load, and fail when a worker process or the supervisor grows: memory, descriptors, threads."""
    rows, troubles, tasks = soaked(name, minutes, rate, pool)
    table = Table(*COLUMNS, title=f"{name}, {pool}, {minutes:g} minutes, {tasks} tasks, {rate:g} a second")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
    if troubles:
        raise click.ClickException("\n".join(troubles))


if __name__ == "__main__":
    main()
