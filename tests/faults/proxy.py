"""A proxy in front of a server, and the faults of a network: in one thread, on and off at run time, healed at the end.

A connection is two lines, up to the server and down from it. What a fault does to a line is looked up with each turn of
the loop, so that a fault meets connections that are there and those that are made while it lasts.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from collections import deque
from dataclasses import dataclass, field

#: Bytes that one line keeps at most before it stops reading, and that it reads at a time.
MOST, CHUNK = 1 << 20, 1 << 16
#: Longest wait for the server to take a connection, in seconds.
CONNECT_FOR = 1.0
_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """What happens to bytes now."""

    #: Taken and thrown away, without a word to either side: a half open connection.
    lose_up: bool = False
    lose_down: bool = False
    #: Neither read nor written: all of it goes on when this is over.
    hold_up: bool = False
    hold_down: bool = False
    #: Seconds by which every piece is late.
    latency: float = 0.0
    #: Bytes per second of one line; 0.0: as many as there are.
    rate: float = 0.0
    #: New connections are reset.
    refuse: bool = False


CLEAR = Weather()


@dataclass(eq=False, slots=True)
class Line:
    """One direction of a connection."""

    source: socket.socket
    sink: socket.socket
    up: bool
    waiting: deque[tuple[float, bytes]] = field(default_factory=deque)
    size: int = 0
    #: When all that it was given is through, where there is a rate.
    free_at: float = 0.0
    #: The source has no more.
    ended: bool = False

    def held(self, weather: Weather) -> bool:
        """Whether it stands still."""
        return weather.hold_up if self.up else weather.hold_down

    def loses(self, weather: Weather) -> bool:
        """Whether what it carries is thrown away."""
        return weather.lose_up if self.up else weather.lose_down

    def take(self, data: bytes, weather: Weather, now: float) -> None:
        """Keep what has been read until it is due."""
        self.free_at = max(now, self.free_at) + (len(data) / weather.rate if weather.rate else 0.0)
        due = self.free_at + weather.latency
        self.waiting.append((due, data))
        self.size += len(data)


@dataclass(eq=False, slots=True)
class Pair:
    """A connection: the side of the client, the side of the server, and a line each way."""

    client: socket.socket
    server: socket.socket
    lines: tuple[Line, Line]
    #: Bytes of it are gone, so that it can never go on.
    broken: bool = False
    #: The next reply ends it: the server has done what it was asked for, and nobody hears of it.
    doomed: bool = False


class Proxy:
    """Carries bytes between clients and the server at `target`; faults are methods, and `heal` ends those that last."""

    def __init__(self, target: tuple[str, int]) -> None:
        """Listening, on a port of the loopback interface, until `close`."""
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._weather = CLEAR
        self._pairs: list[Pair] = []
        self._orders: deque[str] = deque()
        self._reader, self._writer = socket.socketpair()
        #: Connections that were ended by a fault.
        self.ended = 0
        self._thread = threading.Thread(target=self._serve, name=f"proxy-{self.port}", daemon=True)
        self._thread.start()

    # -- faults ----------------------------------------------------------------------------------------------------

    def set(self, weather: Weather) -> None:
        """Let this be from now on what happens to bytes."""
        self._weather = weather
        self._order("look")

    def heal(self) -> None:
        """All is well again. Connections that have lost bytes are reset, as they would be when packets come again."""
        self._weather = CLEAR
        self._order("heal")

    def reset(self) -> None:
        """End every connection at once, with a reset."""
        self._order("reset")

    def cut_replies(self) -> None:
        """Swallow the next reply on each connection that is there, and reset it: what was done is not heard of."""
        self._order("doom")

    @property
    def connections(self) -> int:
        """How many there are."""
        return len(self._pairs)

    def close(self) -> None:
        """End all. Idempotent."""
        self._order("close")
        self._thread.join(5.0)

    def _order(self, order: str) -> None:
        self._orders.append(order)
        try:
            self._writer.send(b"!")
        except OSError:
            pass  # closed already

    # -- the loop --------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            while self._obey():
                self._turn()
        finally:
            for pair in list(self._pairs):
                self._end(pair)
            for end in (self._listener, self._reader, self._writer):
                end.close()

    def _obey(self) -> bool:
        while self._orders:
            order = self._orders.popleft()
            if order == "close":
                return False
            for pair in list(self._pairs):
                if order == "doom":
                    pair.doomed = True
                elif order == "reset" or (order == "heal" and pair.broken):
                    self.ended += 1
                    self._end(pair)
        return True

    def _turn(self) -> None:
        """Wait until something can be carried, and carry it."""
        weather, now = self._weather, time.monotonic()
        soonest = now + 1.0
        readers: dict[socket.socket, tuple[Pair, Line] | None] = {self._reader: None, self._listener: None}
        writers: dict[socket.socket, tuple[Pair, Line]] = {}
        for pair in self._pairs:
            for line in pair.lines:
                if line.held(weather):
                    continue
                if not line.ended and line.size < MOST:
                    readers[line.source] = (pair, line)
                if line.waiting and line.waiting[0][0] <= now:
                    writers[line.sink] = (pair, line)
                elif line.waiting:
                    soonest = min(soonest, line.waiting[0][0])
        readable, writable, _ = select.select(readers, writers, [], max(0.0, soonest - now))
        if self._orders or self._weather is not weather:
            self._drain(readable)
            return  # what was asked for before these bytes came holds for them
        for end in writable:
            self._write(*writers[end])
        for end in readable:
            found = readers[end]
            if found is not None:
                self._read(*found, weather)
            elif end is self._listener:
                self._accept(weather)
        self._drain(readable)

    def _drain(self, readable: list[socket.socket]) -> None:
        if self._reader in readable:
            self._reader.recv(CHUNK)

    def _accept(self, weather: Weather) -> None:
        client, _ = self._listener.accept()
        if weather.refuse:
            _abort(client)
            return
        try:
            server = socket.create_connection(self._target, CONNECT_FOR)
        except OSError:
            _abort(client)
            return
        for end in (client, server):
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._pairs.append(Pair(client, server, (Line(client, server, True), Line(server, client, False))))

    def _read(self, pair: Pair, line: Line, weather: Weather) -> None:
        if pair not in self._pairs:
            return
        try:
            data = line.source.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            self._end(pair)
            return
        if not data:
            line.ended = True
            self._finish(pair, line)
        elif pair.doomed and not line.up:
            self.ended += 1
            self._end(pair)
        elif pair.broken or line.loses(weather):
            # Once bytes of it are gone the rest would be noise to who receives it.
            pair.broken = True
        else:
            line.take(data, weather, time.monotonic())

    def _write(self, pair: Pair, line: Line) -> None:
        if pair not in self._pairs:
            return
        due, data = line.waiting.popleft()
        try:
            sent = line.sink.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._end(pair)
            return
        line.size -= sent
        if sent < len(data):
            line.waiting.appendleft((due, data[sent:]))
        self._finish(pair, line)

    def _finish(self, pair: Pair, line: Line) -> None:
        """Hand on the end of one side when all before it has been carried; let go when both have ended."""
        if line.ended and not line.waiting:
            try:
                line.sink.shutdown(socket.SHUT_WR)
            except OSError:
                pass
        if all(each.ended and not each.waiting for each in pair.lines):
            self._end(pair)

    def _end(self, pair: Pair) -> None:
        if pair in self._pairs:
            self._pairs.remove(pair)
        whole = all(line.ended and not line.waiting for line in pair.lines)
        for end in (pair.client, pair.server):
            end.close() if whole else _abort(end)


def _abort(end: socket.socket) -> None:
    """Close with a reset in place of a good-bye."""
    try:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    except OSError:
        pass
    end.close()
