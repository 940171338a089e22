"""Where the calls of one task go, from all that may say so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import asdict

from kernel.configuration.settings import Tasks
from kernel.errors import ConfigError
from kernel.routing import Broadcast, Queue, Route, Router

#: Options that name an exchange.
_EXCHANGE = frozenset({"exchange", "routing_key"})


class Destination(msgspec.Struct, frozen=True, repr_omit_defaults=True):
    """Where one call goes."""

    #: With an exchange, the one that is meant where only a queue will do.
    queue: str
    #: 0 to 9, 9 the most urgent.
    priority: int = 0
    #: "": straight to the queue.
    exchange: str = ""
    routing_key: str = ""

    @property
    def options(self) -> dict[str, str]:
        """The options of a call that goes there as well, at a priority of its own."""
        names = ("queue", "exchange", "routing_key")
        return {name: value for name in names if (value := getattr(self, name))}


class Address:
    """The call itself decides, then the task's own options, the routes, the queue that is declared, the configuration.

    A priority is also inherited from the task that makes the call, where the router says so: below the task's own
    options, above the routes. Who names a queue means that queue, whatever exchange is named further away.
    """

    __slots__ = ("_exchanged", "_fallback", "_name", "_options", "_path", "_router", "usual", "varies")

    def __init__(self, name: str, options: Mapping[str, Any], defaults: Tasks, router: Router) -> None:
        """`options` are the task's own. ConfigError for a queue that is not declared, where it has to be."""
        self._name = name
        self._options = options
        self._fallback = (defaults.queue, defaults.priority)
        #: The task's own options name an exchange or a key.
        self._exchanged = not _EXCHANGE.isdisjoint(options)
        self._router = router
        self._path = path = router.path(name)
        #: Every call has to be asked about.
        self.varies = bool(path.functions)
        #: Where a call without options goes, unless it `varies`.
        self.usual = self._destination(path.route, {}, None)

    def of(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any], inherited: int | None = None
    ) -> Destination:
        """The destination of one call with its options; `inherited`: the priority of the task that makes it.

        ConfigError for a queue that is not declared, for a route that is none, and for a key without an exchange."""
        route = self._path.choose(self._name, args, kwargs, options) if self.varies else self._path.route
        return self._destination(route, options, inherited)

    def _destination(self, route: Route, options: Mapping[str, Any], inherited: int | None) -> Destination:
        router, own = self._router, self._options
        default_queue, default_priority = self._fallback
        queue = options.get("queue") or own.get("queue") or route.queue or default_queue
        router.check(queue, self._name)
        declared = router.declared(queue)
        candidates = (
            options.get("priority"),
            own.get("priority"),
            inherited if router.inherit_priority else None,
            route.priority,
            declared.priority,
        )
        priority = next((one for one in candidates if one is not None), default_priority)
        named = self._exchanged or route.exchange or route.routing_key or declared.exchange
        if not named and _EXCHANGE.isdisjoint(options):
            return Destination(queue, priority)
        return Destination(queue, priority, *self._exchange(route, options, queue, declared))

    def _exchange(self, route: Route, options: Mapping[str, Any], queue: str, declared: Queue) -> tuple[str, str]:
        """Exchange and key: of the nearest that names an exchange or a queue; a key may be named nearer."""
        key = exchange = ""
        for layer in (options, self._options, asdict(route)):
            key = key or layer.get("routing_key", "")
            exchange = layer.get("exchange", "")
            if exchange or layer.get("queue"):
                break
        if not exchange:
            key = key or declared.routing_key
            exchange = declared.exchange
        if key and not exchange:
            raise ConfigError(f"{self._name}: routing_key={key!r} needs an exchange; a queue is named by queue=")
        if exchange and isinstance(self._router.queues.get(queue), Broadcast):
            raise ConfigError(
                f"{self._name}: the broadcast queue {queue!r} has no exchange: give the call another queue"
            )
        return exchange, key
