"""The queues on the broker: made on first use, known while the connection lives, never without dead letters."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pika.channel import Channel

from kernel.errors import PortError, Rejected
from kernel_rabbitmq.faults import NOT_FOUND, code_of, inequivalent
from kernel_rabbitmq.link import Link
from kernel_rabbitmq.names import checked, dead_of
from kernel_rabbitmq.steps import Steps, Wait
from kernel_rabbitmq.url import Location

#: Delivery limit of a dead-letter queue, which has nowhere to put a message: RabbitMQ 4 sets 20 where nothing is said.
NO_LIMIT = 1_000_000_000
#: Arguments that a look at an existing queue takes over from it, one after the other, at most so many.
MOST_ARGUMENTS = 20


class Topology:
    """What this connection has declared. Only the I/O thread touches it."""

    def __init__(self, link: Link, location: Location) -> None:
        self._link = link
        self._location = location
        self._known: set[str] = set()
        #: How often each queue was declared: a consumer from before the last time may be one of a queue that is gone.
        self.made: dict[str, int] = {}
        self._channel: Channel | None = None
        self._busy: Wait | None = None
        link.when_lost(self._lost)

    def _lost(self, reason: BaseException) -> None:
        self._known.clear()
        self._channel = None

    def name(self, queue: str) -> str:
        """The name on the broker."""
        return checked(self._location.prefix + queue)

    def knows(self, queues: Iterable[str]) -> bool:
        """Whether all of these are declared."""
        return self._known.issuperset(queues)

    def forget(self, queue: str) -> None:
        """It is gone: declare it again at the next use."""
        self._known.discard(queue)

    def declare(self, queues: Iterable[str]) -> Steps[None]:
        """Make the queues exist, and before each one the queue of its dead letters."""
        for queue in queues:
            if queue in self._known:
                continue
            name = self.name(queue)
            if not self._location.declare:
                yield from self._verify(name)
            else:
                dead = dead_of(queue)
                if dead and dead not in self._known:
                    yield from self._make(self.name(dead), "")
                    self._note(dead)
                yield from self._make(name, self.name(dead) if dead else "")
            self._note(queue)

    def _note(self, queue: str) -> None:
        self._known.add(queue)
        self.made[queue] = self.made.get(queue, 0) + 1

    def remember(self, name: str, make: Callable[[], Steps[None]]) -> Steps[None]:
        """Run `make` once per connection."""
        if name not in self._known:
            yield from make()
            self._known.add(name)

    def rpc(self, method: str, *arguments: Any, **options: Any) -> Steps[Any]:
        """Call a method on the channel for declarations, which a refusal closes and the next call opens again."""
        while self._busy is not None:
            yield self._busy  # one at a time: the refusal of one would end the others
        self._busy = busy = Wait()
        try:
            if self._channel is None or not self._channel.is_open:
                self._channel = yield from self._link.channel()
            answer = yield from self._link.rpc(self._channel, method, *arguments, **options)
        finally:
            self._busy = None
            busy.done()
        return answer

    def arguments(self, dead: str) -> dict[str, Any]:
        """The arguments of a queue whose dead letters go to the queue `dead`; "" for one that has none."""
        location = self._location
        arguments: dict[str, Any] = {"x-queue-type": location.queue_type}
        if dead:
            arguments["x-dead-letter-exchange"] = ""
            arguments["x-dead-letter-routing-key"] = dead
        if location.queue_type == "quorum":
            # Not x-dead-letter-strategy=at-least-once, which the levels of a delay need: the broker may leave such a
            # queue without a leader when a node comes back (rabbitmq-server 16652), too high a price for a limit that
            # no message is meant to reach. Whoever wants it adds arg.x-dead-letter-strategy and arg.x-overflow.
            arguments["x-delivery-limit"] = location.delivery_limit if dead else NO_LIMIT
        elif location.priorities and dead:
            arguments["x-max-priority"] = location.priorities - 1
        if dead:
            arguments.update(location.arguments)
        return arguments

    def _make(self, name: str, dead: str) -> Steps[None]:
        arguments = self.arguments(dead)
        try:
            yield from self.rpc("queue_declare", name, durable=True, arguments=arguments)
        except PortError as error:
            differs = inequivalent(error.__cause__ or error)
            if differs is None:
                raise
            raise Rejected(_advice(name, *differs)) from error

    # -- queues of somebody else -----------------------------------------------------------------------------------

    def _verify(self, name: str) -> Steps[None]:
        """An existing queue: it must be there, and where it is a quorum queue, have a place for dead letters."""
        try:
            yield from self.rpc("queue_declare", name, passive=True)
        except PortError as error:
            if code_of(error.__cause__ or error) != NOT_FOUND:
                raise
            raise Rejected(f"there is no queue {name!r} and declare=no: create it, or leave declare=no out") from error
        # Nobody tells the arguments of a queue over AMQP, except in refusing others. So it is declared as a quorum
        # queue with nothing else, and what a refusal names is taken over, until it names what we want to know or
        # there is nothing left to refuse: then it is a quorum queue, and has no place for dead letters.
        arguments: dict[str, Any] = {"x-queue-type": "quorum"}
        for _ in range(MOST_ARGUMENTS):
            try:
                yield from self.rpc("queue_declare", name, durable=True, arguments=arguments)
            except PortError as error:
                differs = inequivalent(error.__cause__ or error)
            else:
                raise Rejected(_without_dead_letters(name))
            value = _current(differs[1]) if differs is not None else None
            if differs is None or value is None or differs[0] in ("x-queue-type", "x-dead-letter-exchange"):
                return  # of another type, which has no delivery limit, or with dead letters, or one that cannot be told
            arguments[differs[0]] = value


def _current(text: str) -> str | int | None:
    """The value in "... but current is the value '5' of type 'signedint'"; None where it is no plain one."""
    _, found, rest = text.rpartition("current is the value '")
    value, _, kind = rest.partition("' of type ")
    if not found:
        return None
    return int(value) if value.lstrip("-").isdigit() and "longstr" not in kind else value


def _without_dead_letters(name: str) -> str:
    return (
        f"the quorum queue {name!r} has no x-dead-letter-exchange: beyond its delivery limit it would drop messages "
        f"without a word; create it again with one, or leave declare=no out and take another name or prefix"
    )


def _advice(name: str, argument: str, text: str) -> str:
    if argument == "x-dead-letter-exchange" and text.rstrip(" .").endswith("current is none"):
        return _without_dead_letters(name)
    return (
        f"the queue {name!r} is there with another {argument} ({text}): give the same in the URL (queue_type, "
        f"delivery_limit, priorities, arg.<name>), or use it as it is with declare=no, or delete it when it is empty"
    )
