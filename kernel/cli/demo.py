"""`kernel demo`: real work on real processes, checked against the same work without any queue."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
import msgspec

from kernel.app import Kernel
from kernel.cli.context import json_option
from kernel.cli.demo_crew import Crew, kill
from kernel.cli.demo_place import Place
from kernel.cli.demo_progress import Progress
from kernel.cli.demo_tasks import Facts, examine, facts
from kernel.cli.demo_tree import SKIPPED, Totals, Tree, listed, standard_library, totals
from kernel.cli.output import FAILED, UNAVAILABLE, Fault, plural, print_json, print_table, printable
from kernel.outcome import FINAL, Entry
from kernel.results.result import AsyncResult

#: Results that are awaited at a time: tasks run in the order of sending, so the next to end are among the first.
WINDOW = 500
#: Longest wait for the next result, in seconds, before the worker is looked after.
LOOK = 0.5
#: Part of the files after which a process is killed, and after which the server is restarted.
KILL_AFTER, RESTART_AFTER = 1 / 3, 1 / 2
#: Longest time that the command which restarts the server may take, in seconds.
RESTART_FOR = 120.0
#: Without any result for so long, in seconds, something is lost or away for good.
SILENT_FOR = 60.0
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
    #: After how many files the server was restarted, and what that took in seconds.
    restarted: tuple[int, float] | None = None
    #: Process id -> files whose result it gave.
    by_process: dict[int, int] = field(default_factory=dict)


@click.command()
@click.argument("directory", required=False, type=click.Path(exists=True, file_okay=False))
@click.option("--processes", type=click.IntRange(1, 64), default=2, help="Worker processes.")
@click.option("--kill", "kill_one", is_flag=True, help="Kill a worker process on the way; nothing may be lost by it.")
@click.option("--transport", metavar="URL", help="A server to go through, in place of an SQLite file.")
@click.option("--restart", metavar="COMMAND", help="Shell command that restarts the server, run half-way.")
@click.option("--keep", is_flag=True, help="Keep the database and the log, and say where they are.")
@json_option
def demo(
    directory: str | None,
    processes: int,
    kill_one: bool,
    transport: str | None,
    restart: str | None,
    keep: bool,
    as_json: bool,
) -> None:
    """Hash every file below DIRECTORY with a few worker processes, and check the totals.

    Each regular file is one task: SHA-256, size and lines. The queue is one SQLite file in a temporary directory, so
    nothing needs to be installed or configured; with --transport it is a queue of its own on that server, emptied at
    the end. The same is then computed here, one file after the other, and the status is 1 when the two differ.
    Default: the standard library of this Python.
    """
    if kill_one and os.name != "posix":
        raise Fault("--kill needs a POSIX system")
    tree = listed(directory) if directory else listed(standard_library(), SKIPPED)
    if not tree.files:
        raise Fault(f"no regular file below {directory}")
    with _folder(keep) as folder:
        place = Place(folder, transport or "")
        run = Demo(tree, place, Crew(folder, processes, place.settings), kill_one, restart or "").run()
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


class Demo:
    """Sends a task per file to a fresh worker and gathers what comes back."""

    def __init__(self, tree: Tree, place: Place, crew: Crew, kill_one: bool, restart: str) -> None:
        """`kill_one`: kill a process on the way; `restart`: run this command on the way, "" for none."""
        self._tree = tree
        self._place = place
        self._crew = crew
        self._kill_one = kill_one
        self._restart = restart
        self._run = Run()
        self._heard_at = 0.0

    def run(self) -> Run:
        """All of it; a `Fault` when the worker ends, or when nothing comes back any more."""
        app = self._place.application()
        began = self._heard_at = time.monotonic()
        with app, Progress(len(self._tree.files)) as progress:
            results: Sequence[AsyncResult[Any]] = app.send_many(examine.name, ((path,) for path in self._tree.files))
            ids = [result.id for result in results]
            try:
                with self._crew:
                    self._gather(app, dict(zip(ids, self._tree.files, strict=True)), progress)
                    self._run.seconds = time.monotonic() - began
                    self._place.drain(app)
            finally:
                self._place.clean(app, ids)
        return self._run

    def _gather(self, app: Kernel, left: dict[str, bytes], progress: Progress) -> None:
        """Wait for the results of `left`: id of the task -> path."""
        total = len(left)
        while left:
            window = list(left)[:WINDOW]
            entries = app.results.await_any(window, LOOK)
            for task_id, entry in zip(window, entries, strict=True):
                if entry is not None and entry.state in FINAL:
                    self._heard_at = time.monotonic()
                    _note(self._run, entry, left.pop(task_id), app.results.load)
            progress.at(total - len(left), self._run.by_process)
            if left:
                self._disturb(total - len(left), total)
            if reason := self._crew.failed():
                raise Fault(reason, UNAVAILABLE)
            if left and time.monotonic() - self._heard_at > SILENT_FOR:
                self._silent(len(left))

    def _disturb(self, done: int, total: int) -> None:
        run = self._run
        if self._kill_one and run.killed is None and done >= total * KILL_AFTER:
            _kill_one(run, done)
        if self._restart and run.restarted is None and done >= total * RESTART_AFTER:
            click.echo(f"after {plural(done, 'file')}: {self._restart}", err=True)
            run.restarted = (done, _restarted(self._restart))
            self._heard_at = time.monotonic()

    def _silent(self, left: int) -> None:
        why = "; does the server keep its messages over a restart?" if self._run.restarted else ""
        raise Fault(f"no result for {SILENT_FOR:g} s, {plural(left, 'file')} left{why}", FAILED)


def _restarted(command: str) -> float:
    """Run the command; how long it took, in seconds."""
    began = time.monotonic()
    try:
        done = subprocess.run(
            command, shell=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=RESTART_FOR, check=False
        )
    except subprocess.TimeoutExpired:
        raise Fault(f"--restart: the command has not ended after {RESTART_FOR:g} s", FAILED) from None
    if done.returncode:
        said = (done.stderr or done.stdout).decode("utf-8", "replace").strip().splitlines()
        raise Fault(f"--restart: status {done.returncode}: {said[-1] if said else 'it said nothing'}", FAILED)
    return time.monotonic() - began


def _note(run: Run, entry: Entry, path: bytes, load: Callable[[Entry], Any]) -> None:
    if entry.state == "SUCCESS":
        run.found[path] = msgspec.convert(load(entry), Facts)
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
        killed, restarted = self.run.killed, self.run.restarted
        return {
            "equal": self.equal,
            "files": len(self.tree.files),
            "worker": {**_described(self.there), "seconds": round(self.run.seconds, 3)},
            "sequential": {**_described(self.here), "seconds": round(self.seconds, 3)},
            "processes": {str(pid): count for pid, count in self.run.by_process.items()},
            "restarted": None if restarted is None else {"after": restarted[0], "seconds": round(restarted[1], 3)},
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
