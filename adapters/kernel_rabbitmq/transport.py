"""The Transport port on RabbitMQ, with broadcast and wake. The work is done by one I/O thread, this is its counter."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from time import time as _now
from typing import TypeVar

from kernel.errors import Rejected, Unavailable
from kernel.native import monotonic
from kernel.ports import Delivery, Features, Inbox, Outgoing, QueueSize
from kernel_rabbitmq import delays, inspection
from kernel_rabbitmq.broadcast import Channels
from kernel_rabbitmq.dialing import Dialer
from kernel_rabbitmq.engine import Call, Engine
from kernel_rabbitmq.intake import Intake
from kernel_rabbitmq.link import Link
from kernel_rabbitmq.publisher import Publisher
from kernel_rabbitmq.steps import Steps
from kernel_rabbitmq.topology import Topology
from kernel_rabbitmq.url import Location, parse

T = TypeVar("T")

#: Most messages in one call.
MAX_BATCH = 1000
#: Largest payload in bytes: what a broker takes by default since 3.8 (`max_message_size`, 128 MiB until 4.0) and after
#: (16 MiB).
MAX_PAYLOAD = 16 * 1024 * 1024
#: Seconds that a call waits beyond `timeout`, so that the I/O thread is the first to say what is wrong.
GRACE = 0.4
#: Seconds that `receive` may take beyond its own timeout.
OVERRUN = 0.08
#: First version whose quorum queues do not count what is given back.
UNCOUNTED = (4, 3)


class _Running:
    """What an open transport consists of."""

    def __init__(self, location: Location) -> None:
        self.engine = Engine()
        loop = self.engine.loop
        try:
            dialer = Dialer(loop, location)
        except BaseException:
            loop.call(loop.stop)
            raise
        self.link = Link(loop, dialer, location, "kernel")
        self.outward = Link(loop, dialer, location, "kernel publisher")
        self.topology = Topology(self.link, location)
        self.publisher = Publisher(self.outward, self.topology, location)
        self.intake = Intake(loop, self.link, self.topology, location)
        wait_for = location.timeout + GRACE
        self.channels = Channels(self.engine, self.link, self.topology, self.publisher, location, wait_for)

    def end(self) -> Steps[None]:
        """Close both connections; the broker gives back what was not settled, and counts it."""
        yield from self.outward.close()
        yield from self.link.close()


class RabbitmqTransport:
    """Queues of a RabbitMQ broker; see `kernel.ports.transport` for what each method promises.

    Where the port leaves a choice: a message belongs to the connection that received it, so that a lost connection
    gives everything back and its receipts are lost. Before RabbitMQ 4.3 a release counts as a delivery, because the
    broker does not tell one from the other. More than `max_batch` messages in one call are `Rejected`.
    """

    def __init__(self, location: Location) -> None:
        self._location = location
        self._running: _Running | None = None
        self._owner = 0
        self._is_closed = False
        self._woken = False
        self._receiving: Call[list[Delivery]] | None = None
        self._features = self._features_of(())

    @classmethod
    def from_url(cls, url: str) -> RabbitmqTransport:
        """The transport that a URL describes; `ConfigError` for what is none."""
        return cls(parse(url))

    @property
    def features(self) -> Features:
        """What this transport can do."""
        return self._features

    # -- lifecycle -------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Connect. Idempotent; `ConfigError` for a wrong password, virtual host or TLS file."""
        if self._is_closed:
            raise Unavailable("RabbitMQ: closed")
        if self._running is not None:
            return
        running = _Running(self._location)
        try:
            wait_for = self._location.timeout * len(self._location.hosts) + GRACE
            running.engine.call(running.link.connected, wait_for, "connecting")
        except BaseException:
            running.engine.stop(running.end)
            raise
        self._features = self._features_of(running.link.version)
        running.intake.counts = self._features.counts
        running.outward.version = running.link.version
        self._owner = os.getpid()
        self._running = running

    def close(self) -> None:
        """Close the connections: the broker gives back what was not settled, as deliveries that ended without ack."""
        self._is_closed = True
        running, self._running = self._running, None
        if running is not None and os.getpid() == self._owner:
            running.engine.stop(running.end)
            running.channels.close()

    def declare(self, queues: Sequence[str]) -> None:
        """Make the queues exist, each with one for its dead letters; `Rejected` where one is there that differs."""
        topology = self._open().topology
        self._call(lambda: topology.declare(queues), "declaring queues", 1 + len(queues) // 20)

    # -- messages --------------------------------------------------------------------------------------------------

    def send(self, batch: Sequence[Outgoing]) -> None:
        """Store all messages; returns when the broker has confirmed each one."""
        publisher = self._open().publisher
        _check_size(batch)
        for out in batch:
            if len(out.payload) > MAX_PAYLOAD or out.not_before:
                self._check(batch)
                break
        if batch:
            messages = list(batch)
            self._call(lambda: publisher.send(messages), "sending")

    def receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        """Take up to `limit` messages."""
        running = self._open()
        limit = min(limit, MAX_BATCH)
        if limit <= 0:
            return []
        names = list(dict.fromkeys(queues))
        if self._woken:
            timeout, self._woken = 0.0, False
        until = monotonic() + timeout
        intake = running.intake
        call = running.engine.start(lambda: intake.receive(names, limit, until), intake.unclaimed)
        self._receiving = call
        try:
            return self._await(running, call, until)
        finally:
            self._receiving = None

    def ack(self, batch: Sequence[Delivery]) -> list[Delivery]:
        """Settle for good; returns what a lost connection had held."""
        return self._settle(batch, ack=True)

    def release(self, batch: Sequence[Delivery]) -> list[Delivery]:
        """Give back at once; returns what a lost connection had held."""
        return self._settle(batch, ack=False)

    # -- optional protocols ----------------------------------------------------------------------------------------

    def wake(self) -> None:
        """End a blocked `receive`, or the next one that would block."""
        if self._running is None:
            raise Unavailable("RabbitMQ: not open")
        self._woken = True
        call = self._receiving
        if call is not None:
            call.signal.set()

    def publish(self, channel: str, payload: bytes) -> None:
        """Hand a copy to every inbox of the channel."""
        channels = self._open().channels
        self._call(lambda: channels.publish(channel, payload), "publishing")

    def listen(self, channel: str) -> Inbox:
        """Open an inbox."""
        return self._open().channels.listen(channel)

    def sizes(self, queues: Sequence[str]) -> list[QueueSize]:
        """How many messages of each queue are ready; the broker tells nothing else."""
        topology = self._open().topology
        return self._call(lambda: inspection.sizes(topology, queues), "looking at queues", 1 + len(queues) // 20)

    def purge(self, queue: str) -> int:
        """Drop the ready messages; returns how many. Delayed ones stay, and so does what somebody holds."""
        topology = self._open().topology
        return self._call(lambda: inspection.purge(topology, queue), "emptying a queue")

    # -- inside ----------------------------------------------------------------------------------------------------

    def _open(self) -> _Running:
        running = self._running
        if running is None:
            raise Unavailable("RabbitMQ: closed" if self._is_closed else "RabbitMQ: not open")
        return running

    def _call(self, steps: Callable[[], Steps[T]], what: str, times: int = 1) -> T:
        return self._open().engine.call(steps, self._location.timeout * times + GRACE, what)

    def _await(self, running: _Running, call: Call[list[Delivery]], until: float) -> list[Delivery]:
        """The answer; [] when it does not come in time or `wake` was called. What comes later is kept or given back."""
        while True:
            call.signal.wait(max(0.0, until - monotonic()) + OVERRUN)
            if call.has_ended():
                return call.result()
            if not self._woken and running.link.is_open and monotonic() < until + OVERRUN:
                call.signal.clear()
                if call.has_ended():
                    return call.result()
                continue
            if not running.link.is_open and not self._woken:
                # Connecting takes as long as it takes, within bounds: whoever only looks must learn what is wrong.
                call.signal.clear()
                if not call.has_ended() and call.signal.wait(self._location.timeout + GRACE) and call.has_ended():
                    return call.result()
            if not call.abandon():
                return call.result()
            running.engine.loop.call(running.intake.wake)
            self._woken = False
            return []

    def _settle(self, batch: Sequence[Delivery], *, ack: bool) -> list[Delivery]:
        intake = self._open().intake
        _check_size(batch)
        if not batch:
            return []
        deliveries = list(batch)
        return self._call(lambda: intake.settle(deliveries, ack=ack), "settling")

    def _check(self, batch: Sequence[Outgoing]) -> None:
        latest = _now() + delays.LONGEST
        for out in batch:
            if len(out.payload) > MAX_PAYLOAD:
                raise Rejected(f"{len(out.payload)} bytes exceed the {MAX_PAYLOAD} of a message")
            if out.not_before > latest:
                raise Rejected(f"a delay beyond {delays.LONGEST:g} s")
            if out.exchange and out.not_before > latest - delays.LONGEST:
                raise Rejected("a message for an exchange cannot be delayed")

    def _features_of(self, version: tuple[int, ...]) -> Features:
        location = self._location
        quorum = location.queue_type == "quorum" and location.declare
        return Features(
            lease=None,
            lease_total=location.consumer_timeout,
            survives="power" if quorum else "service",
            delay=delays.LONGEST,
            priorities=location.priorities,
            max_batch=MAX_BATCH,
            max_payload=MAX_PAYLOAD,
            exchanges=True,
            broadcast=True,
            counts=quorum,
            release_counts=not (quorum and version >= UNCOUNTED),
            answers_within=location.timeout + GRACE,
            inspect=True,
            wake=True,
        )


def _check_size(batch: Sequence[object]) -> None:
    if len(batch) > MAX_BATCH:
        raise Rejected(f"{len(batch)} in one call; at most {MAX_BATCH}")
