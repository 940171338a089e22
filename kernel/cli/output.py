"""What commands print: tables for people, JSON for programs, and errors as one line."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import click

from kernel.errors import ConfigError, KernelError, PartialSend, ResultTimeout, Unavailable
from kernel.serializers.json_ import JsonSerializer

#: Exit statuses, as `kernel --help` documents them.
OK, FAILED, USAGE, UNAVAILABLE, NOT_YET, INTERRUPTED = 0, 1, 2, 3, 4, 130

#: Width of a table that no terminal bounds, in characters.
WIDE = 400

_json = JsonSerializer()


class Fault(click.ClickException):
    """An error that ends the program with one line and a status."""

    def __init__(self, message: str, status: int = FAILED) -> None:
        super().__init__(message)
        self.status = status

    @property
    def exit_code(self) -> int:  # type: ignore[override]  # a constant of the class in click, here one per error
        """What click exits with."""
        return self.status

    def show(self, file: Any = None) -> None:
        """Print the line to standard error."""
        click.echo(f"error: {self.message}", err=True)


def note_unopened(count: int, why: str) -> None:
    """Say of messages that were left because their seal does not open here; nothing when there are none."""
    if count:
        click.echo(f"note: {plural(count, 'message')} left, because the seal does not open here: {why}", err=True)


def fault(error: KernelError) -> Fault:
    """The line and the status for an error of kernel."""
    text = str(error) or type(error).__name__
    if isinstance(error, ConfigError):
        # A module that fails while it is imported brings the end of its traceback: the only error of several lines.
        return Fault(text, USAGE)
    line = " ".join(text.split())
    away = isinstance(error, Unavailable)
    if isinstance(error, PartialSend):
        away = all(isinstance(one, Unavailable) for one in error.errors.values())
    if away:
        return Fault(line, UNAVAILABLE)
    return Fault(line, NOT_YET if isinstance(error, ResultTimeout) else FAILED)


def printable(value: object) -> str:
    """The text of a value with control characters escaped: what a stranger put in a queue cannot steer a terminal."""
    text = str(value)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char == "\n" else repr(char)[1:-1] for char in text)


def as_json(value: Any) -> Any:
    """A decoded value in terms of JSON: types that JSON lacks as the tags of the serializer, others as their `repr`."""
    try:
        return json.loads(_json.dumps(value))
    except (KernelError, ValueError):
        return repr(value)


def print_json(value: Any) -> None:
    """Print one JSON document to standard output."""
    click.echo(json.dumps(value, indent=2, default=str))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], right: Sequence[str] = ()) -> None:
    """Print rows under headings; None is shown as "-". `right` names the columns of numbers."""
    from rich import box  # 40 ms, which only a command that draws a table should pay
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text("-" if cell is None else printable(cell)) for cell in row))
    terminal = sys.stdout.isatty()
    Console(file=sys.stdout, width=None if terminal else WIDE, highlight=False).print(table)


def print_fields(fields: Sequence[tuple[str, object]]) -> None:
    """Print name and value pairs, one per line; a value of several lines goes below its name. None is "-"."""
    width = max((len(name) for name, _ in fields), default=0)
    for name, value in fields:
        text = "-" if value is None else printable(value).rstrip("\n")
        if "\n" in text:
            click.echo(f"{name}:")
            click.echo("\n".join(f"    {line}" for line in text.split("\n")))
        else:
            click.echo(f"{name + ':':<{width + 1}} {text}")


def moment(at: float | None) -> str | None:
    """A wall-clock time as local time; None for none."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)) if at else None


def duration(seconds: float | None) -> str | None:
    """A duration in its largest fitting unit, such as "1.5 s", "4 min" or "3.2 d"."""
    if seconds is None:
        return None
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / 86400:.1f} d"


def plural(count: int, noun: str) -> str:
    """ "1 message", "2 messages"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
