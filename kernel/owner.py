"""What a task needs of the application that it belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import tzinfo
from typing import Any, Protocol

from kernel.call import CallSheet
from kernel.clock import Clock
from kernel.configuration.config import Config
from kernel.opened import Opened
from kernel.options import CallOptions
from kernel.ports import Outgoing
from kernel.results.result import AsyncResult


class Application(Protocol):
    """What a task needs of its application."""

    def send(
        self, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any], options: CallOptions | None
    ) -> AsyncResult[Any]:
        """Send one call."""

    def apply(self, message: tuple[str, Outgoing], throw: bool) -> AsyncResult[Any]:
        """Run a call that is ready to be sent here and now."""

    async def asend(
        self, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any], options: CallOptions | None
    ) -> AsyncResult[Any]:
        """Send one call from a coroutine."""

    @property
    def config(self) -> Config:
        """Its configuration."""

    @property
    def ports(self) -> Opened:
        """Its adapters."""

    @property
    def clock(self) -> Clock:
        """Its clock."""

    def sheet(self, name: str, task: Any = None) -> CallSheet:
        """How calls of the task of this name become messages."""

    @property
    def zone(self) -> tzinfo | None:
        """The zone in which a datetime without one is read; None: it is refused."""

    def within(self, transaction: object) -> AbstractContextManager[object]:
        """What is sent in this context becomes part of a transaction of a database."""
