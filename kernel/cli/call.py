"""`kernel call` and `kernel result`."""

from __future__ import annotations

import difflib
import json
from collections import Counter
from typing import Any

import click

from kernel.app import Kernel
from kernel.cli.context import Context, json_option, ports
from kernel.cli.output import FAILED, NOT_YET, OK, USAGE, Fault, as_json, moment, print_fields, print_json
from kernel.errors import ResultMissing, ResultTimeout
from kernel.options import CallOptions
from kernel.outcome import FINAL, Entry
from kernel.results.result import AsyncResult


class JsonOf(click.ParamType[Any]):
    """An option written in JSON, of one Python type."""

    def __init__(self, kind: type, name: str) -> None:
        self.kind = kind
        self.name = name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The decoded value; a usage error when it is no JSON, or JSON of another type."""
        if isinstance(value, self.kind):
            return value
        try:
            read = json.loads(value, object_pairs_hook=_unique)
        except (ValueError, RecursionError) as error:
            self.fail(f"{_short(value)} is not JSON: {error}", param, ctx)
        if not isinstance(read, self.kind):
            self.fail(f"{_short(value)} is not a JSON {self.name}", param, ctx)
        return read


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; a name that is there twice has a value that nobody would ever see."""
    read = dict(pairs)
    if len(read) < len(pairs):
        ((name, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"the name {name!r:.40} is there twice")
    return read


def _short(value: Any, width: int = 200) -> str:
    text = repr(value)
    return text if len(text) <= width else f"{text[:width]}..."


@click.command()
@click.argument("name")
@click.option("--args", type=JsonOf(list, "array"), default="[]", help="Positional arguments, as a JSON array.")
@click.option("--kwargs", type=JsonOf(dict, "object"), default="{}", help="Keyword arguments, as a JSON object.")
@click.option("--countdown", type=click.FloatRange(min=0), metavar="SECONDS", help="Not before so many seconds.")
@click.option("--expires", type=click.FloatRange(min=0), metavar="SECONDS", help="Not after so many seconds.")
@click.option("--queue", help="Default: the task's own.")
@click.option("--exchange", help="In place of the queue, where the transport has exchanges.")
@click.option("--routing-key", help="By which an exchange chooses its queues.")
@click.option("--priority", type=click.IntRange(0, 9), help="9 is the most urgent. Default: the task's own.")
@click.option("--task-id", help="Default: a new one.")
@click.option("--wait", type=click.FloatRange(min=0), metavar="SECONDS", help="Await the result for so long.")
@ports
@json_option
def call(
    context: Context,
    name: str,
    args: list[Any],
    kwargs: dict[str, Any],
    wait: float | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Send one call of the task NAME and print its id; with --wait, its result.

    The task need not be known here: its name and a transport are enough.

    \b
    Examples:
      kernel call shop.tasks.add --args '[1, 2]' --wait 10
      kernel call shop.tasks.mail --kwargs '{"to": "me"}' --countdown 60
      kernel call shop.tasks.add --args '[1, 2]' --transport sqlite:///jobs.db
    """
    with context.load_all() as app:
        _note_unknown(app, name)
        if wait is not None and app.ports.results is None:
            raise ResultMissing("--wait needs a result store, and none is configured: nothing was sent")
        given: CallOptions = {key: value for key, value in options.items() if value is not None}  # type: ignore[assignment]
        try:
            result = app.send_task(name, args, kwargs, **given)
        except TypeError as error:
            raise Fault(f"{name}: {error}", USAGE) from error
        if wait is not None:
            _show(result, wait, as_json, traceback=True)
        elif as_json:
            print_json({"id": result.id, "task": name})
        else:
            click.echo(result.id)


def _note_unknown(app: Kernel, name: str) -> None:
    """A likely misspelling is worth a word; an error it is not, because another program may have the task."""
    if name not in app.tasks:
        for meant in difflib.get_close_matches(name, app.tasks, 1):
            click.echo(f"note: this application has no task {name!r}; did you mean {meant!r}?", err=True)


@click.command()
@click.argument("task_id", metavar="ID")
@click.option("--wait", type=click.FloatRange(min=0), metavar="SECONDS", help="Await the end of the task for so long.")
@click.option("--traceback", is_flag=True, help="Show the traceback of a failure.")
@click.option("--forget", is_flag=True, help="Delete the result after it was shown.")
@ports
@json_option
def result(context: Context, task_id: str, wait: float | None, traceback: bool, forget: bool, as_json: bool) -> None:
    """Show what is known of the call ID: its state, and its value or error.

    The exit status is 0 for a success, 1 for a task that failed, was revoked or expired, and 4 for one that has not
    ended or that nobody knows.
    """
    with context.load() as app:
        if app.ports.results is None:
            raise ResultMissing("no result store is configured: give --results, or an application that has one")
        awaited = app.result(task_id)
        try:
            _show(awaited, wait, as_json, traceback)
        finally:
            if forget and awaited.ready():
                awaited.forget()


def _show(result: AsyncResult[Any], wait: float | None, json_wanted: bool, traceback: bool) -> None:
    """Print the state; ends the program with a status that tells it."""
    if wait is not None:
        try:
            result.get(wait, propagate=False)
        except ResultTimeout:
            pass  # the state below says so
    entry = result.entry()
    value = result.get(0) if entry is not None and entry.state == "SUCCESS" else None
    if json_wanted:
        print_json(_described(result.id, entry, value))
    else:
        print_fields(_lines(result.id, entry, value, traceback))
    status = OK if entry is not None and entry.state == "SUCCESS" else FAILED
    raise click.exceptions.Exit(status if entry is not None and entry.state in FINAL else NOT_YET)


def _described(task_id: str, entry: Entry | None, value: Any) -> dict[str, Any]:
    error = None if entry is None else entry.error
    raised = None if error is None else {"type": error.type, "message": error.message, "traceback": error.traceback}
    return {
        "id": task_id,
        "state": "PENDING" if entry is None else entry.state,
        "value": as_json(value),
        "error": raised,
        "reason": entry.reason if entry is not None else "",
        "attempt": None if entry is None else entry.attempt,
        "at": None if entry is None else entry.at,
        "node": entry.node if entry is not None else "",
    }


def _lines(task_id: str, entry: Entry | None, value: Any, traceback: bool) -> list[tuple[str, object]]:
    if entry is None:
        return [("id", task_id), ("state", "PENDING"), ("note", "nothing is known of this id")]
    lines: list[tuple[str, object]] = [("id", task_id), ("state", entry.state)]
    if entry.state == "SUCCESS":
        lines.append(("value", repr(value)))
    if entry.error is not None:
        lines.append(("error", f"{entry.error.type}: {entry.error.message}"))
        if traceback and entry.error.traceback:
            lines.append(("traceback", entry.error.traceback))
    if entry.reason:
        lines.append(("reason", entry.reason))
    return [*lines, ("retries", entry.attempt), ("at", moment(entry.at)), ("node", entry.node or None)]
