"""`kernel config`: every setting and where its value comes from."""

from __future__ import annotations

from json import dumps
from typing import Any

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
    print_table(("setting", "value", "source"), [(each.key, _shown(each.value), each.source) for each in settings])


def _shown(value: Any) -> Any:
    """A list as its items, and what is in it as JSON where it is more than a name."""
    if isinstance(value, tuple):
        return ", ".join(item if isinstance(item, str) else dumps(item) for item in value)
    return dumps(value) if isinstance(value, dict) else value
