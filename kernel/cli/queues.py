"""`kernel queues`: how full they are, a look into one, and emptying or moving it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from math import inf
from typing import Any

import click

from kernel import envelope as wire
from kernel.app import Kernel
from kernel.cli.context import Context, json_option, ports
from kernel.cli.frames import described
from kernel.cli.output import (
    FAILED,
    Fault,
    as_json,
    duration,
    moment,
    note_unopened,
    plural,
    print_json,
    print_table,
)
from kernel.envelope import dead_queue, decode
from kernel.errors import ConfigError, DecodeError, Unsupported
from kernel.held import Held, ready
from kernel.ports import Inspects, Lists, Outgoing, Peeks, QueueSize
from kernel.sealing.transport import fault, reader

_DEAD = dead_queue("")


def inspector(app: Kernel) -> Inspects:
    """The transport, as one that can look into queues; `Unsupported` where it cannot."""
    transport = app.ports.transport
    if not transport.features.inspect or not isinstance(transport, Inspects):
        raise Unsupported("this transport cannot look into its queues; use the tools of the broker")
    return transport


def known_queues(app: Kernel) -> list[str]:
    """Queues that hold or held work, sorted: those of the configuration and of the tasks, those that are declared, and
    those that the transport lists, where it can.

    Queues of dead letters are not among them, but the queue that each belongs to is.
    """
    transport = app.ports.transport
    names = {app.config.tasks.queue}
    names.update(app.sheet(name).address.usual.queue for name in app.tasks)
    names.update(app.router.queues)
    if transport.features.lists and isinstance(transport, Lists):
        names.update(name.removesuffix(_DEAD) for name in transport.queues())
    return sorted(names)


@click.group(invoke_without_command=True)
@click.option("-Q", "--queue", "names", multiple=True, help="Only this one; may be repeated. Default: all.")
@ports
@json_option
@click.pass_context
def queues(ctx: click.Context, context: Context, names: Sequence[str], as_json: bool) -> None:
    """Show how full queues are.

    Ready messages wait for a worker, delayed ones for their time; those in flight are with a worker. "-" is what the
    transport cannot tell.

    \b
    Examples:
      kernel queues --transport sqlite:///jobs.db
      kernel queues peek mail --limit 3
    """
    if ctx.invoked_subcommand is not None:
        return
    with context.load_all() as app:
        chosen = list(names) or known_queues(app)
        transport = inspector(app)
        sizes = transport.sizes(chosen)
        dead = transport.sizes([dead_queue(name) for name in chosen])
    rows = [_row(size, letters, time.time()) for size, letters in zip(sizes, dead, strict=True)]
    if as_json:
        print_json(rows)
        return
    columns = ("queue", "ready", "delayed", "in flight", "dead", "oldest")
    shown = [(*list(row.values())[:5], duration(row["oldest_age"])) for row in rows]
    print_table(columns, shown, right=columns[1:])


def _row(size: QueueSize, dead: QueueSize, now: float) -> dict[str, Any]:
    return {
        "queue": size.queue,
        "ready": size.ready,
        "delayed": size.delayed,
        "in_flight": size.in_flight,
        "dead": dead.ready,
        "oldest_age": None if size.oldest_at is None else round(max(0.0, now - size.oldest_at), 3),
    }


@queues.command()
@click.argument("queue")
@click.option("--limit", type=click.IntRange(min=1), default=10, help="Show at most so many.")
@ports
@json_option
def peek(context: Context, queue: str, limit: int, as_json: bool) -> None:
    """Show the next messages of QUEUE; nothing is taken."""
    with context.load_all() as app:
        transport = app.ports.transport
        if not transport.features.peek or not isinstance(transport, Peeks):
            raise Unsupported("this transport cannot show messages without taking them; use the tools of the broker")
        rows = [described(payload, queue, reader(transport)) for payload in transport.peek(queue, limit)]
    if as_json:
        print_json([_plain(row) for row in rows])
        return
    shown = [
        (row.get("id"), row.get("task") or f"({row['frame']})", _call(row), row.get("retries"),
         moment(row.get("sent_at")), moment(row.get("eta")))
        for row in rows
    ]  # fmt: skip
    print_table(("id", "task", "arguments", "retries", "sent", "not before"), shown, right=("retries",))


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {key: as_json(value) for key, value in row.items()}


def _call(row: dict[str, Any], width: int = 60) -> str | None:
    """Arguments as in source code, cut to a width."""
    if row.get("args") is None:
        return row.get("reason")
    text = ", ".join([*map(repr, row["args"]), *(f"{key}={value!r}" for key, value in row["kwargs"].items())])
    return text if len(text) <= width else f"{text[: width - 3]}..."


@queues.command()
@click.argument("queue")
@click.option("--yes", is_flag=True, help="Do not ask.")
@ports
@json_option
def purge(context: Context, queue: str, yes: bool, as_json: bool) -> None:
    """Drop all ready and delayed messages of QUEUE. What a worker has in hand stays."""
    with context.load_all() as app:
        transport = inspector(app)
        if not yes:
            size = transport.sizes([queue])[0]
            found = plural((size.ready or 0) + (size.delayed or 0), "message")
            if not click.confirm(f"Drop {found} of {queue}?", err=True):
                raise Fault("nothing was dropped", FAILED)
        dropped = transport.purge(queue)
    if as_json:
        print_json({"queue": queue, "dropped": dropped})
    else:
        click.echo(f"dropped {plural(dropped, 'message')} of {queue}")


@queues.command()
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.option("--limit", type=click.IntRange(min=1), help="Move at most so many.  [default: all]")
@ports
@json_option
def move(context: Context, source: str, target: str, limit: int | None, as_json: bool) -> None:
    """Move ready messages from one queue to the end of another, unchanged.

    Each is stored in TO before it is taken away from FROM: one may be in both if this program dies, and none is lost.
    Delayed messages stay where they are until they are due, and so do messages whose seal does not open here.
    """
    if source == target:
        raise ConfigError(f"{source} and {target} are the same queue")
    with context.load_all() as app:
        moved, unopened = _move(app, source, target, limit)
    note_unopened(*unopened)
    if as_json:
        print_json({"from": source, "to": target, "moved": moved})
    else:
        click.echo(f"moved {plural(moved, 'message')} from {source} to {target}")


def _move(app: Kernel, source: str, target: str, limit: int | None) -> tuple[int, tuple[int, str]]:
    """How many were moved; how many do not open, and why the first of them does not."""
    transport = app.ports.transport
    held = Held(transport)
    # Not more than there are now: a queue that is filled as fast as it is moved would never let this end.
    most = min(ready(transport, source), inf if limit is None else limit)
    moved = 0
    faults: list[str] = []
    try:
        transport.declare([target])
        for batch in held.received(source) if most else ():
            wanted = batch[: int(min(most - moved, len(batch)))]
            faults += [fault(delivery) for delivery in wanted if fault(delivery)]
            pairs = [(d, [_readdressed(d.payload, target)]) for d in wanted if not fault(d)]
            moved += held.settle(pairs)
            if moved + len(faults) >= most:
                break
    finally:
        held.release()
    return moved, (len(faults), faults[0] if faults else "")


def _readdressed(payload: bytes, queue: str) -> Outgoing:
    """The same bytes for another queue, with what a broker may honour natively taken from the call."""
    try:
        extra = decode(payload).extra
    except DecodeError:
        return Outgoing(queue, payload)
    return Outgoing(
        queue, payload, extra.get(wire.PRIORITY, 0), extra.get(wire.ETA, 0.0), extra.get(wire.EXPIRES_AT, 0.0)
    )
