"""`kernel demo`: real work on real processes, checked against the same work without any queue."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
import msgspec

from kernel.app import Kernel
from kernel.cli.context import json_option
from kernel.cli.demo_crew import Crew, kill
from kernel.cli.demo_progress import Progress
from kernel.cli.demo_tasks import Facts, examine, facts
from kernel.cli.demo_tree import SKIPPED, Totals, Tree, listed, standard_library, totals
from kernel.cli.output import FAILED, UNAVAILABLE, Fault, plural, print_json, print_table, printable
from kernel.outcome import FINAL
from kernel.result import AsyncResult

#: Results that are awaited at a time: tasks run in the order of sending, so the next to end are among the first.
WINDOW = 500
#: Longest wait for the next result, in seconds, before the worker is looked after.
LOOK = 0.5
#: Part of the files after which a process is killed.
KILL_AFTER = 1 / 3
#: Rows of the table; the rest of the types is one row.
SHOWN = 12


@dataclass(slots=True)
class Run:
    """What the worker did."""

    found: dict[bytes, Facts] = field(default_factory=dict)
    #: Tasks that failed for good: path -> why.
    failed: dict[bytes, str] = field(default_factory=dict)
    seconds: float = 0.0
    #: Process that was killed, and after how many files.
    killed: tuple[int, int] | None = None
    #: Process id -> files whose result it gave.
    by_process: dict[int, int] = field(default_factory=dict)


@click.command()
@click.argument("directory", required=False, type=click.Path(exists=True, file_okay=False))
@click.option("--processes", type=click.IntRange(1, 64), default=2, help="Worker processes.")
@click.option("--kill", "kill_one", is_flag=True, help="Kill a worker process on the way; nothing may be lost by it.")
@click.option("--keep", is_flag=True, help="Keep the database and the log, and say where they are.")
@json_option
def demo(directory: str | None, processes: int, kill_one: bool, keep: bool, as_json: bool) -> None:
    """Hash every file below DIRECTORY with a few worker processes, and check the totals.

    Each regular file is one task: SHA-256, size and lines. The queue is one SQLite file in a temporary directory, so
    nothing needs to be installed or configured. The same is then computed here, one file after the other, and
    the status is 1 when the two differ. Default: the standard library of this Python.
    """
    if kill_one and os.name != "posix":
        raise Fault("--kill needs a POSIX system")
    tree = listed(directory) if directory else listed(standard_library(), SKIPPED)
    if not tree.files:
        raise Fault(f"no regular file below {directory}")
    with _folder(keep) as folder:
        run = _run(tree, folder, processes, kill_one)
    began = time.monotonic()
    here = {path: facts(path) for path in tree.files}
    seconds = time.monotonic() - began
    changed = {path for path in tree.files if tree.changed(path)}
    report = Report(tree, run, totals(run.found, changed), totals(here, changed), changed, seconds)
    if as_json:
        print_json(report.described())
    else:
        report.show()
    if not report.equal:
        raise Fault("the totals differ", FAILED)


@contextmanager
def _folder(keep: bool) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="kernel-demo-"))
    try:
        yield folder
    finally:
        if keep:
            click.echo(f"kept: {folder}", err=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _run(tree: Tree, folder: Path, processes: int, kill_one: bool) -> Run:
    """Send a task per file to a fresh worker and gather what comes back."""
    run, total = Run(), len(tree.files)
    crew = Crew(folder, processes)
    app = Kernel("kernel-demo", transport=crew.url, results=crew.url)
    began = time.monotonic()
    with app, crew, Progress(total) as progress:
        handles: list[AsyncResult[Any]] = app.send_many(examine.name, ((path,) for path in tree.files))
        left = dict(zip((handle.id for handle in handles), zip(tree.files, handles, strict=True), strict=True))
        while left:
            window = list(left)[:WINDOW]
            entries = app.results.await_any(window, LOOK)
            for task_id, entry in zip(window, entries, strict=True):
                if entry is not None and entry.state in FINAL:
                    _note(run, *left.pop(task_id))
            done = total - len(left)
            progress.at(done, run.by_process)
            if kill_one and run.killed is None and left and done >= total * KILL_AFTER:
                _kill_one(run, done)
            if reason := crew.failed():
                raise Fault(reason, UNAVAILABLE)
        run.seconds = time.monotonic() - began
    return run


def _note(run: Run, path: bytes, handle: AsyncResult[Any]) -> None:
    entry = handle.entry()
    assert entry is not None
    if entry.state == "SUCCESS":
        run.found[path] = msgspec.convert(handle.get(0), Facts)
    else:
        run.failed[path] = f"{entry.state}: {entry.error.message if entry.error else entry.reason}"
    pid = int(entry.node.rpartition(":")[2] or 0)
    run.by_process[pid] = run.by_process.get(pid, 0) + 1


def _kill_one(run: Run, done: int) -> None:
    """Kill the process whose result came last."""
    pid = next(reversed(run.by_process), 0)
    if pid and kill(pid):
        run.killed = (pid, done)
        click.echo(f"killed worker process {pid} after {plural(done, 'file')}", err=True)


@dataclass(slots=True)
class Report:
    """Both results, side by side."""

    tree: Tree
    run: Run
    there: Totals
    here: Totals
    changed: set[bytes]
    #: What it took without a queue.
    seconds: float

    @property
    def equal(self) -> bool:
        """Whether every file was counted exactly once and both came to the same."""
        counted = len(self.run.found) + len(self.run.failed) == len(self.tree.files)
        return counted and not self.run.failed and self.there == self.here

    def described(self) -> dict[str, Any]:
        """As plain data."""
        killed = self.run.killed
        return {
            "equal": self.equal,
            "files": len(self.tree.files),
            "worker": {**_described(self.there), "seconds": round(self.run.seconds, 3)},
            "sequential": {**_described(self.here), "seconds": round(self.seconds, 3)},
            "processes": {str(pid): count for pid, count in self.run.by_process.items()},
            "killed": None if killed is None else {"pid": killed[0], "after": killed[1]},
            "failed": {_name(path): reason for path, reason in self.run.failed.items()},
            "changed": sorted(map(_name, self.changed)),
            "unlisted": dict(self.tree.unlisted),
        }

    def show(self) -> None:
        """As tables."""
        rows = sorted(self.there.by_type.items(), key=lambda item: -item[1].files)
        shown: list[Sequence[object]] = [(name, part.files, part.size, part.lines) for name, part in rows[:SHOWN]]
        if rows[SHOWN:]:
            others = zip(*(asdict(part).values() for _, part in rows[SHOWN:]), strict=True)
            shown.append((plural(len(rows) - SHOWN, "other type"), *map(sum, others)))
        shown.append(("all, by workers", *asdict(self.there.all).values()))
        shown.append(("all, one by one", *asdict(self.here.all).values()))
        print_table(("type", "files", "bytes", "lines"), shown, right=("files", "bytes", "lines"))
        click.echo()
        for path, reason in [*self.there.unreadable.items(), *self.run.failed.items()]:
            click.echo(f"not read: {printable(_name(path))}: {reason}")
        for name, reason in self.tree.unlisted:
            click.echo(f"not listed: {printable(name)}: {reason}")
        for path in sorted(self.changed):
            click.echo(f"changed meanwhile, not compared: {printable(_name(path))}")
        click.echo(self._summary())

    def _summary(self) -> str:
        count, took = len(self.tree.files), self.run.seconds
        by = ", ".join(f"{pid}: {number}" for pid, number in self.run.by_process.items())
        verdict = "equal" if self.equal else "DIFFERENT"
        return "\n".join(
            [
                f"{plural(count, 'file')} in {took:.1f} s, {count / took:.0f} per second, by process {by}",
                f"one by one: {self.seconds:.1f} s in this process on {platform.python_implementation()}",
                f"digest of all digests: {self.there.digest[:16]} and {self.here.digest[:16]}: {verdict}",
            ]
        )


def _described(found: Totals) -> dict[str, Any]:
    return {
        **asdict(found.all),
        "digest": found.digest,
        "types": {name: asdict(part) for name, part in sorted(found.by_type.items())},
        "unreadable": {_name(path): reason for path, reason in found.unreadable.items()},
    }


def _name(path: bytes) -> str:
    """A path as text that JSON and terminals can have."""
    return path.decode("utf-8", "backslashreplace")
