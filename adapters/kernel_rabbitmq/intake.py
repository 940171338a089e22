"""Receiving and settling.

A broker that pushes and a kernel that asks are brought together so that nothing waits here that nobody asked for:
before RabbitMQ 4.3 what is given back counts as a delivery, and the kernel runs what was delivered before with care,
one at a time. Small questions (`FEW`) are answered by `basic.get`, queue after queue in the order asked; large ones by
a consumer whose prefetch is the question, and which ends when it is answered. A queue that was found empty keeps its
consumer: its silence says that the queue still is, and its message ends a wait. What such consumers were given in the
meantime goes back when nobody asks for `IDLE` seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from pika.spec import Basic

from kernel.errors import PortError, Unavailable
from kernel.native import monotonic
from kernel.ports import Delivery
from kernel_rabbitmq.faults import being_created, translate
from kernel_rabbitmq.link import Link
from kernel_rabbitmq.loop import Loop, Timer
from kernel_rabbitmq.steps import Run, Steps, Wait
from kernel_rabbitmq.subscription import Receipt, Session, Subscription, pop, take
from kernel_rabbitmq.topology import Topology
from kernel_rabbitmq.url import Location

#: Questions below this are small. A message got singly costs a round trip, ten of them as much as a consumer.
FEW: Final = 10
#: Seconds without a question after which consumers end and what they were given goes back. Above the 50 ms of work
#: that a worker asks for at a time, below the 100 ms in which an idle process must have what waits behind a long task.
IDLE: Final = 0.07
#: Seconds for which the silence of a consumer is believed. A broker that deletes a queue says so to its consumers, but
#: not always when somebody declares it again at that moment.
TRUSTED: Final = 10.0
#: How often a queue that is just being created is asked, and the seconds in between.
TURNS: Final = 10
PAUSE: Final = 0.02


class Intake:
    """Only the I/O thread touches it, and `receive` and `idle` never overlap."""

    def __init__(self, loop: Loop, link: Link, topology: Topology, location: Location) -> None:
        self._loop = loop
        self._link = link
        self._topology = topology
        self._location = location
        self._session: Session | None = None
        self._busy: Wait | None = None
        self._arrival: Wait | None = None
        self._timer: Timer | None = None
        self._asked_at = 0.0
        self.counts = location.queue_type == "quorum"
        link.when_lost(self._lost)

    # -- receiving -------------------------------------------------------------------------------------------------

    def receive(self, queues: Sequence[str], limit: int, until: float) -> Steps[list[Delivery]]:
        """Up to `limit` messages; waits for the first of them until the monotonic time `until`."""
        for turn in range(1, TURNS + 1):
            was_empty = self._session is None or not self._session.unsettled
            try:
                found = yield from self._receive(queues, limit, until)
                return found
            except Unavailable as error:
                if not (being_created(error.__cause__) and was_empty) or turn == TURNS:
                    raise
            # Of two connections that declare one queue at the same moment, the second is told that it is there before
            # it is, and a question that comes too early costs it its connection. Nothing is held, so nothing is lost.
            pause = Wait()
            self._loop.call_later(PAUSE, pause.done)
            yield pause
        raise AssertionError("the last turn returns or raises")

    def _receive(self, queues: Sequence[str], limit: int, until: float) -> Steps[list[Delivery]]:
        yield from self._turn()
        try:
            if not self._topology.knows(queues):
                yield from self._topology.declare(queues)
            session = self._session
            if session is None:
                session = yield from self._open()
            made = self._topology.made
            for queue in queues:
                subscription = session.subscriptions.get(queue)
                if subscription is not None and subscription.made != made[queue]:
                    yield from self._end(session, [subscription])
            found = yield from (self._many if limit >= FEW else self._few)(session, queues, limit)
            if not found and monotonic() < until:
                yield from self._subscribe(session, queues)
                found = yield from self._wait(session, queues, limit, until)
            return found
        finally:
            self._done()

    def unclaimed(self, found: list[Delivery]) -> None:
        """Nobody took the answer: keep it for the next question, or give it back soon."""
        session = self._session
        strays = []
        for delivery in reversed(found):
            receipt: Receipt = delivery.receipt
            if receipt.home is session and session is not None and receipt.tag in session.unsettled:
                subscription = session.unsettled[receipt.tag]
                if subscription is not None and subscription.is_live:
                    subscription.buffer.appendleft(delivery)
                else:
                    strays.append(delivery)
        if strays:
            self._background(self.settle(strays[::-1], ack=False))

    def _wait(self, session: Session, queues: Sequence[str], limit: int, until: float) -> Steps[list[Delivery]]:
        found = take(session, queues, limit)
        while not found and monotonic() < until:
            if session is not self._session:
                raise Unavailable(f"{self._location.at}: the channel was lost")
            self._arrival = wait = Wait()
            timer = self._loop.call_later(max(0.0, until - monotonic()), wait.done)
            try:
                yield wait
            finally:
                self._arrival = None
                self._loop.remove_timeout(timer)
            found = take(session, queues, limit)
        return found

    def wake(self) -> None:
        """End a wait."""
        if self._arrival is not None:
            self._arrival.done()

    def _few(self, session: Session, queues: Sequence[str], limit: int) -> Steps[list[Delivery]]:
        found: list[Delivery] = []
        for queue in queues:
            subscription = session.subscriptions.get(queue)
            if subscription is not None:
                pop(subscription, limit, found)
            while len(found) < limit and not (subscription is not None and subscription.is_drained):
                delivery = yield from self._get(session, queue)
                if delivery is None:
                    break
                found.append(delivery)
            if len(found) >= limit:
                break
        return found

    def _many(self, session: Session, queues: Sequence[str], limit: int) -> Steps[list[Delivery]]:
        found: list[Delivery] = []
        for queue in queues:
            subscription = session.subscriptions.get(queue)
            if subscription is not None:
                pop(subscription, limit, found)
            if len(found) < limit and not (subscription is not None and subscription.is_drained):
                yield from self._draw(session, queue, limit, found)
            if len(found) >= limit:
                break
        return found

    def _draw(self, session: Session, queue: str, limit: int, found: list[Delivery]) -> Steps[None]:
        """Take what is ready by a consumer of just that credit, and one message behind it singly.

        The queue answers that question after it has sent what the consumer may have, so that then everything is here.
        A consumer that has all it may have is ended at once: an ack would bring it what nobody has asked for. Before,
        it must not be: quorum queues take back what is on its way to a consumer that ends, and count it. One that could
        have had more stays, and its silence says that the queue is empty.
        """
        credit = min(limit - len(found) - 1, self._location.prefetch_max)
        if credit < 1:
            last = yield from self._get(session, queue)
            found += [last] if last is not None else []
            return
        subscription = yield from self._consume(session, queue, credit)
        last = None
        if self._location.queue_type == "quorum":
            last = yield from self._get(session, queue)
            yield from self._barrier(session)
        else:
            # A classic queue sends in parts, between which it would answer. While they come, there may be more.
            came = -1
            while came < len(subscription.buffer) < credit:
                came = len(subscription.buffer)
                yield from self._barrier(session)
        pop(subscription, limit, found)
        if subscription.held >= subscription.credit:
            yield from self._cancel(session, subscription)
        if last is not None:
            found.append(last)

    def _get(self, session: Session, queue: str) -> Steps[Delivery | None]:
        """One message from the head of the queue, or None."""
        channel = session.channel
        wait = Wait()
        name = self._topology.name(queue)
        session.getting = wait
        channel.basic_get(name, lambda _, method, properties, body: wait.done((method, properties, body)))
        try:
            answer = yield from self._link.answered(wait, channel)
        except PortError:
            self._topology.forget(queue)
            raise
        if answer is None:
            return None
        method, properties, body = answer
        session.unsettled[method.delivery_tag] = None
        return session.delivery(method, properties, body, queue)

    # -- consumers -------------------------------------------------------------------------------------------------

    def _subscribe(self, session: Session, queues: Iterable[str]) -> Steps[None]:
        """A consumer that can be given one message on every queue."""
        for queue in queues:
            subscription = session.subscriptions.get(queue)
            if (
                subscription is None
                or subscription.held >= subscription.credit
                or subscription.began_at < monotonic() - TRUSTED
            ):
                yield from self._consume(session, queue, 1)

    def _consume(self, session: Session, queue: str, credit: int) -> Steps[Subscription]:
        """A consumer of its own credit in place of the one that is there: what that one holds counts no more."""
        old = session.subscriptions.get(queue)
        subscription = Subscription(session, queue, self._topology.made[queue], credit, self._arrived)
        if old is not None:
            old.stray = old.buffer.append
            yield from self._cancel(session, old)
            old.stray = None
            subscription.buffer = old.buffer
        channel = session.channel
        rpc = self._link.rpc
        if session.prefetch != credit:
            session.prefetch = credit
            yield from rpc(channel, "basic_qos", prefetch_count=credit)
        wait = Wait()
        subscription.tag = channel.basic_consume(self._topology.name(queue), subscription.deliver, callback=wait.done)
        yield from self._link.answered(wait, channel)
        subscription.is_live = True
        session.subscriptions[queue] = subscription
        return subscription

    def _cancel(self, session: Session, subscription: Subscription) -> Steps[None]:
        if subscription.is_live:
            subscription.is_live = False
            session.subscriptions.pop(subscription.queue, None)
            yield from self._link.rpc(session.channel, "basic_cancel", subscription.tag)

    def _barrier(self, session: Session) -> Steps[None]:
        """Wait until the broker has done what this channel asked for: `basic.qos` is the cheapest method with an
        answer. Its value is the last one, because the broker applies it to later consumers."""
        yield from self._link.rpc(session.channel, "basic_qos", prefetch_count=session.prefetch)

    def _arrived(self) -> None:
        wait = self._arrival
        if wait is not None:
            self._arrival = None
            # Not now: the rest of what was read in one go belongs to the same answer.
            self._loop.call(wait.done)

    # -- idle ------------------------------------------------------------------------------------------------------

    def _turn(self) -> Steps[None]:
        while self._busy is not None:
            yield self._busy
        self._busy = Wait()

    def _done(self) -> None:
        busy, self._busy = self._busy, None
        self._asked_at = monotonic()
        if self._timer is None and self._session is not None and self._session.subscriptions:
            self._timer = self._loop.call_later(IDLE, self._look)
        if busy is not None:
            busy.done()

    def _look(self) -> None:
        self._timer = None
        if self._busy is None:
            left = self._asked_at + IDLE - monotonic()
            if left > 0:
                self._timer = self._loop.call_later(left, self._look)
            else:
                self._background(self._idle())

    def _idle(self) -> Steps[None]:
        """End all consumers, then give back what they were given and nobody has."""
        yield from self._turn()
        try:
            session = self._session
            if session is not None:
                yield from self._end(session, list(session.subscriptions.values()))
        finally:
            busy, self._busy = self._busy, None
            if busy is not None:
                busy.done()

    def _end(self, session: Session, subscriptions: Iterable[Subscription]) -> Steps[None]:
        unwanted: list[Delivery] = []
        for subscription in subscriptions:
            subscription.stray = unwanted.append
            yield from self._cancel(session, subscription)
            unwanted += subscription.buffer
            subscription.buffer.clear()
        if unwanted:
            unwanted.sort(key=lambda delivery: delivery.receipt.tag)
            yield from self.settle(unwanted, ack=False)

    # -- settling --------------------------------------------------------------------------------------------------

    def settle(self, batch: Sequence[Delivery], *, ack: bool) -> Steps[list[Delivery]]:
        """Acknowledge, or give back; returns what another channel held. What was settled before is passed over."""
        session = self._session
        lost: list[Delivery] = []
        wanted: dict[int, Receipt] = {}
        for delivery in batch:
            receipt: Receipt = delivery.receipt
            if receipt.home is not session:
                if not receipt.is_settled:
                    lost.append(delivery)
            elif receipt.tag in session.unsettled:
                wanted[receipt.tag] = receipt
        if not wanted or session is None:
            return lost
        if not ack:
            yield from self._clear(session, wanted)
        self._write(session, wanted, ack)
        yield from self._barrier(session)
        for receipt in wanted.values():
            receipt.is_settled = True
        return lost

    def _clear(self, session: Session, wanted: dict[int, Receipt]) -> Steps[None]:
        """What is given back comes before what waits here from the same queue, so that goes back too."""
        behind = [
            subscription
            for subscription in {session.unsettled[tag] for tag in wanted}
            if subscription is not None and subscription.buffer and subscription.is_live
        ]
        for subscription in behind:
            subscription.stray = subscription.buffer.append
            yield from self._cancel(session, subscription)
            for delivery in subscription.buffer:
                wanted[delivery.receipt.tag] = delivery.receipt
            subscription.buffer.clear()

    @staticmethod
    def _write(session: Session, wanted: dict[int, Receipt], ack: bool) -> None:
        channel, unsettled = session.channel, session.unsettled
        write: Callable[..., None] = channel.basic_ack if ack else channel.basic_nack
        # One frame for all that is settled from the oldest on; nothing else may be older.
        first = 0
        for tag in unsettled:
            if tag not in wanted:
                break
            first = tag
        if first:
            write(first, multiple=True)
        for tag in sorted(wanted):
            subscription = unsettled.pop(tag, None)
            if subscription is not None:
                subscription.held -= 1
            if tag > first:
                write(tag)

    # -- channel ---------------------------------------------------------------------------------------------------

    def _open(self) -> Steps[Session]:
        channel = yield from self._link.channel(self._lost)
        self._session = session = Session(channel, self.counts)
        channel.add_callback(lambda _: session.getting.done(None), [Basic.GetEmpty], one_shot=False)
        channel.add_on_cancel_callback(lambda frame: self._cancelled(session, frame.method.consumer_tag))
        return session

    def _cancelled(self, session: Session, tag: str) -> None:
        """The broker ended a consumer: its queue was deleted, or its leader has changed."""
        for subscription in list(session.subscriptions.values()):
            if subscription.tag == tag:
                subscription.is_live = False
                session.subscriptions.pop(subscription.queue, None)
                self._topology.forget(subscription.queue)
                if self._arrival is not None:
                    error = Unavailable(f"{self._location.at}: the queue {subscription.queue!r} was deleted or moved")
                    self._arrival.fail(error)

    def _lost(self, reason: BaseException) -> None:
        self._session = None
        if self._arrival is not None:
            self._arrival.fail(translate(reason, self._location.at))

    def _background(self, steps: Steps[Any]) -> None:
        Run(steps, _ignore)


def _ignore(value: object, error: BaseException | None) -> None:
    if error is not None and not isinstance(error, PortError):
        raise error  # a defect; an outage gives everything back by itself
