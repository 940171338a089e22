"""`kernel adapters`: what is installed."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from math import isinf
from typing import Any

import click

from kernel import discovery
from kernel.cli.context import json_option
from kernel.cli.output import print_json, print_table
from kernel.discovery import Installed
from kernel.errors import KernelError, MissingExtra

#: What constructs an adapter from a URL, by group. Nothing is opened.
_OPENERS: dict[str, Callable[[str], Any]] = {
    "kernel.transports": discovery.transport,
    "kernel.results": discovery.results,
    "kernel.coordination": discovery.coordination,
    "kernel.schedules": discovery.schedules,
    "kernel.seals": discovery.seal,
}
#: Ends of URLs that name a place: a host or a name, a path.
_PLACES = ("://place", ":///place")


@click.command()
@json_option
def adapters(as_json: bool) -> None:
    """List adapters, pools, serializers and plugins of all installed packages.

    Features are shown where the adapter tells them without a connection. One whose client library is missing is shown
    with the line that installs it.
    """
    rows = [_row(entry) for entry in discovery.installed()]
    if as_json:
        print_json(rows)
        return
    print_table(
        ("port", "name", "package", "features"),
        [(row["port"], row["name"], f"{row['distribution']} {row['version']}", row["error"] or _words(row["features"]))
         for row in rows],
    )  # fmt: skip


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
    """Features, and why it cannot be used. An adapter that needs more in its URL than a place has neither."""
    with warnings.catch_warnings():  # what a client library says about itself is not the answer to this question
        warnings.simplefilter("ignore")
        try:
            made = _made(entry)
            features = getattr(made, "features", None)
            if entry.group == "kernel.pools":
                made.stop(0.0)  # one that runs coroutines has a loop already
        except MissingExtra as error:
            return None, str(error)
        except Exception:  # foreign code; or an adapter that knows its features only once it is open
            return None, None
    return (_plain(asdict(features)) if is_dataclass(features) and not isinstance(features, type) else None), None


def _made(entry: Installed) -> Any:
    if entry.group == "kernel.pools":
        return discovery.pool(entry.name, 1)
    if entry.group == "kernel.serializers":
        return discovery.serializer(entry.name)
    if entry.group not in _OPENERS:
        return None
    construct = _OPENERS[entry.group]
    try:
        return construct(entry.name + _PLACES[0])
    except MissingExtra:
        raise
    except KernelError:
        return construct(entry.name + _PLACES[1])


def _plain(features: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: as a string, because null already means something in features."""
    return {key: "inf" if isinstance(value, float) and isinf(value) else value for key, value in features.items()}


def _words(features: dict[str, Any] | None) -> str | None:
    """Features in a few words: flags by name, quantities with their value; what is absent is left out."""
    if features is None:
        return None
    shown = [key if value is True else f"{key}={value}" for key, value in features.items()
             if value not in (False, 0)]  # fmt: skip
    return ", ".join(shown) or None
