"""`kernel config`: every setting and where its value comes from."""

from __future__ import annotations

import click

from kernel.cli.context import Context, json_option, ports
from kernel.cli.output import print_json, print_table


@click.command()
@ports
@json_option
def config(context: Context, as_json: bool) -> None:
    """Show every setting, its value and its source.

    Weakest first: defaults, file, plugins, environment, command line, code. Passwords in URLs are masked.
    """
    settings = context.load().config.describe()
    if as_json:
        print_json({setting.key: {"value": setting.value, "source": setting.source} for setting in settings})
        return
    shown = [(s.key, ", ".join(s.value) if isinstance(s.value, tuple) else s.value, s.source) for s in settings]
    print_table(("setting", "value", "source"), shown)
