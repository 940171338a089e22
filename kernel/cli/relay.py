"""`kernel relay` and `kernel outbox`: from outboxes to the transport, and what is in them."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence

import click

from kernel import discovery
from kernel.app import Kernel
from kernel.cli.context import Context, json_option, ports
from kernel.cli.output import FAILED, Fault, duration, plural, print_json, print_table
from kernel.envelope import decode
from kernel.errors import ConfigError, DecodeError, PortError
from kernel.native import Signal, monotonic
from kernel.ports import Outbox, Waiting
from kernel.sending.relay import BATCH, INTERVAL, Moved, Relay
from kernel.steady import Outage

_PLACE = click.argument("place", metavar="[OUTBOX]", required=False)


def _outbox(app: Kernel, place: str | None) -> Outbox:
    """The outbox that is named, else the configured one; not opened."""
    found = place or app.config.tasks.outbox
    if not found:
        raise ConfigError("which outbox? name its file or URL, or set KERNEL_OUTBOX")
    return discovery.outbox(found)


# -- the relay -----------------------------------------------------------------------------------------------


@click.command()
@_PLACE
@click.option("--once", is_flag=True, help="End when there is nothing left to send.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.01),
    default=INTERVAL,
    metavar="SECONDS",
    help="Pause between two looks into an empty outbox: how late a message is sent at most.",
)
@click.option("--batch", type=click.IntRange(min=1), default=BATCH, help="Send so many messages in one call.")
@ports
@json_option
def relay(context: Context, place: str | None, once: bool, interval: float, batch: int, as_json: bool) -> None:
    """Send the messages of OUTBOX, a file or URL, through the transport. Default: the configured outbox.

    Several may run: what one has claimed no other is given. TERM and INT end it after the batch at hand. With --once
    the exit status is 1 when messages were refused for good; `kernel outbox list --refused` shows them.

    \b
    Examples:
      kernel relay /var/lib/shop/outbox.db --transport redis://localhost
      kernel relay postgresql+psycopg://shop@localhost/shop -A shop.tasks
      kernel relay --once
    """
    with context.load() as app:
        outbox = _outbox(app, place)
        mover = Relay(outbox, lambda: app.ports.transport, batch)
        try:
            if once:
                outbox.open()
                _report(mover.drain(), as_json)
            else:
                _serve(outbox, mover, interval)
        finally:
            outbox.close()


def _report(moved: Moved, as_json: bool) -> None:
    if as_json:
        print_json({"sent": moved.sent, "refused": moved.refused})
    else:
        click.echo(f"sent {plural(moved.sent, 'message')}, refused {moved.refused}")
    if moved.refused:
        raise Fault(f"{plural(moved.refused, 'message')} refused: see kernel outbox list --refused", FAILED)


def _serve(outbox: Outbox, mover: Relay, interval: float) -> None:
    """Until a signal says so. What is away is waited for, and said once."""
    ended = Signal()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    outage = Outage("relaying")
    opened = False
    since, sent = monotonic(), 0
    click.echo("relay started", err=True)
    while not ended.is_set():
        try:
            if not opened:
                outbox.open()
                opened = True
            moved = mover.step()
        except PortError as error:
            ended.wait(outage.failed(error))
            continue
        outage.worked()
        sent += moved.sent
        if not moved.total:
            ended.wait(interval)
    click.echo(f"relay ended: sent {plural(sent, 'message')} in {duration(monotonic() - since)}", err=True)


# -- what is in an outbox ------------------------------------------------------------------------------------


@click.group()
def outbox() -> None:
    """Look after outboxes: messages that are stored before they are sent.

    OUTBOX is a file or URL; default: the configured one.

    \b
    Examples:
      kernel outbox show /var/lib/shop/outbox.db
      kernel outbox list --refused
      kernel outbox ddl postgresql://
    """


@outbox.command()
@_PLACE
@ports
@json_option
def show(context: Context, place: str | None, as_json: bool) -> None:
    """Show how much is in it, and since when the oldest message waits."""
    with context.load() as app:
        found = _opened(app, place).fill()
    age = None if found.oldest_at is None else time.time() - found.oldest_at
    if as_json:
        print_json({"waiting": found.waiting, "refused": found.refused, "oldest_for": age})
    else:
        print_table(("waiting", "refused", "oldest"), [(found.waiting, found.refused, duration(age))])


def _opened(app: Kernel, place: str | None) -> Outbox:
    found = _outbox(app, place)
    found.open()
    return found


@outbox.command("list")
@_PLACE
@click.option("--refused", is_flag=True, help="Those that the transport has refused for good, with the reason.")
@click.option("--limit", type=click.IntRange(min=1), default=100, help="Show at most so many.")
@ports
@json_option
def list_rows(context: Context, place: str | None, refused: bool, limit: int, as_json: bool) -> None:
    """List messages, the oldest first; nothing is taken."""
    with context.load() as app:
        rows = [(row, *_named(row)) for row in _opened(app, place).waiting(refused, limit)]
    if as_json:
        print_json([
            {"row": row.id, "id": id or None, "task": task or None, "queue": row.queue, "added_at": row.added_at,
             "bytes": len(row.payload), "reason": row.reason}
            for row, id, task in rows
        ])  # fmt: skip
        return
    now = time.time()
    print_table(
        ("row", "id", "task", "queue", "waits for", "reason"),
        [(row.id, id or None, task or None, row.queue, duration(now - row.added_at), row.reason or None)
         for row, id, task in rows],
    )  # fmt: skip


def _named(row: Waiting) -> tuple[str, str]:
    """Id and name of the call, as far as this release can read it."""
    try:
        envelope = decode(row.payload)
    except DecodeError:
        return "", ""
    return envelope.id, envelope.task


_ROWS = click.argument("rows", metavar="[ROW]...", nargs=-1)
_WHERE = click.option("--outbox", "place", metavar="OUTBOX", help="File or URL. Default: the configured outbox.")
_ALL = click.option("--all", "everything", is_flag=True, help="All refused messages; needed where no ROW is given.")


def _chosen(rows: Sequence[str], everything: bool, verb: str) -> Sequence[str]:
    if not rows and not everything:
        raise click.UsageError(f"name what to {verb}: a ROW of `kernel outbox list --refused`, or --all")
    return rows


@outbox.command()
@_ROWS
@_WHERE
@_ALL
@ports
def retry(context: Context, rows: Sequence[str], place: str | None, everything: bool) -> None:
    """Let a relay try refused messages again."""
    with context.load() as app:
        count = _opened(app, place).retry(_chosen(rows, everything, "retry"))
    click.echo(f"{plural(count, 'message')} will be tried again")


@outbox.command()
@_ROWS
@_WHERE
@_ALL
@click.option("--yes", is_flag=True, help="Do not ask.")
@ports
def purge(context: Context, rows: Sequence[str], place: str | None, everything: bool, yes: bool) -> None:
    """Delete refused messages for good."""
    chosen = _chosen(rows, everything, "purge")
    if not yes and not click.confirm("Delete these messages for good?", err=True):
        raise Fault("nothing was deleted", FAILED)
    with context.load() as app:
        count = _opened(app, place).purge(chosen)
    click.echo(f"purged {plural(count, 'message')}")


@outbox.command()
@_PLACE
@ports
def ddl(context: Context, place: str | None) -> None:
    """Print the statements that make the tables, for a migration; nothing is connected."""
    with context.load() as app:
        click.echo(_outbox(app, place).ddl(), nl=False)


@outbox.command()
@_PLACE
@ports
def create(context: Context, place: str | None) -> None:
    """Make the tables that are missing."""
    with context.load() as app:
        found = _outbox(app, place)
        found.create()
        found.close()
    click.echo("the tables are there")
