"""From a host name to an open AMQP connection: a native, non-blocking socket, TLS where asked for, then pika."""

from __future__ import annotations

import errno
import os
import ssl
from collections.abc import Callable
from socket import IPPROTO_TCP, SO_ERROR, SOCK_STREAM, SOL_SOCKET, TCP_NODELAY
from typing import Any

import pika
from pika.adapters.select_connection import SelectConnection
from pika.adapters.utils.nbio_interface import AbstractStreamProtocol
from pika.adapters.utils.selector_ioloop_adapter import SelectorIOServicesAdapter

from kernel.errors import ConfigError, Unavailable
from kernel.native import original
from kernel_rabbitmq.loop import Loop
from kernel_rabbitmq.steps import Steps, Wait
from kernel_rabbitmq.url import Location


class Stream(AbstractStreamProtocol):  # type: ignore[misc]
    """Joins a connection of pika to a stream that we have connected ourselves.

    pika's own way makes its sockets from the `socket` module, which gevent and eventlet replace: a green socket in a
    native thread drags a hub along. These four are the methods that pika's own workflow uses (since 1.0).
    """

    def __init__(self, connection: SelectConnection) -> None:
        self._connection = connection

    def connection_made(self, transport: Any) -> None:
        """The stream is there."""
        self._connection._proto_connection_made(transport)

    def connection_lost(self, error: BaseException | None) -> None:
        """The stream has ended."""
        self._connection._proto_connection_lost(error)

    def eof_received(self) -> bool:
        """The broker has closed its side."""
        return bool(self._connection._proto_eof_received())

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        self._connection._proto_data_received(data)


def tls_context(location: Location) -> ssl.SSLContext | None:
    """The TLS settings of a location; `ConfigError` for a file that cannot be used."""
    if not location.tls:
        return None
    context: ssl.SSLContext = original("ssl", "SSLContext")(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if location.cafile:
            context.load_verify_locations(location.cafile)
        else:
            context.load_default_certs()
        if location.certfile:
            context.load_cert_chain(location.certfile, location.keyfile or None)
    except OSError as error:  # also what ssl raises
        names = ", ".join(filter(None, (location.cafile, location.certfile, location.keyfile)))
        raise ConfigError(f"{location.at}: the TLS files {names} cannot be used: {error}") from error
    if not location.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class Dialer:
    """Opens connections of one location, in the I/O thread."""

    def __init__(self, loop: Loop, location: Location) -> None:
        self._loop = loop
        self._location = location
        self._services = SelectorIOServicesAdapter(loop)
        self._tls = tls_context(location)
        self._first = 0

    def dial(self, name: str, closed: Callable[[BaseException], None]) -> Steps[SelectConnection]:
        """Connect to the first host that answers; raises the error of the last one. `closed` is told of a later loss.

        The next dial begins with the host that answered: in a cluster the nodes before it are probably still away.
        """
        error: BaseException = Unavailable("no host")
        hosts = self._location.hosts
        for turn in range(len(hosts)):
            at = (self._first + turn) % len(hosts)
            try:
                connection = yield from self._open(hosts[at], name, closed)
            except Exception as failure:
                error = failure
            else:
                self._first = at
                return connection
        raise error

    def _open(
        self, host: tuple[str, int], name: str, closed: Callable[[BaseException], None]
    ) -> Steps[SelectConnection]:
        socket = yield from self._socket(host)
        opened = Wait()
        connection = SelectConnection(
            self._parameters(host, name),
            on_open_callback=opened.done,
            on_open_error_callback=lambda _, error: opened.fail(_error(error)),
            on_close_callback=lambda _, error: closed(_error(error)),
            custom_ioloop=self._services,
            internal_connection_workflow=False,
        )
        streamed = Wait()
        timer = self._loop.call_later(self._location.timeout, lambda: opened.fail(_late(host)))
        # A handshake of TLS that fails is told by `streamed` alone, everything after it by `opened`.
        handle = self._services.create_streaming_connection(
            lambda: Stream(connection),
            socket,
            lambda result: opened.fail(result) if isinstance(result, BaseException) else streamed.done(),
            ssl_context=self._tls,
            server_hostname=host[0] if self._tls else None,
        )
        try:
            yield opened
        except BaseException:
            if not streamed.is_done:
                handle.cancel()
            elif not connection.is_closed:
                connection._adapter_disconnect_stream()  # without the ceremony of a close that nobody may answer
            raise
        finally:
            self._loop.remove_timeout(timer)
        return connection

    def _socket(self, host: tuple[str, int]) -> Steps[Any]:
        """A connected, non-blocking socket, by the first address of the host that answers."""
        # The resolver blocks the thread; it has time limits of its own.
        found = original("socket", "getaddrinfo")(*host, type=SOCK_STREAM)
        error: OSError = OSError(f"no address of {host[0]}")
        for family, kind, protocol, _, address in found:
            socket = original("socket", "socket")(family, kind, protocol)
            socket.setblocking(False)
            self._loop.own(socket)  # who dials or waits for a frozen broker when the adapter is closed closes nothing
            try:
                number = socket.connect_ex(address)
                if number == errno.EINPROGRESS:
                    yield from self._writable(socket, host)
                    number = socket.getsockopt(SOL_SOCKET, SO_ERROR)
                if number:
                    raise OSError(number, f"{os.strerror(number)} ({host[0]}:{host[1]})")
            except OSError as failure:
                socket.close()
                error = failure
            except BaseException:
                socket.close()
                raise
            else:
                socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
                return socket
        raise error

    def _writable(self, socket: Any, host: tuple[str, int]) -> Steps[None]:
        wait = Wait()
        descriptor = socket.fileno()
        timer = self._loop.call_later(self._location.timeout, lambda: wait.fail(_late(host)))
        self._loop.add_handler(descriptor, lambda _, mask: wait.done(), self._loop.WRITE | self._loop.ERROR)
        try:
            yield wait
        finally:
            self._loop.remove_handler(descriptor)
            self._loop.remove_timeout(timer)

    def _parameters(self, host: tuple[str, int], name: str) -> pika.ConnectionParameters:
        location = self._location
        return pika.ConnectionParameters(
            host=host[0],
            port=host[1],
            virtual_host=location.vhost,
            credentials=pika.PlainCredentials(location.user, location.password, erase_on_connect=False),
            heartbeat=location.heartbeat,
            client_properties={"connection_name": name},
        )


def _late(host: tuple[str, int]) -> OSError:
    return TimeoutError(f"no answer from {host[0]}:{host[1]} in time")


def _error(error: object) -> BaseException:
    return error if isinstance(error, BaseException) else Unavailable(str(error))
