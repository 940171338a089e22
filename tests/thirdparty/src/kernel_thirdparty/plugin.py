"""A plugin: one command, and a count of the settled tasks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from kernel.hooks import Settled, hookimpl

#: Names the file that takes the count when a worker stops.
VARIABLE = "THIRDPARTY_COUNT"

counts: dict[str, int] = {}


@click.command("hello-thirdparty")
def hello() -> None:
    """Say hello."""
    click.echo("hello from a third party")


@hookimpl
def kernel_cli_commands() -> Sequence[click.Command]:
    """One more command."""
    return [hello]


@hookimpl
def kernel_settled(batch: Sequence[Settled]) -> None:
    """Count by task and state."""
    for settled in batch:
        key = f"{settled.envelope.task} {settled.state}"
        counts[key] = counts.get(key, 0) + 1


@hookimpl
def kernel_worker_stop(worker: Any) -> None:
    """Write the counts."""
    if VARIABLE in os.environ:
        lines = [f"{key} {count}\n" for key, count in sorted(counts.items())]
        Path(os.environ[VARIABLE]).write_text("".join(lines))
