"""The reference model of the Transport port: what was done and seen so far, and which answers that leaves possible.

It predicts nothing that the port leaves open. Every message has a span of time: possibly free to be delivered from its
beginning, surely from its end. On a virtual clock most spans are one moment, so the model is exact; on a real server
they are as wide as the calls took, so a busy machine makes it say less, and never something wrong.

Each method that judges an answer is given the moments between which the call was made, and raises `Trouble`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Literal

from kernel.ports import Delivery, Features, Outgoing, QueueSize


class Trouble(AssertionError):
    """An answer that the contract does not allow."""


@dataclass(frozen=True)
class Manner:
    """What an adapter may do within the contract, and what its service rounds; in seconds."""

    #: Difference of two clocks, and what a service rounds times to.
    slack: float = 0.0
    #: How long after its time, its release or the end of its client a message may become visible.
    lag: float = 0.0
    #: A look returns all that is there, up to its limit.
    whole: bool = True
    #: Messages of a caller keep their order, a release goes to the front, and priorities are strict.
    sorted: bool = True
    #: How much waiting makes up for a level of priority.
    aging: float = inf


class Span:
    """An uncertain moment: not before `low`, not after `high`."""

    __slots__ = ("high", "low")

    def __init__(self, low: float, high: float) -> None:
        self.low = low
        self.high = high


@dataclass(eq=False)
class Message:
    """A message that was sent."""

    payload: bytes
    queue: str
    priority: int
    number: int
    sender: object
    sent: Span
    #: When it may be delivered next; the end of its lease while somebody holds it.
    free: Span
    delayed: bool
    expires_at: float
    order_key: str
    #: "maybe": whether it is still there cannot be known, until it is seen again.
    gone: Literal["no", "maybe", "yes"] = "no"
    why: str = ""
    held: bool = False
    #: Deliveries that ended without ack or release, releases, and deliveries in all.
    losses: int = 0
    releases: int = 0
    taken: int = 0
    #: Which release put it to the front (0: none), and its place among those of that.
    front: tuple[int, int] = (0, 0)
    #: When it became deliverable for the first time; priorities age from then on.
    since: float = 0.0

    @property
    def plain(self) -> bool:
        """Its place is that of its sending."""
        return not (self.taken or self.delayed or self.order_key)


@dataclass(eq=False)
class Hold:
    """A delivery, and what became of it."""

    delivery: Delivery
    message: Message
    client: object
    #: Deliveries before its call, equal for all that one call returned.
    call: int
    state: Literal["open", "overtaken", "settled", "released", "abandoned"] = "open"


class TransportModel:
    """Everything that is known of the queues of one namespace."""

    def __init__(self, features: Features, manner: Manner) -> None:
        self.features, self.manner = features, manner
        self.messages: dict[bytes, Message] = {}
        self.holds: list[Hold] = []
        self.queues: set[str] = set()
        self._releases = 0
        #: When the window of each dedup key began.
        self._keys: dict[tuple[str, str], Span] = {}

    # -- sending -------------------------------------------------------------------------------------------

    def sent(self, client: object, batch: Iterable[Outgoing], at: Span, *, unsure: bool = False) -> None:
        """These were stored; with `unsure` nobody can say."""
        top = max(self.features.priorities - 1, 0)
        for out in batch:
            self.queues.add(out.queue)
            delayed = out.not_before > at.low
            message = Message(
                out.payload,
                out.queue,
                min(out.priority, top),
                len(self.messages),
                client,
                at,
                Span(out.not_before, out.not_before + self.manner.lag) if delayed else Span(at.low, at.high),
                delayed,
                out.expires_at if self.features.expiry else 0.0,
                out.order_key if self.features.ordered else "",
                since=max(at.low, out.not_before),
            )
            self.messages[out.payload] = message
            if unsure:
                message.gone = "maybe"
            if out.dedup_key and self.features.dedup:
                self._deduplicate(message, (out.queue, out.dedup_key), at)

    def _deduplicate(self, message: Message, key: tuple[str, str], at: Span) -> None:
        first, window, slack = self._keys.get(key), self.features.dedup, self.manner.slack
        if first is None or at.low >= first.high + window + slack:
            self._keys[key] = at
        elif at.high < first.low + window - slack:
            message.gone, message.why = "yes", "its dedup key was sent before"
        else:
            message.gone = "maybe"
            self._keys[key] = Span(first.low, at.high)

    # -- receiving -----------------------------------------------------------------------------------------

    def received(self, client: object, names: Sequence[str], limit: int, got: list[Delivery], at: Span) -> list[Hold]:
        """Judge what a `receive` returned, and remember who holds it."""
        self.queues.update(names)
        if len(got) > limit:
            raise Trouble(f"limit: {len(got)} messages where {limit} were asked for")
        taken: list[Message] = []
        for delivery in got:
            message = self.messages.get(delivery.payload)
            if message is None or message.queue not in names or delivery.queue != message.queue:
                raise Trouble(f"phantom: {delivery.payload!r} from {delivery.queue}, which was not sent there")
            self._may_be_delivered(message, taken, at)
            taken.append(message)
            self._hint(message, delivery)
        self._nothing_left(names, limit, taken, at)
        self._in_order(names, limit, taken, at)
        call = len(self.holds)
        self.holds += [Hold(delivery, self._taken(delivery, at), client, call) for delivery in got]
        return self.holds[call:]

    def _may_be_delivered(self, message: Message, taken: list[Message], at: Span) -> None:
        name, slack = message.payload.decode(), self.manner.slack
        if message in taken:
            raise Trouble(f"twice: {name} is in one answer two times")
        if message.gone == "yes":
            raise Trouble(f"twice: {name} was delivered after {message.why}")
        if message.free.low > at.high + slack:
            early = message.free.low - at.high
            what = "while somebody holds it" if message.held else "before its time"
            raise Trouble(f"early: {name} was delivered {what}, {early:g} s too soon")
        if message.expires_at and at.low - slack > message.expires_at:
            raise Trouble(f"expired: {name} was delivered {at.low - message.expires_at:g} s after its end")
        blocker = message.order_key and next((m for m in self._others(message) if m.gone == "no"), None)
        if blocker and not (blocker.expires_at and blocker.expires_at <= at.high + slack):
            raise Trouble(f"order: {name} was delivered while {blocker.payload.decode()} of its key is unsettled")

    def _others(self, message: Message) -> Iterable[Message]:
        """Earlier messages of its order key."""
        return (
            other
            for other in self.messages.values()
            if (other.queue, other.order_key) == (message.queue, message.order_key) and other.number < message.number
        )

    def _hint(self, message: Message, delivery: Delivery) -> None:
        """Whether `redelivered` tells the truth; a lease that is over has become a loss now."""
        losses = message.losses + message.held
        counted = losses + (message.releases if self.features.release_counts else 0)
        said = delivery.redelivered
        # A service may count what its adapter has given back unseen: too many, and never too few.
        unseen = said >= counted and self.features.release_counts and not self.manner.whole
        right = said == counted or unseen if self.features.counts else said in (-1, 1) or said == counted == 0
        if not right:
            raise Trouble(f"count: {delivery.payload.decode()} says redelivered {said}, it was lost {losses} times")

    def _surely_free(self, message: Message, at: Span) -> bool:
        slack = self.manner.slack
        if message.gone != "no" or message.free.high > at.low - slack:
            return False
        if message.expires_at and message.expires_at <= at.high + slack:
            return False
        return not (message.order_key and any(other.gone != "yes" for other in self._others(message)))

    def free(self, names: Iterable[str], at: Span) -> list[Message]:
        """What would surely be delivered."""
        wanted = set(names)
        return [m for m in self.messages.values() if m.queue in wanted and self._surely_free(m, at)]

    def _nothing_left(self, names: Sequence[str], limit: int, taken: list[Message], at: Span) -> None:
        left = [m for m in self.free(names, at) if m not in taken]
        if left and limit > 0 and len(taken) < (limit if self.manner.whole else 1):
            raise Trouble(f"lost: {left[0].payload.decode()} is ready, and {len(taken)} of {limit} were handed out")

    def _in_order(self, names: Sequence[str], limit: int, taken: list[Message], at: Span) -> None:
        """Earlier queues first, within them by priority, within that a release first and the others as sent."""
        if not self.manner.sorted:
            return
        places = {name: place for place, name in reversed(list(enumerate(names)))}
        left = [m for m in self.free(names, at) if m not in taken]
        oldest: dict[tuple[str, int], float] = {}  # the first of a level is what ages, and those behind it come along
        for message in taken + left:
            level = message.queue, message.priority
            oldest[level] = min(oldest.get(level, inf), message.since)
        for index, message in enumerate(taken):
            for other in taken[index + 1 :] + left:
                if places[other.queue] < places[message.queue]:
                    raise Trouble(f"order: {message.payload.decode()} came before an earlier queue's {other.payload!r}")
                if other.queue == message.queue and not other.held and not message.held:
                    self._compare(message, other, other in left, oldest[message.queue, message.priority])

    def _compare(self, first: Message, second: Message, left: bool, since: float) -> None:
        names = f"{first.payload.decode()} came before {second.payload.decode()}"
        aged = (second.priority - first.priority) * self.manner.aging
        urgent = second.priority > first.priority and second.since - since < aged - 2 * self.manner.slack
        if urgent and (left or not second.order_key):  # what comes behind another of its key may come at any time
            raise Trouble(f"priority: {names}, which is more urgent")
        if second.priority != first.priority or first.order_key or second.order_key:
            return
        if second.front[0] and first.plain:
            raise Trouble(f"order: {names}, which was released to the front")
        if second.front[0] == first.front[0] > 0 and second.front[1] < first.front[1]:
            raise Trouble(f"order: {names}, and both were released in the other order")
        if first.plain and second.plain and second.sender is first.sender and second.number < first.number:
            raise Trouble(f"order: {names}, which was sent earlier")

    def _taken(self, delivery: Delivery, at: Span) -> Message:
        message = self.messages[delivery.payload]
        for hold in self.holds:
            if hold.message is message and hold.state in ("open", "released"):
                hold.state = "overtaken"
        message.losses += message.held
        message.held, message.gone, message.front = True, "no", (0, 0)
        message.taken += 1
        message.free = self._until(at, self.features.lease)
        return message

    def _until(self, at: Span, lease: float | None) -> Span:
        if lease is None:
            return Span(inf, inf)
        return Span(at.low + lease - self.manner.slack, at.high + lease + self.manner.slack + self.manner.lag)

    # -- settling ------------------------------------------------------------------------------------------

    def _judged(self, holds: Sequence[Hold], lost: Sequence[Delivery], at: Span) -> list[Hold]:
        """Whether these may be the lost ones; returns those that took effect and were open before."""
        given = {id(hold.delivery): hold for hold in holds}
        if len({id(delivery) for delivery in lost}) < len(lost) or not {id(d) for d in lost} <= given.keys():
            raise Trouble("fence: the lost ones are not the objects that were given, each once")
        gone = {id(delivery) for delivery in lost}
        effective: list[Hold] = []
        for hold in holds:
            name, is_lost = hold.message.payload.decode(), id(hold.delivery) in gone
            if hold.state == "overtaken" and not is_lost:
                raise Trouble(f"fence: {name} is somebody else's, and this is not reported as lost")
            if hold.state == "open" and is_lost and at.high < hold.message.free.low:
                raise Trouble(f"fence: {name} is reported as lost, and its lease goes on")
            if hold.state == "open" and not is_lost:
                effective.append(hold)
        return effective

    def acked(self, holds: Sequence[Hold], lost: Sequence[Delivery], at: Span) -> list[Hold]:
        """Judge an ack, or the part of a commit that is one; returns those that it settled."""
        done = self._judged(holds, lost, at)
        for hold in done:
            hold.state = "settled"
            hold.message.held, hold.message.gone, hold.message.why = False, "yes", "its ack"
        return done

    def released(self, holds: Sequence[Hold], lost: Sequence[Delivery], at: Span) -> None:
        """Judge a release."""
        done = self._judged(holds, lost, at)
        self._releases += 1
        for place, hold in enumerate(done):
            hold.state = "released"
            message = hold.message
            # Of one `receive` the order is kept; between several of them it is the adapter's.
            message.held, message.front = False, (self._releases * 10_000 + hold.call, place)
            message.releases += 1
            message.free = Span(at.low, at.high + self.manner.lag)

    def extended(self, holds: Sequence[Hold], lease: float, lost: Sequence[Delivery], at: Span) -> None:
        """Judge a renewal."""
        for hold in self._judged(holds, lost, at):
            hold.message.free = self._until(at, lease)

    def committed(
        self,
        client: object,
        pairs: Sequence[tuple[Hold, Sequence[Outgoing]]],
        lost: Sequence[Delivery],
        at: Span,
    ) -> None:
        """Judge a commit. What was settled or lost before publishes nothing, and phantoms are found when they come."""
        done = {id(hold) for hold in self.acked([hold for hold, _ in pairs], lost, at)}
        self.sent(client, [out for hold, sends in pairs if id(hold) in done for out in sends], at)

    def closed(self, client: object, at: Span, *, given_back: bool) -> None:
        """A client has ended: what it holds comes back at the end of its lease, or before where it was closed."""
        for hold in self.holds:
            if hold.client is client and hold.state == "open":
                hold.state = "abandoned"
                if given_back:
                    free = hold.message.free
                    high = free.high if self.features.lease is not None else at.high + self.manner.lag
                    hold.message.free = Span(min(at.low, free.low), high)

    # -- tools ---------------------------------------------------------------------------------------------

    def sized(self, size: QueueSize, at: Span) -> None:
        """Judge what is told of one queue."""
        mine = [m for m in self.messages.values() if m.queue == size.queue and m.gone != "yes"]
        low, high = at.low - self.manner.slack, at.high + self.manner.slack
        sure = [m for m in mine if m.gone == "no" and not (m.expires_at and m.expires_at <= high)]
        bounds = {
            "ready": (sum(m.free.high <= low for m in sure), sum(m.free.low <= high for m in mine)),
            "delayed": (
                sum(not m.held and m.delayed and m.free.low > high for m in sure),
                sum(not m.held and m.delayed and m.free.high > low for m in mine),
            ),
            "in_flight": (sum(m.held and m.free.low > high for m in sure), sum(m.held for m in mine)),
        }
        for name, (least, most) in bounds.items():
            told = getattr(size, name)
            if told is not None and not least <= told <= most:
                raise Trouble(f"sizes: {size.queue} has {told} {name}, and it must be {least} to {most}")

    def peeked(self, queue: str, limit: int, payloads: Sequence[bytes], at: Span) -> None:
        """Judge a look at the next messages."""
        low, high = at.low - self.manner.slack, at.high + self.manner.slack
        for payload in payloads:
            message = self.messages.get(payload)
            if message is None or message.queue != queue or message.gone == "yes":
                raise Trouble(f"peek: {payload!r} is not there")
            if message.held and message.free.low > high:
                raise Trouble(f"peek: {payload!r} is under a lease")
        mine = [m for m in self.messages.values() if m.queue == queue and m.gone == "no"]
        waiting = [
            m for m in mine if (not m.held or m.free.high <= low) and not (m.expires_at and m.expires_at <= high)
        ]
        missing = [m for m in waiting if m.payload not in payloads]
        if len(payloads) > limit or len(set(payloads)) < len(payloads) or (missing and len(payloads) < limit):
            raise Trouble(f"peek: {len(payloads)} of {limit}, and {len(missing)} others wait")

    def purged(self, queue: str, told: int, at: Span, *, delayed: bool) -> None:
        """Judge a purge; `delayed`: it takes those too."""
        low, high = at.low - self.manner.slack, at.high + self.manner.slack
        count, unclear = 0, 0
        for message in self.messages.values():
            if message.queue != queue or message.gone == "yes" or (message.held and message.free.low > high):
                continue
            if message.delayed and not message.taken and message.free.high > low and not delayed:
                unclear += message.free.low <= high
                message.gone = "maybe" if message.free.low <= high else "no"
                continue
            expired = message.expires_at and message.expires_at <= high
            sure = message.gone == "no" and (message.free.high <= low or not (message.held or self.manner.lag))
            if sure and not expired:
                count += 1
                message.gone, message.why, message.held = "yes", "a purge", False
            else:
                unclear += 1
                message.gone = "maybe"
        if not count <= told <= count + unclear:
            raise Trouble(f"purge: {told} of {queue} were dropped, and it must be {count} to {count + unclear}")

    # -- at the end ----------------------------------------------------------------------------------------

    def unfinished(self, now: float) -> list[Message]:
        """What must still come."""
        return [m for m in self.messages.values() if m.gone == "no" and not 0.0 < m.expires_at <= now + 1e-9]

    def open_holds(self, client: object) -> list[Hold]:
        """What a client may settle, what is settled or lost included, the newest first."""
        return [hold for hold in reversed(self.holds) if hold.client is client]
