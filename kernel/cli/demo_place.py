"""Where `kernel demo` keeps its messages and results: a file of its own, or a queue of its own on somebody's server."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import click

from kernel import discovery
from kernel.app import Kernel
from kernel.cli.output import UNAVAILABLE, USAGE, Fault
from kernel.envelope import dead_queue
from kernel.errors import ConfigError, KernelError
from kernel.ids import new_id
from kernel.masking import mask_url
from kernel.ports import Inspects

#: Seconds for which a message is hidden. Short, so that what a killed process had in hand is soon run by another.
LEASE = 2.0
#: Seconds after which results vanish from a shared store by themselves, should the demo have no chance to delete them.
KEEP_FOR = 3600.0
#: Longest wait for messages whose results are there and that are not acknowledged, in seconds.
DRAIN_FOR = 5 * LEASE
#: Seconds for which the demo itself tries again while a service is away.
PATIENCE = 60.0


class Place:
    """URLs, and the name of a queue that nobody else uses."""

    def __init__(self, folder: Path, transport: str = "") -> None:
        """`transport` "": a database file in `folder`. ConfigError for a URL that is none."""
        database = f"sqlite:////{(folder / 'demo.db').as_posix().lstrip('/')}"
        self.shared = bool(transport)
        self.transport = _leased(transport or database)
        offers = not transport or discovery.offers(discovery.results, transport)
        self.results = (transport or database) if offers else database
        self.queue = f"kernel-demo-{new_id()[-12:]}"

    @property
    def settings(self) -> dict[str, str]:
        """For the environment of the worker."""
        return {
            "KERNEL_TRANSPORT": self.transport,
            "KERNEL_RESULTS": self.results,
            "KERNEL_QUEUES": self.queue,
            "KERNEL_RESULT_EXPIRES": f"{KEEP_FOR:g}",
            "KERNEL_CONFIG": "none",
        }

    def application(self) -> Kernel:
        """The demo's own side, with its ports open; a `Fault` when nothing is there, or no other process reaches it."""
        app = Kernel(
            "kernel-demo", transport=self.transport, results=self.results, queue=self.queue, send_timeout=PATIENCE
        )
        name = mask_url(self.transport)
        if self.transport.startswith("memory:"):  # no feature tells: a Redis without persistence survives as little
            raise Fault(f"{name} lives in one process, and the worker is another one", USAGE)
        try:
            app.ports.transport.declare([self.queue])
        except ConfigError as error:
            raise Fault(str(error), USAGE) from error
        except KernelError as error:
            raise Fault(f"{name}: {error}", UNAVAILABLE) from error
        return app

    def drain(self, app: Kernel) -> None:
        """Wait while a worker still settles messages: what a killed process had in hand comes back after its lease."""
        transport = app.ports.transport
        if not (self.shared and transport.features.inspect and isinstance(transport, Inspects)):
            return
        deadline = time.monotonic() + DRAIN_FOR
        while time.monotonic() < deadline:
            size = transport.sizes([self.queue])[0]
            if not (size.ready or size.in_flight):
                return
            time.sleep(0.05)

    def clean(self, app: Kernel, ids: Sequence[str]) -> None:
        """Leave nothing behind on a server: what waits is dropped, results are deleted."""
        if not self.shared:
            return
        transport = app.ports.transport
        try:
            if transport.features.inspect and isinstance(transport, Inspects):
                for queue in (self.queue, dead_queue(self.queue)):
                    transport.purge(queue)
            app.results.forget(list(ids))
        except KernelError as error:
            click.echo(f"warning: queue {self.queue} could not be cleaned up: {error}", err=True)


def _leased(url: str) -> str:
    """The URL with a short lease, where its adapter has leases to choose: one that has not refuses the option."""
    if "lease=" in url:
        return url
    leased = f"{url}{'&' if '?' in url else '?'}lease={LEASE:g}"
    try:
        discovery.transport(leased)
    except ConfigError:
        return url
    return leased
