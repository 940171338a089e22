"""`kernel dead`: the dead letters of one queue or of all."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

import click

from kernel.app import Kernel
from kernel.cli.context import Context, json_option, ports
from kernel.cli.frames import letter_described
from kernel.cli.output import (
    FAILED,
    Fault,
    as_json,
    duration,
    moment,
    note_unopened,
    plural,
    print_fields,
    print_json,
    print_table,
)
from kernel.cli.queues import known_queues
from kernel.dead import ALL, DeadLetters, Kind, Match

F = TypeVar("F", bound=Callable[..., Any])

_FILTERS = (
    click.option("-Q", "--queue", "names", multiple=True, metavar="QUEUE",
                 help="Letters that came from this queue; may be repeated. Default: all queues."),
    click.option("--task", default="", metavar="NAME", help="Letters of this task, or of a pattern such as 'shop.*'."),
    click.option("--kind", type=click.Choice(("failed", "unprocessable", "moved", "sealed")),
                 help="failed: the task did; unprocessable: it never could run; moved: by the broker itself; "
                 "sealed: it does not open here."),
    click.option("--error", default="", metavar="TEXT", help="Letters whose error or reason contains this."),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which letters the command line means."""

    match: Match
    #: Queues that they came from; none: all.
    names: Sequence[str]

    def letters(self, app: Kernel) -> list[DeadLetters]:
        """The dead letters of each queue."""
        return [DeadLetters(app.ports.transport, name) for name in self.names or known_queues(app)]

    def required(self, everything: bool, verb: str) -> Chosen:
        """Itself, where there is a filter or the explicit wish for all; else a usage error."""
        if self.match == ALL and not everything:
            raise click.UsageError(f"name what to {verb}: an ID, a filter such as --task, or --all")
        return self


def filters(command: F) -> F:
    """Give a command the options that choose letters, as one argument `chosen`."""

    @wraps(command)
    def run(
        *args: Any,
        names: Sequence[str],
        task: str,
        kind: Kind | None,
        error: str,
        ids: Sequence[str] = (),
        **options: Any,
    ) -> Any:
        match = Match(ids=frozenset(ids), task=task, kind=kind or "", error=error)
        return command(*args, chosen=Chosen(match, names), **options)

    for option in reversed(_FILTERS):
        run = option(run)
    return run  # type: ignore[return-value]  # wraps and the options keep it callable as click calls it


@click.group()
def dead() -> None:
    """Look after dead letters: calls that failed for good, and messages that could not be run.

    The letters of a queue wait in QUEUE.dead until they are requeued or purged.

    \b
    Examples:
      kernel dead list --task 'shop.*'
      kernel dead show 5f0c...
      kernel dead requeue --error ConnectionError --rate 10
      kernel dead purge --queue mail --all
    """


@dead.command("list")
@filters
@click.option("--limit", type=click.IntRange(min=1), default=100, help="Show at most so many.")
@ports
@json_option
def list_letters(context: Context, chosen: Chosen, limit: int, as_json: bool) -> None:
    """List letters, the oldest of each queue first; nothing is taken."""
    with context.load() as app:
        parts = chosen.letters(app)
        letters = [letter for part in parts for letter in part.list(chosen.match, limit)][:limit]
    _note(parts)
    if as_json:
        print_json([_plain(letter_described(letter)) for letter in letters])
        return
    now = time.time()
    rows = [
        (letter.id or None, letter.task or None, letter.queue, letter.kind, letter.summary or letter.reason,
         duration(now - letter.last_at) if letter.last_at else None)
        for letter in letters
    ]  # fmt: skip
    print_table(("id", "task", "queue", "kind", "error", "dead for"), rows, right=("dead for",))


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """Arguments and headers may hold what JSON does not."""
    call = row["call"]
    return {**row, "call": call and {key: as_json(value) for key, value in call.items()}}


