"""`kernel report`: what a report of a fault should come with."""

from __future__ import annotations

import click

from kernel.cli.context import Context, ports


@click.command()
@ports
def report(context: Context) -> None:
    """Print versions, plugins and settings, for a report of a fault.

    Only settings that somebody set are shown. Passwords in URLs are masked.
    """
    click.echo(context.load().bugreport())
