"""Publishing: every message mandatory and confirmed, a batch in one go, answers matched by their tag."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from pika import BasicProperties
from pika.channel import Channel

from kernel.errors import PartialSend, PortError, Rejected, Unavailable
from kernel.ports import Outgoing
from kernel_rabbitmq import delays
from kernel_rabbitmq.exchanges import Exchanges
from kernel_rabbitmq.faults import translate
from kernel_rabbitmq.frames import Frames, Message
from kernel_rabbitmq.link import Link, blocked
from kernel_rabbitmq.steps import Steps, Wait
from kernel_rabbitmq.topology import Topology
from kernel_rabbitmq.url import Location

PERSISTENT = 2


class Job:
    """A batch of which some messages are not confirmed yet."""

    __slots__ = ("errors", "left", "wait")

    def __init__(self, count: int) -> None:
        self.left = count
        self.errors: dict[int, PortError] = {}
        self.wait = Wait()


class Publisher:
    """The one channel that publishes, on a connection of its own: an alarm of the broker stops a connection that
    publishes altogether, and what was received must be settled all the same. Only the I/O thread touches it."""

    def __init__(self, link: Link, topology: Topology, location: Location) -> None:
        self._link = link
        self._topology = topology
        self._location = location
        self._delays = delays.Delays(topology)
        self._exchanges = Exchanges(topology)
        self._channel: Channel | None = None
        self._opening: Wait | None = None
        self._frames = Frames(0, 0)
        self._last = 0
        #: Of each message that is not confirmed, by its tag, in their order.
        self._pending: dict[int, tuple[Job, int, Message]] = {}
        self._properties = [BasicProperties(delivery_mode=PERSISTENT, priority=level or None) for level in range(10)]
        link.when_blocked(self._lose)
        link.when_lost(self._closed)

    def send(self, batch: Sequence[Outgoing]) -> Steps[None]:
        """Store all messages; errors as `Transport.send` raises them."""
        if [out for out in batch if out.exchange]:
            errors = yield from self._send_known(batch)
        else:
            messages = yield from self._addressed(batch)
            errors = yield from self.publish(messages)
        if not errors:
            return
        for index in errors:
            self._forget(batch[index])
        if not self._pending and self._channel is not None and self._channel.is_open:
            # The broker's end of a channel remembers a quorum queue by its name, and waits for the one that was deleted
            # when another one has been made under it. The next send opens a new channel.
            channel, self._channel = self._channel, None
            channel.close()
        if len(errors) < len(batch):
            raise PartialSend(errors)
        unknown = [error for error in errors.values() if error.sent == "unknown"]
        if unknown or len(batch) == 1:
            raise unknown[0] if unknown else errors[0]
        raise PartialSend(errors)

    def publish(self, messages: Sequence[Message], mandatory: bool = True) -> Steps[dict[int, PortError]]:
        """Publish messages and wait until each is confirmed; returns the errors by index."""
        channel = yield from self._ready()
        job = Job(len(messages))
        written = self._frames.of(messages, mandatory)
        pending, tag = self._pending, self._last
        for index, message in enumerate(messages):
            tag += 1
            pending[tag] = (job, index, message)
        self._last = tag
        # One write for all, by the method that pika itself writes with.
        channel.connection._adapter_emit_data(written)
        yield from self._link.answered(job.wait, None)
        return job.errors

    # -- inside ----------------------------------------------------------------------------------------------------

    def _send_known(self, batch: Sequence[Outgoing]) -> Steps[dict[int, PortError]]:
        """Publish all but what is for exchanges that are not there; the errors by index."""
        errors = yield from self._exchanges.refused(batch)
        places = [index for index in range(len(batch)) if index not in errors]
        if places:
            messages = yield from self._addressed([batch[index] for index in places])
            failed = yield from self.publish(messages)
            errors.update({places[at]: error for at, error in failed.items()})
        return errors

    def _forget(self, out: Outgoing) -> None:
        """What this message was for may be gone."""
        if out.exchange:
            self._exchanges.forget(out.exchange)
        else:
            self._topology.forget(out.queue)

    def _addressed(self, batch: Sequence[Outgoing]) -> Steps[list[Message]]:
        """Where each message goes, everything on the way declared."""
        queues = {out.queue for out in batch if not out.exchange}
        if not self._topology.knows(queues):
            yield from self._topology.declare(queues)
        location = self._location
        names = {queue: self._topology.name(queue) for queue in queues}
        keys = {queue: location.routing_key.replace("{queue}", name) for queue, name in names.items()}
        levels = location.priorities
        properties = self._properties
        plain = properties[0]
        now = time.time()
        exchange = location.exchange
        messages: list[Message] = []
        longest, delayed = 0, set()
        for out in batch:
            properly = properties[min(out.priority, levels - 1)] if levels and out.priority else plain
            if out.not_before > now:
                units = delays.units(out.not_before - now)
                longest = max(longest, units)
                delayed.add(out.queue)
                key = delays.routing_key(units, names[out.queue])
                messages.append((delays.entry(units), key, properly, out.payload))
            elif out.exchange:
                messages.append((out.exchange, out.routing_key, properly, out.payload))
            else:
                messages.append((exchange, keys[out.queue], properly, out.payload))
        if delayed:
            yield from self._delays.declare(longest, delayed)
        return messages

    def _ready(self) -> Steps[Channel]:
        """The channel, in confirm mode. An alarm is told before anything is sent."""
        if self._link.blocked:
            raise Unavailable(blocked(self._link.blocked))
        while self._channel is None or not self._channel.is_open:
            if self._opening is not None:
                yield self._opening
                continue
            self._opening = opening = Wait()
            try:
                yield from self._open()
            finally:
                self._opening = None
                opening.done()
        return self._channel

    def _open(self) -> Steps[None]:
        channel = yield from self._link.channel(self._closed)
        wait = Wait()
        channel.add_on_return_callback(self._returned)
        channel.confirm_delivery(self._confirmed, callback=wait.done)
        yield from self._link.answered(wait, channel)
        self._last = 0
        self._frames = Frames(channel.channel_number, channel.connection._body_max_length)
        self._channel = channel

    def _closed(self, reason: BaseException) -> None:
        self._channel = None
        self._lose(translate(reason, self._location.at, "unknown"))

    def _lose(self, reason: BaseException) -> None:
        """Nobody knows of what is not confirmed whether it was stored."""
        error = translate(reason, self._location.at, "unknown")
        pending, self._pending = self._pending, {}
        for job, index, _ in pending.values():
            self._settle(job, index, error)

    def _confirmed(self, frame: Any) -> None:
        method = frame.method
        tag = method.delivery_tag
        refusal = None
        if method.NAME == "Basic.Nack":
            refusal = Unavailable("RabbitMQ could not store the message: its queue is full or has lost its leader")
        pending = self._pending
        if not method.multiple:
            found = pending.pop(tag, None)
            if found is not None:
                self._settle(found[0], found[1], refusal)
            return
        while pending:
            first = next(iter(pending))
            if first > tag:
                break
            job, index, _ = pending.pop(first)
            self._settle(job, index, refusal)

    def _returned(self, channel: Channel, method: Any, properties: BasicProperties, body: bytes) -> None:
        """A message that reached no queue comes back before its confirm. It has no tag; those of equal address and
        content share their fate, so that the first of them is as good as any."""
        sought = (method.exchange, method.routing_key, body)
        for job, index, (exchange, key, _, payload) in self._pending.values():
            if (exchange, key, payload) == sought and index not in job.errors:
                job.errors[index] = self._unroutable(method)
                return

    def _unroutable(self, method: Any) -> PortError:
        text = f"no queue for the routing key {method.routing_key!r} of the exchange {method.exchange!r}"
        if self._location.declare and not self._exchanges.names(method.exchange):
            return Unavailable(f"{text}: it was deleted meanwhile and is declared again by the next send")
        return Rejected(f"{text}: bind one, or correct exchange and routing_key")

    @staticmethod
    def _settle(job: Job, index: int, error: PortError | None) -> None:
        if error is not None:
            job.errors.setdefault(index, error)
        job.left -= 1
        if not job.left:
            job.wait.done()
