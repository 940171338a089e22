"""The adapters of one application in one process, opened and completed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from kernel import discovery
from kernel.clock import Clock
from kernel.config import Config
from kernel.emulate.broadcast import Broadcasting
from kernel.emulate.complete import Completed, complete
from kernel.errors import ConfigError
from kernel.ports import Coordination, ResultStore, ScheduleStore, Transport
from kernel.routing import Broadcast
from kernel.sealing.results import sealed_results
from kernel.sealing.sealing import Sealing
from kernel.sealing.transport import SealedTransport

#: An adapter URL that means: none.
NONE = "none"


class Openable(Protocol):
    """What all adapters have in common."""

    def open(self) -> None:
        """Connect."""

    def close(self) -> None:
        """Let go."""


A = TypeVar("A", bound=Openable)


class Given:
    """Adapters that were handed over as objects rather than as URLs."""

    __slots__ = ("closed", "coordination", "results", "schedules", "transport")

    def __init__(
        self,
        transport: Transport | None = None,
        results: ResultStore | None = None,
        coordination: Coordination | None = None,
        schedules: ScheduleStore | None = None,
    ) -> None:
        self.transport = transport
        self.results = results
        self.coordination = coordination
        self.schedules = schedules
        #: They were closed with the application, and a closed adapter stays closed.
        self.closed = False

    def any(self) -> bool:
        """Whether there is one."""
        return any((self.transport, self.results, self.coordination, self.schedules))


class Opened:
    """The opened ports. `transport` is completed: what its adapter lacks is emulated where that is possible. Where a
    seal is configured, `transport` and `results` seal and open; where none is, nothing of it is in the way."""

    def __init__(self, config: Config, given: Given, clock: Clock) -> None:
        """Open all of them; those opened so far are closed again when one fails."""
        self._open: list[Openable] = []
        #: The transport has no URL to take the other ports from.
        self._by_object = given.transport is not None
        ports = config.ports
        #: What seals and opens, None where nothing does. First: a missing key is told before anything is opened.
        self.sealing = _sealing(config, clock)
        try:
            adapter = self._opened(given.transport or discovery.transport(_leased(ports.transport, config)))
            self.results = self._optional(given.results, discovery.results, ports.results, ports.transport)
            beside = ports.transport
            if ports.results and not discovery.offers(discovery.coordination, beside):
                beside = ports.results  # a broker beside a store that can coordinate, which most of them can
            self.coordination = self._optional(given.coordination, discovery.coordination, ports.coordination, beside)
            self.schedules = self._optional(given.schedules, discovery.schedules, ports.schedules, ports.transport)
            self.completed: Completed = complete(adapter, self.schedules, self.coordination, clock)
            self.transport: Transport = self.completed.transport
            if self.sealing is not None:
                self.transport = SealedTransport(self.transport, self.sealing, ports.replay_window, clock)
                self.results = self.results and sealed_results(self.results, self.sealing)
            names = [queue.name for queue in config.routing.declared_queues if isinstance(queue, Broadcast)]
            if names:
                # Outermost: what is published is sealed as well.
                broadcasting = Broadcasting(self.transport, names, clock)
                self.transport = self._opened(broadcasting)
        except BaseException:
            self.close()
            raise

    def _opened(self, adapter: A) -> A:
        adapter.open()
        self._open.append(adapter)
        return adapter

    def _optional(self, given: A | None, find: Callable[[str], A], url: str, transport: str) -> A | None:
        """The adapter of a port that an application can do without; "" takes the transport's scheme if it has it."""
        if given is not None:
            return self._opened(given)
        if url == NONE or (not url and (self._by_object or not discovery.offers(find, transport))):
            return None
        return self._opened(find(url or transport))

    def close(self) -> None:
        """Close in the opposite order. Idempotent."""
        while self._open:
            self._open.pop().close()


def _sealing(config: Config, clock: Clock) -> Sealing | None:
    """The configured seal; `ConfigError` for settings that mean something only with one."""
    ports = config.ports
    if ports.seal:
        return Sealing(discovery.seal(ports.seal), ports.unsealed, clock)
    if ports.replay_window:
        raise ConfigError("replay_window needs a seal: without one anybody can write any time into a message")
    return None


def _leased(url: str, config: Config) -> str:
    """The transport's URL with the configured lease, where somebody configured one and the URL does not say it.

    The lease is an option of the adapter: most services want to know it when a message is received, and some, which
    hold a message as long as its connection lives, have none and refuse the option.
    """
    if "lease" not in config.sources or "lease=" in url.partition("?")[2]:
        return url
    return f"{url}{'&' if '?' in url else '?'}lease={config.worker.lease:g}"
