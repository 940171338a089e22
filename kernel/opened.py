"""The adapters of one application in one process, opened and completed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from kernel import discovery
from kernel.clock import Clock
from kernel.configuration.config import Config
from kernel.emulate.broadcast import Broadcasting
from kernel.emulate.complete import Completed, complete
from kernel.errors import ConfigError, Unavailable
from kernel.ports import Claim, Coordination, CoordinationFeatures, ResultStore, ScheduleStore, Transport
from kernel.routing import Broadcast
from kernel.sealing.results import sealed_results
from kernel.sealing.sealing import Sealing
from kernel.sealing.transport import SealedTransport

#: An adapter URL that means: none.
NONE = "none"
#: Claims, which take the place of native keys elsewhere, do not help: one is given up when its send has failed.
ONCE = (
    "send_once needs a transport that drops repeated messages by itself (Redis, FIFO queues of SQS): this one does not"
)


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


class Later(Generic[A]):
    """A port that is opened when it is first asked for: a send needs no result store, and one that is away must not
    hold it up. `adapter` is None where there is none."""

    __slots__ = ("_adapter", "_lock", "_made", "_open")

    def __init__(self, adapter: A | None, opened: Callable[[A], A]) -> None:
        """`opened` opens it, and may return something around it."""
        self._adapter = adapter
        self._made: A | None = None
        self._open = opened
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        return self._adapter is not None

    def get(self) -> A | None:
        """It, open; errors as of its `open`."""
        if self._made is None and self._adapter is not None:
            with self._lock:
                if self._made is None:
                    self._made = self._open(self._adapter)
        return self._made


class Sets:
    """The claims of a coordination service that is opened for the first of them."""

    def __init__(self, service: Later[Coordination]) -> None:
        self._service = service

    def _opened(self) -> Coordination:
        service = self._service.get()
        assert service is not None
        return service

    @property
    def features(self) -> CoordinationFeatures:
        """As of the service."""
        return self._opened().features

    def claim(self, items: Sequence[Claim]) -> list[str]:
        """As of the service."""
        return self._opened().claim(items)

    def drop(self, items: Sequence[tuple[str, str]]) -> None:
        """As of the service."""
        self._opened().drop(items)


class Opened:
    """The opened ports. `transport` is completed: what its adapter lacks is emulated where that is possible. Where a
    seal is configured, `transport` and `results` seal and open; where none is, nothing of it is in the way.

    The others are opened when they are first asked for. `all` opens them, for who will need them later: a worker.
    """

    def __init__(self, config: Config, given: Given, clock: Clock) -> None:
        """Open the transport; what was opened so far is closed again when something fails."""
        self._open: list[Openable] = []
        self._closed = False
        #: The transport has no URL to take the other ports from.
        self._by_object = given.transport is not None
        ports = config.ports
        #: What seals and opens, None where nothing does. First: a missing key is told before anything is opened.
        self.sealing = _sealing(config, clock)
        try:
            adapter = self._opened(given.transport or discovery.transport(_leased(ports.transport, config)))
            if config.tasks.send_once and not adapter.features.dedup:
                raise ConfigError(ONCE)
            store = self._optional(given.results, discovery.results, ports.results, ports.transport)
            self._results = Later(store, self._stored)
            beside = ports.transport
            if ports.results and not discovery.offers(discovery.coordination, beside):
                beside = ports.results  # a broker beside a store that can coordinate, which most of them can
            service = self._optional(given.coordination, discovery.coordination, ports.coordination, beside)
            self._coordination = Later(service, self._opened)
            parking = self._optional(given.schedules, discovery.schedules, ports.schedules, ports.transport)
            self._schedules = Later(parking, self._opened)
            # A store of delayed messages is a part of the transport where that has no delays of its own.
            parked = self.schedules if adapter.features.delay == 0.0 else None
            sets = Sets(self._coordination) if self._coordination else None
            self.completed: Completed = complete(adapter, parked, sets, clock)
            self.transport: Transport = self.completed.transport
            if self.sealing is not None:
                self.transport = SealedTransport(self.transport, self.sealing, ports.replay_window, clock)
            names = [queue.name for queue in config.routing.declared_queues if isinstance(queue, Broadcast)]
            if names:
                # Outermost: what is published is sealed as well.
                broadcasting = Broadcasting(self.transport, names, clock)
                self.transport = self._opened(broadcasting)
        except BaseException:
            self.close()
            raise

    @property
    def results(self) -> ResultStore | None:
        """The result store, None where there is none."""
        return self._results.get()

    @property
    def coordination(self) -> Coordination | None:
        """The coordination service."""
        return self._coordination.get()

    @property
    def schedules(self) -> ScheduleStore | None:
        """The schedule store."""
        return self._schedules.get()

    def all(self) -> Opened:
        """Itself, with every port open."""
        for port in (self._results, self._coordination, self._schedules):
            port.get()
        return self

    def _stored(self, store: ResultStore) -> ResultStore:
        opened = self._opened(store)
        return opened if self.sealing is None else sealed_results(opened, self.sealing)

    def _opened(self, adapter: A) -> A:
        adapter.open()
        self._open.append(adapter)
        if self._closed:
            self.close()
            raise Unavailable("the application was closed meanwhile")
        return adapter

    def _optional(self, given: A | None, find: Callable[[str], A], url: str, transport: str) -> A | None:
        """The adapter of a port that an application can do without; "" takes the transport's scheme if it has it."""
        if given is not None:
            return given
        if url == NONE or (not url and (self._by_object or not discovery.offers(find, transport))):
            return None
        return find(url or transport)

    def close(self) -> None:
        """Close in the opposite order. Idempotent."""
        self._closed = True
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
