"""Where the calls of one task go, from all that may say so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from kernel.routing import Router
from kernel.settings import Tasks


class Destination(msgspec.Struct, frozen=True):
    """Where one call goes."""

    queue: str
    #: 0 to 9, 9 the most urgent.
    priority: int = 0


class Address:
    """The call itself decides, then the task's own options, the routes, the queue that is declared, the configuration.

    A priority is also inherited from the task that makes the call, where the router says so: below the task's own
    options, above the routes.
    """

    __slots__ = ("_fallback", "_name", "_options", "_path", "_router", "usual", "varies")

    def __init__(self, name: str, options: Mapping[str, Any], defaults: Tasks, router: Router) -> None:
        """`options` are the task's own. ConfigError for a queue that is not declared, where it has to be."""
        self._name = name
        self._options = options
        self._fallback = (defaults.queue, defaults.priority)
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

        ConfigError for a queue that is not declared, and for a route that is none."""
        route = self._path.choose(self._name, args, kwargs, options) if self.varies else self._path.route
        return self._destination(route, options, inherited)

    def _destination(self, route: Any, options: Mapping[str, Any], inherited: int | None) -> Destination:
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
        return Destination(queue, priority)
