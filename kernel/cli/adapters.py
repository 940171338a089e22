"""`kernel adapters`: what is installed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from math import isinf
from typing import Any

import click

from kernel import discovery
from kernel.cli.context import json_option
from kernel.cli.output import print_json, print_table
from kernel.discovery import Installed
from kernel.errors import KernelError

#: What is constructed to read its features, by group: from a URL without a place, or with one slot.
_MAKERS: dict[str, Callable[[str], Any]] = {
    "kernel.transports": lambda name: discovery.transport(f"{name}://"),
    "kernel.results": lambda name: discovery.results(f"{name}://"),
    "kernel.coordination": lambda name: discovery.coordination(f"{name}://"),
    "kernel.schedules": lambda name: discovery.schedules(f"{name}://"),
    "kernel.pools": lambda name: discovery.pool(name, 1),
    "kernel.serializers": discovery.serializer,
}


@click.command()
@json_option
def adapters(as_json: bool) -> None:
    """List adapters, pools, serializers and plugins of all installed packages.

    Features are shown where the adapter tells them without a connection; what is missing comes with the line that
    installs it.
    """
    rows = [_row(entry) for entry in discovery.installed()]
    known = {row["name"] for row in rows}
    missing = [
        {"name": name, "install": f"pip install 'kernelq[{extra}]'"}
        for name, extra in discovery.EXTRAS.items()
        if name not in known
    ]
    if as_json:
        print_json({"installed": rows, "missing": missing})
        return
    columns = ("port", "name", "package", "features")
    print_table(
        columns,
        [(row["port"], row["name"], f"{row['distribution']} {row['version']}", row["error"] or _words(row["features"]))
         for row in rows],
    )  # fmt: skip
    if missing:
        click.echo()
        print_table(("not installed", "remedy"), [(row["name"], row["install"]) for row in missing])


def _row(entry: Installed) -> dict[str, Any]:
    features, error = _features(entry)
    return {
        "port": discovery.GROUPS[entry.group],
        "name": entry.name,
        "target": entry.target,
        "distribution": entry.distribution,
        "version": entry.version,
        "features": features,
        "error": error,
    }


def _features(entry: Installed) -> tuple[dict[str, Any] | None, str | None]:
    """Features, and why it cannot be used. An adapter that needs a place in its URL has neither."""
    make = _MAKERS.get(entry.group)
    if make is None:
        return None, None
    try:
        made = make(entry.name)
        features = getattr(made, "features", None)
    except KernelError as error:
        foreign = isinstance(error.__cause__, ImportError)
        return None, str(error) if foreign else None
    except Exception:  # an adapter that knows its features only once it is open
        return None, None
    return (_plain(asdict(features)) if is_dataclass(features) and not isinstance(features, type) else None), None


def _plain(features: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: as a string, because null already means something in features."""
    return {key: "inf" if isinstance(value, float) and isinf(value) else value for key, value in features.items()}


def _words(features: dict[str, Any] | None) -> str | None:
    """Features in a few words: flags by name, quantities with their value, what is absent left out."""
    if features is None:
        return None
    shown = [key if value is True else f"{key}={value}" for key, value in features.items()
             if value is not False and value not in (0, 0.0)]  # fmt: skip
    return ", ".join(shown) or None
