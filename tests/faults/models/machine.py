"""The state machine of the Transport port: the same commands for the adapter and for the model, all answers judged.

Two clients use one namespace. Either of them may close, or end without closing as a process does that is killed, and
then another takes its place; what a client settles may be lost long since. Time goes on when a command says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from math import inf
from typing import Any, ClassVar, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from faults.models.machine_places import QUEUES, Place
from faults.models.model import Hold, Span, TransportModel, Trouble
from kernel.errors import PartialSend, Rejected, Unavailable
from kernel.ports import Delivery, Outgoing

T = TypeVar("T")

#: From a number to a message: each table is a digit, and 0 is a plain message.
PRIORITIES = (0, 0, 3, 9)
DELAYS = (0.0, 0.0, 0.0, 0.0, 1.0, 2.5, inf)
ORDER_KEYS = ("", "", "k")
DEDUP_KEYS = ("", "", "", "d")
EXPIRIES = (0.0, 0.0, 0.0, 2.0, -1.0)
MOST = len(QUEUES) * len(PRIORITIES) * len(DELAYS) * len(ORDER_KEYS) * len(DEDUP_KEYS) * len(EXPIRIES)
ORDERS = (("a", "b", "B"), ("a",), ("B", "a"), ("b", "B", "a"))
LIMITS = (10, 1, 2, 3, 10, 5, 0)
OPERATIONS = ("ack", "release", "extend", "commit", "ack")
LEASES = (1.0, 2.0, 0.5)
TOOLS = ("sizes", "peek", "queues", "sizes", "peek", "purge")
#: In thirds of a lease: within it, at its end to the moment, and beyond.
STEPS = (1.0, 0.3, 3.0, 3.3)
#: Most looks at the end, for what must still come.
LOOKS = 100

#: What is done in a step, as often as it is here. One rule for all: Hypothesis leaves out rules at random, and what is
#: to be found here needs a message, a delivery and its end in one example.
COMMANDS = (*["receive"] * 6, *["settle"] * 6, *["send"] * 4, *["later"] * 3, "end", "look", "look")


def numbers_of(salt: int) -> list[int]:
    """The messages of a batch; small salts make few and plain ones."""
    salt, more = divmod(salt, 5)
    return [salt * (1 + index * 7919) % MOST for index in range(1 + more)]


class Traced(RuleBasedStateMachine):
    """Counts its steps, and writes down what it did: a real server need not do the same again."""

    place_of: ClassVar[Callable[[int], Place]]
    #: Steps of all examples so far.
    total: ClassVar[list[int]]
    #: Troubles of all examples so far: what a real server does once it may not do again.
    found: ClassVar[list[str]]

    def __init__(self) -> None:
        super().__init__()
        self.broken = False
        self.trace: list[str] = []

    def begin(self, variant: int) -> None:
        self.place = type(self).place_of(variant)
        self.trace.append(f"variant {variant}")

    def judged(self, text: str, call: Callable[[], T], judge: Callable[[T, Span], object]) -> T:
        """Make a call and judge its answer; what it raises ends the example."""
        self.total[0] += 1
        self.trace.append(text)
        before = self.place.now()
        try:
            answer = call()
            self.trace[-1] += f" -> {brief(answer)}"
            judge(answer, Span(before, self.place.now()))
        except Exception as error:
            raise self.trouble(error) from error
        return answer

    def pass_time(self, seconds: float) -> None:
        self.total[0] += 1
        self.trace.append(f"{seconds:g} s later")
        self.place.wait(seconds)

    def trouble(self, error: Exception) -> Trouble:
        """An error with what led to it; it ends the example."""
        self.broken = True
        what = str(error) if isinstance(error, Trouble) else f"raised: {error!r}"
        self.found.append(f"{what}\n  {self.story()}")
        return Trouble(self.found[-1])

    def story(self) -> str:
        """What was done, without its repetitions."""
        lines = [line for at, line in enumerate(self.trace) if not at or line != self.trace[at - 1]]
        return "\n  ".join(lines[-80:])


def brief(answer: Any) -> str:
    """An answer in a few letters."""
    if isinstance(answer, list) and answer and isinstance(answer[0], Delivery):
        return " ".join(f"{delivery.payload.decode()}/{delivery.redelivered}" for delivery in answer)
    return str(answer)[:300]


class QueueMachine(Traced):
    """Two clients and one model."""

    @initialize(variant=st.integers(0, 59))
    def start(self, variant: int) -> None:
        self.begin(variant)
        assert self.place.transport is not None
        self.names = count()
        self.opened: list[Any] = []
        self.clients = [self.connect(), self.connect()]
        features = self.clients[0].features
        self.model = TransportModel(features, self.place.manner)
        self.judged("declare", lambda: self.clients[0].declare(QUEUES), lambda _, at: None)

    def connect(self) -> Any:
        assert self.place.transport is not None
        transport = self.place.transport()
        transport.open()
        self.opened.append(transport)
        return transport

    # -- commands ------------------------------------------------------------------------------------------

    def outgoing(self, number: int) -> tuple[Outgoing, bool]:
        """The message of a number, and whether it must be refused."""
        features, now, unit = self.model.features, self.place.now(), self.place.unit
        number, queue = divmod(number, len(QUEUES))
        number, priority = divmod(number, len(PRIORITIES))
        number, delay = divmod(number, len(DELAYS))
        number, order_key = divmod(number, len(ORDER_KEYS))
        number, dedup_key = divmod(number, len(DEDUP_KEYS))
        out = Outgoing(QUEUES[queue], f"m{next(self.names)}".encode(), PRIORITIES[priority])
        out.dedup_key = DEDUP_KEYS[dedup_key] if features.dedup else ""
        out.order_key = ORDER_KEYS[order_key] if features.ordered else ""
        out.expires_at = now + EXPIRIES[number] * unit if EXPIRIES[number] else 0.0
        bad = DELAYS[delay] == inf and features.delay < inf
        if bad:
            out.not_before, out.dedup_key = now + features.delay + 100.0, ""
        elif 0.0 < DELAYS[delay] < inf and features.delay and not out.order_key:
            out.not_before = now + DELAYS[delay] * unit
        return out, bad

    @rule(command=st.sampled_from(COMMANDS), choice=st.integers(0, 131071), salt=st.integers(0, 65535))
    def step(self, command: str, choice: int, salt: int) -> None:
        """`choice` is what a command has to choose, `salt` are its messages: few draws, because they take most time."""
        getattr(self, command)(choice % 2, choice // 2, numbers_of(salt))

    def send(self, who: int, choice: int, numbers: list[int]) -> None:
        client = self.clients[who]
        made = [self.outgoing(number) for number in numbers]
        refused = {index for index, (_, bad) in enumerate(made) if bad}
        batch = [out for out, _ in made]

        def call() -> set[int]:
            try:
                client.send(batch)
            except PartialSend as partial:
                return set(partial.errors)
            except Rejected as error:
                if error.sent != "no":
                    raise Trouble(f"refused: what is refused was sent: {error.sent}") from error
                return set(range(len(batch)))
            return set()

        def judge(errors: set[int], at: Span) -> None:
            whole = bool(refused) and len(errors) == len(batch)  # an adapter may refuse a batch for one of its messages
            if errors != refused and not whole:
                raise Trouble(f"refused: {sorted(errors)} in place of {sorted(refused)}")
            self.model.sent(client, [out for index, out in enumerate(batch) if index not in errors], at)

        self.judged(f"client {who} sends {' '.join(map(described, batch))}", call, judge)

    def receive(self, who: int, choice: int, numbers: list[int]) -> None:
        order, limit = divmod(choice, len(LIMITS))
        self.take(self.clients[who], ORDERS[order % len(ORDERS)], LIMITS[limit], f"client {who}")

    def take(self, client: Any, order: Sequence[str], limit: int, name: str) -> list[Hold]:
        holds: list[Hold] = []
        limit = min(limit, client.features.max_batch)
        now = self.place.now()
        timeout = self.place.patience if limit and self.model.free(order, Span(now, now)) else 0.0

        def judge(got: list[Delivery], at: Span) -> None:
            holds.extend(self.model.received(client, order, limit, got, at))

        text = f"{name} receives {limit} of {','.join(order)}"
        self.judged(text, lambda: client.receive(order, limit, timeout), judge)
        return holds

    def settle(self, who: int, choice: int, numbers: list[int]) -> None:
        choice, operation = divmod(choice, len(OPERATIONS))
        choice, lease = divmod(choice, len(LEASES))
        client = self.clients[who]
        if not self.model.open_holds(client):
            who, client = 1 - who, self.clients[1 - who]
        known = self.model.open_holds(client)[:8]
        holds = [hold for bit, hold in enumerate(known) if choice & (1 << bit)][::-1] or known[:1]
        if not holds:
            return
        features = client.features
        batch = [hold.delivery for hold in holds]
        name = OPERATIONS[operation]
        text = f"client {who}: {name} {' '.join(hold.message.payload.decode() for hold in holds)}"
        if name == "commit" and features.commit:
            self.commit(client, holds, numbers, text)
        elif name == "extend" and features.lease is not None:
            seconds = LEASES[lease] * features.lease
            self.judged(
                f"{text} for {seconds:g} s",
                lambda: client.extend(batch, seconds),
                lambda lost, at: self.model.extended(holds, seconds, lost, at),
            )
        elif name == "release":
            self.judged(text, lambda: client.release(batch), lambda lost, at: self.model.released(holds, lost, at))
        else:
            self.judged(text, lambda: client.ack(batch), lambda lost, at: self.model.acked(holds, lost, at))

    def commit(self, client: Any, holds: list[Hold], numbers: list[int], text: str) -> None:
        """Each delivery publishes one of the messages, or none; one that is refused refuses the whole."""
        sends = [[self.outgoing(number)] if number % 3 else [] for number in numbers]
        sends += [[] for _ in holds]
        refused = any(bad for made in sends[: len(holds)] for _, bad in made)
        pairs = [(hold, [out for out, _ in made]) for hold, made in zip(holds, sends, strict=False)]
        text += " and " + " ".join(described(out) for _, outs in pairs for out in outs)

        def call() -> list[Delivery] | None:
            try:
                lost: list[Delivery] = client.commit([(hold.delivery, outs) for hold, outs in pairs])
            except Rejected:
                return None
            return lost

        def judge(lost: list[Delivery] | None, at: Span) -> None:
            if (lost is None) != refused:
                raise Trouble(f"refused: a commit was {'taken' if refused else 'refused'}")
            if lost is not None:
                self.model.committed(client, pairs, lost, at)

        self.judged(text, call, judge)

    def later(self, who: int, choice: int, numbers: list[int]) -> None:
        self.pass_time(STEPS[choice % len(STEPS)] * self.place.unit)

    def end(self, who: int, choice: int, numbers: list[int]) -> None:
        client = self.clients[who]
        if choice % 2 and client.features.lease is not None:
            self.judged(
                f"client {who} is killed",
                lambda: None,
                lambda _, at: self.model.closed(client, at, given_back=False),
            )
        else:
            self.close(client, f"client {who}")
        self.clients[who] = self.connect()

    def close(self, client: Any, name: str) -> None:
        def call() -> None:
            client.close()
            try:
                client.receive(QUEUES, 1, 0.0)
            except Unavailable:
                return
            raise Trouble("closed: a closed transport receives")

        self.judged(f"{name} closes", call, lambda _, at: self.model.closed(client, at, given_back=True))

    def look(self, who: int, choice: int, numbers: list[int]) -> None:
        choice, place = divmod(choice, len(TOOLS))
        queue, limit = QUEUES[choice % len(QUEUES)], (10, 2)[choice % 2]
        tool, client = TOOLS[place], self.clients[who]
        features = client.features
        if tool == "peek" and features.peek:
            self.judged(
                f"peek {limit} of {queue}",
                lambda: client.peek(queue, limit),
                lambda found, at: self.model.peeked(queue, limit, found, at),
            )
        elif tool == "purge" and features.inspect:
            delayed = client.sizes([queue])[0].delayed is not None
            self.judged(
                f"purge {queue}",
                lambda: client.purge(queue),
                lambda told, at: self.model.purged(queue, told, at, delayed=delayed),
            )
        elif tool == "queues" and features.lists:
            self.judged("queues", client.queues, self.named)
        elif features.inspect and not self.place.manner.lag:
            self.judged("sizes", lambda: client.sizes(QUEUES), self.sized)

    def named(self, names: list[str], at: Span) -> None:
        if names != sorted(set(names)) or not self.model.queues <= set(names):
            raise Trouble(f"queues: {names}, and there must be {sorted(self.model.queues)}")

    def sized(self, sizes: Sequence[Any], at: Span) -> None:
        if [size.queue for size in sizes] != list(QUEUES):
            raise Trouble("sizes: not in the order asked")
        for size in sizes:
            self.model.sized(size, at)

    # -- the end -------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        """All that was stored and not settled must come, each once, and then nothing more."""
        try:
            if not self.broken and hasattr(self, "model"):
                self.drain()
        finally:
            for client in getattr(self, "opened", ()):
                client.close()

    def drain(self) -> None:
        for who, client in enumerate(self.clients):
            self.close(client, f"client {who}")
        last = self.connect()
        unit = self.place.unit
        for _ in range(LOOKS):
            now = self.place.now()
            waiting = self.model.unfinished(now)
            if not waiting:
                break
            if not self.settled(last, QUEUES):
                ready_at = min(message.free.high for message in waiting)
                self.pass_time(min(max(ready_at - now, unit / 10) + self.place.manner.slack, 100 * unit))
        else:
            names = " ".join(message.payload.decode() for message in self.model.unfinished(self.place.now()))
            self.judged("at the end", lambda: None, lambda _, at, names=names: lost(names))  # type: ignore[misc]
        self.pass_time(4 * unit if self.place.virtual or not self.place.patience else unit)
        while self.settled(last, QUEUES):
            pass  # what may still have been there; what is settled must not come back
        if last.features.inspect and not self.place.manner.lag:
            self.judged("sizes", lambda: last.sizes(QUEUES), self.sized)

    def settled(self, client: Any, order: Sequence[str]) -> bool:
        holds = self.take(client, order, 10, "the last one")
        if holds:
            batch = [hold.delivery for hold in holds]
            self.judged(
                "the last one acks", lambda: client.ack(batch), lambda gone, at: self.model.acked(holds, gone, at)
            )
        return bool(holds)


def lost(names: str) -> None:
    raise Trouble(f"lost: {names} never came")


def described(out: Outgoing) -> str:
    """A message in a few letters."""
    marks = [out.payload.decode(), out.queue]
    marks += [f"p{out.priority}"] if out.priority else []
    marks += ["late"] if out.not_before else []
    marks += ["ends"] if out.expires_at else []
    return ":".join([*marks, out.order_key, out.dedup_key]).rstrip(":")
