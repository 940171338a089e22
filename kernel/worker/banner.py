"""What a worker says about itself when it starts."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from math import inf
from textwrap import fill
from typing import Protocol

from kernel.app import Kernel
from kernel.configuration import settings as concerns
from kernel.configuration.config import Config
from kernel.masking import mask_url
from kernel.opened import NONE, Opened
from kernel.ports import Features, Pool

#: Names of tasks that are shown.
SHOWN = 20
#: Longest line, in characters, where a word is not longer.
WIDTH = 100


class Booted(Protocol):
    """What the banner reads of a worker."""

    settings: concerns.Worker
    pool: Pool
    ports: Opened


def banner(app: Kernel, worker: Booted) -> str:
    """Several lines of plain text: where from, what and how this worker runs. Secrets in URLs are masked."""
    rows = list(_rows(app, worker))
    width = max(len(name) for name, _ in rows)
    indent = " " * (width + 4)
    title = f"kernel {_version()}, application {app.name}, on {platform.node()}, process {os.getpid()}"
    lines = [fill(f"  {name:<{width}}  {text}", WIDTH, subsequent_indent=indent, break_on_hyphens=False,
                  break_long_words=False, replace_whitespace=False) for name, text in rows]  # fmt: skip
    return "\n".join([title, *lines])


def _version() -> str:
    try:
        return version("kernelq")
    except PackageNotFoundError:  # run from a source tree
        return "(not installed)"


def _rows(app: Kernel, worker: Booted) -> Iterator[tuple[str, str]]:
    settings, opened = worker.settings, worker.ports
    urls = app.config.ports
    yield "transport", mask_url(urls.transport)
    yield "", ", ".join(in_words(opened.transport.features))
    for line in opened.completed.emulated:
        yield "emulated", line
    for line in opened.completed.refused:
        yield "refused", line
    if opened.sealing is not None:
        yield "seal", opened.sealing.in_words
    yield "results", _place(urls.results, urls.transport) if opened.results is not None else "none"
    queues = [item for item in settings.queues if (item.rpartition(":")[0] or item) not in settings.exclude_queues]
    order = "strict order" if settings.strict else "fair turns"
    yield "queues", ", ".join(queues) + (f" ({order})" if len(queues) > 1 else "")
    yield "pool", f"{settings.pool}, {_count(worker.pool.slots, 'task')} at a time in {_processes(app.config)}"
    yield "tasks", _names(sorted(app.tasks))


def _place(url: str, transport: str) -> str:
    return mask_url(url if url and url != NONE else transport)


def in_words(features: Features) -> Iterator[str]:
    """The abilities of a transport as short phrases."""
    yield _SURVIVES[features.survives]
    yield "held while connected" if features.lease is None else f"lease {features.lease:g} s"
    if features.delay:
        yield "any delay" if features.delay == inf else f"delay up to {features.delay:g} s"
    if features.priorities:
        yield f"{features.priorities} priorities"
    if features.expiry:
        yield "expiry"
    if features.dedup:
        yield f"dedup {features.dedup:g} s"
    for name, present in (
        ("order", features.ordered),
        ("broadcast", features.broadcast),
        ("atomic settling", features.commit),
        ("exact delivery counts", features.counts),
        ("inspection", features.inspect),
        ("peeking", features.peek),
    ):
        if present:
            yield name


_SURVIVES = {
    "process": "lost with its process",
    "service": "survives a kill of the service",
    "power": "survives a loss of power",
}


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _processes(settings: Config) -> str:
    number = settings.worker.processes
    return "1 process" if number == 1 else f"each of {number} processes"


def _names(names: list[str]) -> str:
    if not names:
        return "none: the application declares no task"
    more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)}: {', '.join(names[:SHOWN])}{more}"