@dead.command()
@click.argument("task_id", metavar="ID")
@click.option("-Q", "--queue", "names", multiple=True, help="Search here only; may be repeated. Default: all queues.")
@ports
@json_option
def show(context: Context, task_id: str, names: Sequence[str], as_json: bool) -> None:
    """Show all that is known of the letter of the call ID, with the traceback; nothing is taken."""
    with context.load() as app:
        parts = Chosen(ALL, names).letters(app)
        letters = [letter for part in parts for letter in part.find(task_id)]
    if not letters:
        _note(parts)
        raise Fault(f"no dead letter of {task_id}", FAILED)
    rows = [letter_described(letter) for letter in letters]
    if as_json:
        print_json([_plain(row) for row in rows])
        return
    for index, row in enumerate(rows):
        if index:
            click.echo()
        print_fields(_fields(row))


def _fields(row: dict[str, Any]) -> list[tuple[str, object]]:
    """Everything on a line of its own; what is empty is left out, the traceback comes last."""
    call = row["call"] or {}
    shown = {
        **{key: row[key] for key in ("id", "task", "queue", "kind", "reason")},
        "args": None if call.get("args") is None else repr(call["args"]),
        "kwargs": None if call.get("kwargs") is None else repr(call["kwargs"]),
        **{key: call.get(key) for key in ("codec", "retries", "generation")},
        **{key: value for key, value in call.items() if key not in ("args", "kwargs", "id", "task")},
        "sent_at": moment(call.get("sent_at")),
        "eta": moment(call.get("eta")),
        "expires_at": moment(call.get("expires_at")),
        "first_at": moment(row["first_at"]),
        "last_at": moment(row["last_at"]),
        **{key: row[key] for key in ("deliveries", "priority", "bytes", "error")},
    }
    return [(key.replace("_", " "), value) for key, value in shown.items() if value not in (None, "")]


@dead.command()
@click.argument("ids", metavar="[ID]...", nargs=-1)
@filters
@click.option("--all", "everything", is_flag=True, help="All letters; needed where neither ID nor filter is given.")
@click.option("--limit", type=click.IntRange(min=0), default=0, help="Requeue at most so many of each queue; 0: all.")
@click.option("--rate", type=click.FloatRange(min=0), default=0.0, help="Requeue at most so many a second; 0: at once.")
@ports
@json_option
def requeue(context: Context, chosen: Chosen, everything: bool, limit: int, rate: float, as_json: bool) -> None:
    """Send letters to the queue they came from, to be run again with all their retries.

    Each is sent before it is taken away: one may be sent twice if this program dies, and none is lost. Its new
    outcome replaces the old one.
    """
    match = chosen.required(everything, "requeue").match
    with context.load() as app:
        parts = chosen.letters(app)
        counts = {part.queue: part.requeue(match, limit, rate) for part in parts}
    _note(parts)
    _report("requeued", counts, match, as_json)


@dead.command()
@click.argument("ids", metavar="[ID]...", nargs=-1)
@filters
@click.option("--all", "everything", is_flag=True, help="All letters; needed where neither ID nor filter is given.")
@click.option("--limit", type=click.IntRange(min=0), default=0, help="Drop at most so many of each queue; 0: all.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@ports
@json_option
def purge(context: Context, chosen: Chosen, everything: bool, limit: int, yes: bool, as_json: bool) -> None:
    """Delete letters for good."""
    match = chosen.required(everything, "purge").match
    if not yes and not click.confirm("Delete these letters for good?", err=True):
        raise Fault("nothing was deleted", FAILED)
    with context.load() as app:
        counts = {part.queue: part.purge(match, limit) for part in chosen.letters(app)}
    _report("purged", counts, match, as_json)


def _note(parts: Sequence[DeadLetters]) -> None:
    """Say of letters that were looked at and do not open."""
    note_unopened(sum(part.unopened for part in parts), next((part.fault for part in parts if part.fault), ""))


def _report(done: str, counts: dict[str, int], match: Match, as_json: bool) -> None:
    total = sum(counts.values())
    if as_json:
        print_json({done: total, "queues": {queue: count for queue, count in counts.items() if count}})
    else:
        click.echo(f"{done} {plural(total, 'letter')}")
    if match.ids and not total:
        raise Fault(f"no dead letter of {', '.join(sorted(match.ids))}", FAILED)
