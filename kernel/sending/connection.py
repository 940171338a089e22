"""The ports of one application: opened on first use, closed, opened again."""

from __future__ import annotations

import threading
from collections.abc import Callable

from kernel import discovery
from kernel.clock import Clock
from kernel.configuration.config import Config
from kernel.errors import ConfigError, Unavailable
from kernel.hooks import Hooks
from kernel.opened import Given, Opened
from kernel.ports import Transport
from kernel.sending.claims import Claims
from kernel.sending.errand import Errands
from kernel.sending.exchanges import Exchanges
from kernel.sending.outbox import Spool
from kernel.sending.sender import Sender

#: Ports that a parent opened. Kept, because letting go of them closes what the parent still uses.
_inherited: list[Opened] = []


class Connection:
    """`opened` is None before the first use, and after `close`."""

    def __init__(self, config: Callable[[], Config], clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self.given = Given()
        self.opened: Opened | None = None
        #: Whether calls may go to exchanges.
        self.exchanges = Exchanges(lambda: None if self.opened is None else self.opened.transport)
        #: How often it was closed.
        self._closings = 0
        # Not a native lock: under a green library the greenlet that opens the ports waits for the network meanwhile,
        # and the next one of its thread must not keep it from going on.
        self._lock = threading.Lock()

    def use(self, given: Given) -> None:
        """Take adapters as objects; ConfigError once something is open."""
        self.check_unused("call use()")
        self.given = given

    def check_unused(self, what: str) -> None:
        """ConfigError once something is open: it would go on as it was opened."""
        if self.opened is not None:
            raise ConfigError(f"the ports of this application are open already: {what} before the first task is sent")

    def open(self) -> Opened:
        """The adapters, opened where they are not."""
        return self.opened or self._open(self._closings)

    def finder(self) -> Callable[[], Transport]:
        """What finds the transport, and opens it unless the application is closed by then: whoever closes it does not
        wait for those who still try to open it for a send that was given up."""
        closings = self._closings
        return lambda: (self.opened or self._open(closings)).transport

    def _open(self, closings: int) -> Opened:
        with self._lock:
            if self.given.closed:
                raise ConfigError("the adapters that use() was given are closed: hand over new ones")
            opened = self.opened
            if opened is None and self._closings == closings:
                self.opened = opened = Opened(self._config(), self.given, self._clock)
        if opened is None or self._closings != closings:
            if opened is not None:
                opened.close()
            raise Unavailable("the application was closed meanwhile")
        return opened

    def leave(self) -> None:
        """From now on nothing new is opened for those who asked before."""
        self._closings += 1

    def close(self) -> None:
        """Close what is open. Adapters that were given stay closed."""
        opened, self.opened = self.opened, None
        self.given.closed = opened is not None and self.given.any()
        if opened is not None:
            opened.close()

    def forget_parent(self) -> None:
        """In a forked child: connections do not survive a fork, and a lock may be held by nobody."""
        if self.opened is not None:
            _inherited.append(self.opened)
        self.opened = None
        self._lock = threading.Lock()


def sender(connection: Connection, config: Config, hooks: Hooks, clock: Clock) -> Sender:
    """What sends through the transport, which it opens when there is something to send."""
    tasks = config.tasks
    if connection.given.transport is None:  # outside of any deadline, which is about services and not about imports
        discovery.import_transport(config.ports.transport)
    errands, find = Errands(), connection.finder()
    sender = Sender(find, hooks, tasks.send_timeout, errands, connection.exchanges)
    sender.once = tasks.send_once
    sender.claims = Claims(lambda: connection.open().coordination, errands, tasks.send_timeout)
    if tasks.outbox:
        sender.fallback = Spool(discovery.outbox(tasks.outbox), find, errands, tasks.send_timeout, clock)
    return sender
