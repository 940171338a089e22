"""The progress of `kernel demo`: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

import click

from kernel.cli.output import duration

#: Seconds between two lines where there is no terminal.
EVERY = 2.0


class Progress:
    """How far it is, how fast it goes and how long it will take; on standard error."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._began = self._said = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            # 60 ms, which only a bar should pay
            from rich import progress
            from rich.console import Console

            self._bar = progress.Progress(
                progress.TextColumn("{task.completed}/{task.total} files"),
                progress.BarColumn(),
                progress.TextColumn("{task.fields[rate]}/s"),
                progress.TimeRemainingColumn(compact=True),
                progress.TextColumn("{task.fields[processes]}"),
                console=Console(stderr=True),
            )
            self._task = self._bar.add_task("", total=self._total, rate="-", processes="")
            self._bar.start()
        return self

    def at(self, done: int, by_process: Mapping[int, int]) -> None:
        """So many files are done; files by process id."""
        now = time.monotonic()
        rate = done / max(now - self._began, 0.001)
        if self._bar is not None:
            processes = " ".join(f"[{pid}] {count}" for pid, count in by_process.items()).replace("[", "\\[")
            self._bar.update(self._task, completed=done, rate=f"{rate:.0f}", processes=processes)
        elif now - self._said >= EVERY or done == self._total:
            self._said = now
            left = duration((self._total - done) / rate) if done else "-"
            click.echo(f"{done} of {self._total} files, {rate:.0f} per second, {left} left", err=True)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
