"""One AMQP connection that comes back: opened when it is needed, forgotten with its channels when it is lost."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from pika.adapters.select_connection import SelectConnection
from pika.channel import Channel

from kernel.errors import ConfigError, Unavailable
from kernel_rabbitmq.dialing import Dialer
from kernel_rabbitmq.faults import translate, translate_opening
from kernel_rabbitmq.loop import Loop
from kernel_rabbitmq.steps import Steps, Wait
from kernel_rabbitmq.url import Location

#: What pika says of a lost connection we raise, and kernel logs it once. Whoever wants it sets a level of his own.
_log = logging.getLogger("pika")
if _log.level == logging.NOTSET:
    _log.setLevel(logging.CRITICAL)


class Link:
    """A connection, or none at the moment. Only the I/O thread touches it."""

    def __init__(self, loop: Loop, dialer: Dialer, location: Location, name: str) -> None:
        self._loop = loop
        self._dialer = dialer
        self._location = location
        self._name = name
        self._connection: SelectConnection | None = None
        self._dialing: Wait | None = None
        self._waits: dict[Wait, Channel | None] = {}
        self._on_lost: list[Callable[[BaseException], None]] = []
        self._on_blocked: list[Callable[[BaseException], None]] = []
        self._closed = False
        #: Why the broker takes nothing from this connection; "" when it does.
        self.blocked = ""
        #: Of the broker, (3, 10) for 3.10.8.
        self.version: tuple[int, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._connection is not None and self._connection.is_open

    def when_lost(self, call: Callable[[BaseException], None]) -> None:
        """Call it with the reason each time a connection is lost."""
        self._on_lost.append(call)

    def when_blocked(self, call: Callable[[BaseException], None]) -> None:
        """Call it with the reason each time the broker stops to take messages."""
        self._on_blocked.append(call)

    def connected(self) -> Steps[SelectConnection]:
        """The connection, opened if there is none. Errors of opening are those of `Transport.open`."""
        while not self.is_open:
            if self._closed:
                raise Unavailable("RabbitMQ: closed")
            if self._dialing is not None:
                yield self._dialing
                continue
            self._dialing = dialing = Wait()
            try:
                yield from self._dial()
                dialing.done()
            except Exception as error:
                failure = translate_opening(error, self._location.at, self._location.user, self._location.vhost)
                if self.version and isinstance(failure, ConfigError):
                    failure = Unavailable(str(failure))  # it was right once: whoever runs the broker can mend it there
                dialing.fail(failure)
                raise failure from error
            finally:
                self._dialing = None
        assert self._connection is not None
        return self._connection

    def channel(self, closed: Callable[[BaseException], None] | None = None) -> Steps[Channel]:
        """A new channel; `closed` is told why it has ended, whatever the reason."""
        connection = yield from self.connected()
        opened = Wait()
        channel = connection.channel(on_open_callback=opened.done)

        def ended(_: Channel, reason: BaseException) -> None:
            for wait, of in list(self._waits.items()):
                if of is channel:
                    self._fail(wait, reason)
            if closed is not None:
                closed(reason)

        channel.add_on_close_callback(ended)
        yield from self.answered(opened, channel)
        return channel

    def rpc(self, channel: Channel, method: str, *arguments: Any, **options: Any) -> Steps[Any]:
        """Call a method of a channel that the broker answers; returns the answer."""
        wait = Wait()
        if not channel.is_open:
            raise Unavailable(f"{self._location.at}: the channel was closed")
        getattr(channel, method)(*arguments, callback=wait.done, **options)
        frame = yield from self.answered(wait, channel)
        return frame

    def answered(self, wait: Wait, channel: Channel | None) -> Steps[Any]:
        """Wait for an answer that a loss of the channel, or of the connection, makes an error."""
        self._waits[wait] = channel
        # A broker that is frozen keeps its connection open. A call that gets no answer ends it, so that what is held
        # goes to others, and the next call dials again.
        timer = self._loop.call_later(self._location.timeout, self._silent)
        try:
            yield wait
        except Exception as error:
            raise translate(error, self._location.at, "unknown") from error
        finally:
            self._waits.pop(wait, None)
            self._loop.remove_timeout(timer)
        return wait.value

    def drop(self, reason: BaseException) -> None:
        """Let go of the connection without a word to the broker; the next call opens another one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection._error = reason
            if not connection.is_closed:
                connection._adapter_disconnect_stream()
            self._lost(reason)

    def close(self) -> Steps[None]:
        """End the connection for good."""
        self._closed = True
        connection = self._connection
        if connection is not None and connection.is_open:
            gone = Wait()
            self.when_lost(gone.done)
            connection.close()
            yield gone

    def _dial(self) -> Steps[None]:
        connections: list[SelectConnection] = []

        def closed(error: BaseException) -> None:
            if not connections or self._connection is connections[0]:
                self._connection = None
                self._lost(error)

        connection = yield from self._dialer.dial(self._name, closed)
        connections.append(connection)
        if self._closed or not connection.is_open:
            connection.close()
            raise Unavailable("RabbitMQ: closed")
        self.blocked = ""
        connection.add_on_connection_blocked_callback(self._block)
        connection.add_on_connection_unblocked_callback(self._unblock)
        version = str(connection.server_properties.get("version", ""))
        self.version = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
        self._connection = connection

    def _lost(self, error: BaseException) -> None:
        self.blocked = ""
        for wait in list(self._waits):
            self._fail(wait, error)
        for call in list(self._on_lost):
            call(error)

    def _fail(self, wait: Wait, reason: BaseException) -> None:
        if self._waits.pop(wait, self) is not self:
            wait.fail(reason)

    def _silent(self) -> None:
        if not self.blocked:
            self.drop(Unavailable(f"{self._location.at}: no answer for {self._location.timeout:g} s", sent="unknown"))

    def _block(self, connection: object, frame: Any) -> None:
        self.blocked = str(frame.method.reason or "a resource alarm")
        reason = Unavailable(blocked(self.blocked), sent="unknown")
        for call in list(self._on_blocked):
            call(reason)

    def _unblock(self, connection: object, frame: Any) -> None:
        self.blocked = ""


def blocked(reason: str) -> str:
    """What to say of a broker that takes no messages."""
    return f"RabbitMQ blocks publishers ({reason}): free memory or disk space of the broker; it goes on by itself then"
