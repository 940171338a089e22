"""The state machines of the other ports: result store, coordination service and schedule store."""

from __future__ import annotations

from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from faults.models.machine import STEPS, Traced
from faults.models.model_stores import FactModel, ParkedModel, RecordModel
from kernel.ports import Acquire, Claim, Parked, Record, Take, Tally

NAMES = ("x", "y", "z")
OWNERS = ("me", "you", "they")
#: Generation, attempt and fence; by text 10 would be less than 2.
RANKS = ((0, 0, 0), (0, 0, 1), (0, 2, 0), (0, 10, 0), (1, 0, 0), (1, 0, 1))
#: Times to live, in thirds of a lease; 0.0 is for ever.
TTLS = (0.0, 1.5, 3.0)
#: Most slots of each key, and the burst of each bucket.
LIMIT = 2


class StoreMachine(Traced):
    """Two adapters of one port in one namespace; either may be closed and made anew."""

    port: ClassVar[str]
    model: Any

    def prepare(self, variant: int, model: type[Any]) -> None:
        self.begin(variant)
        self.opened: list[Any] = []
        self.clients = [self.connect(), self.connect()]
        self.model = model(self.place.manner.slack)
        self.serial = 0

    def connect(self) -> Any:
        adapter = getattr(self.place, self.port)()
        adapter.open()
        self.opened.append(adapter)
        return adapter

    def later(self, client: Any, digits: Digits) -> None:
        self.pass_time(digits.of(STEPS) * self.place.unit)

    def reopen(self, client: Any, digits: Digits) -> None:
        self.judged("one closes", client.close, lambda _, at: None)
        self.clients[self.clients.index(client)] = self.connect()

    def next_value(self) -> bytes:
        self.serial += 1
        return b"v%d" % self.serial

    def teardown(self) -> None:
        for adapter in getattr(self, "opened", ()):
            adapter.close()


class Digits:
    """A number as a supply of choices; 0 chooses the first of everything."""

    def __init__(self, number: int) -> None:
        self.number = number

    def of(self, choices: Any) -> Any:
        """The next choice."""
        self.number, index = divmod(self.number, len(choices))
        return choices[index]


def stepping(*commands: str) -> Any:
    """The one rule of a machine."""
    return rule(command=st.sampled_from(commands), who=st.integers(0, 1), number=st.integers(0, 1 << 22))


class RecordMachine(StoreMachine):
    """Ranked records: what stands is what must be returned."""

    port = "results"

    @initialize(variant=st.integers(0, 59))
    def start(self, variant: int) -> None:
        self.prepare(variant, RecordModel)

    @stepping("put", "put", "put", "get", "later", "forget", "reopen")
    def step(self, command: str, who: int, number: int) -> None:
        getattr(self, command)(self.clients[who], Digits(number))

    def put(self, client: Any, digits: Digits) -> None:
        ttl = digits.of(TTLS) * self.place.unit
        items = [
            Record(digits.of(NAMES), self.next_value(), digits.of((False, True)), digits.of(RANKS))
            for _ in range(digits.of((1, 2, 3)))
        ]
        told = " ".join(f"{i.key}={i.value.decode()}{'!' if i.final else ''}{i.rank}" for i in items)
        self.judged(
            f"put {told} for {ttl:g} s",
            lambda: client.put(items, ttl),
            lambda answer, at: self.model.put(items, ttl, answer, at),
        )

    def get(self, client: Any, digits: Digits) -> None:
        wait = digits.of((False, True)) and client.features.wait
        self.judged(
            "wait" if wait else "get",
            lambda: client.wait(NAMES, 0.0) if wait else client.get(NAMES),
            lambda answer, at: self.model.got(NAMES, answer, at),
        )

    def forget(self, client: Any, digits: Digits) -> None:
        keys = [digits.of(NAMES)]
        self.judged(f"delete {keys}", lambda: client.delete(keys), lambda _, at: self.model.deleted(keys))


class FactMachine(StoreMachine):
    """Claims, sets, buckets and slots."""

    port = "coordination"

    @initialize(variant=st.integers(0, 59))
    def start(self, variant: int) -> None:
        self.prepare(variant, FactModel)

    @stepping("claim", "claim", "drop", "tally", "take", "acquire", "acquire", "free", "later", "reopen")
    def step(self, command: str, who: int, number: int) -> None:
        getattr(self, command)(self.clients[who], Digits(number))

    def claim(self, client: Any, digits: Digits) -> None:
        ttl = digits.of(TTLS[1:]) * self.place.unit
        items = [Claim(digits.of(NAMES), digits.of(OWNERS), ttl) for _ in range(digits.of((1, 2)))]
        self.judged(f"{items}", lambda: client.claim(items), lambda told, at: self.model.claimed(items, told, at))

    def drop(self, client: Any, digits: Digits) -> None:
        items = [(digits.of(NAMES), digits.of(OWNERS))]
        self.judged(f"drop {items}", lambda: client.drop(items), lambda _, at: self.model.dropped(items))

    def tally(self, client: Any, digits: Digits) -> None:
        ttl = digits.of(TTLS[1:]) * self.place.unit
        items = [Tally(digits.of(NAMES), digits.of(OWNERS), ttl) for _ in range(digits.of((1, 2)))]
        self.judged(f"{items}", lambda: client.tally(items), lambda told, at: self.model.tallied(items, told, at))

    def take(self, client: Any, digits: Digits) -> None:
        rate = 0.5 / self.place.unit
        items = [Take(digits.of(NAMES), digits.of((1.0, 2.0, 0.5, 3.0)), rate, LIMIT)]
        self.judged(f"{items}", lambda: client.take(items), lambda told, at: self.model.took(items, told, at))

    def acquire(self, client: Any, digits: Digits) -> None:
        ttl = digits.of(TTLS[1:]) * self.place.unit
        items = [Acquire(digits.of(NAMES[:2]), digits.of(OWNERS), LIMIT, ttl) for _ in range(digits.of((1, 2)))]
        self.judged(f"{items}", lambda: client.acquire(items), lambda told, at: self.model.acquired(items, told, at))

    def free(self, client: Any, digits: Digits) -> None:
        items = [(digits.of(NAMES[:2]), digits.of(OWNERS))]
        self.judged(f"release {items}", lambda: client.release(items), lambda _, at: self.model.freed(items))


class ParkedMachine(StoreMachine):
    """Entries that wait, are taken under a lease, and are removed."""

    port = "schedules"

    @initialize(variant=st.integers(0, 59))
    def start(self, variant: int) -> None:
        self.prepare(variant, ParkedModel)

    @stepping("add", "add", "take", "take", "remove", "look", "later", "reopen")
    def step(self, command: str, who: int, number: int) -> None:
        getattr(self, command)(self.clients[who], Digits(number))

    def add(self, client: Any, digits: Digits) -> None:
        now, unit = self.place.now(), self.place.unit
        entries = [
            Parked(
                digits.of(("s", "t")),
                digits.of(NAMES),
                now + digits.of((0.0, 1.0, 2.5, -1.0)) * unit,
                self.next_value(),
            )
            for _ in range(digits.of((1, 2)))
        ]
        self.judged(f"add {entries}", lambda: client.add(entries), lambda _, at: self.model.added(entries))

    def take(self, client: Any, digits: Digits) -> None:
        space, limit = digits.of(("s", "t")), digits.of((10, 1))
        lease = digits.of((3.0, 1.0)) * self.place.unit
        now = self.place.now() + digits.of((0.0, 0.0, 1.0)) * self.place.unit
        self.judged(
            f"take {limit} of {space} due at {now:.3f} for {lease:g} s",
            lambda: client.take(space, now, limit, lease),
            lambda told, at: self.model.taken(space, now, limit, lease, told, at),
        )

    def remove(self, client: Any, digits: Digits) -> None:
        """What is there, or what would be there if it had not been replaced."""
        known = [entry for entry, _ in self.model.entries.values()]
        if known:
            entry = digits.of(known)
            given = Parked(entry.space, entry.key, entry.due_at + digits.of((0.0, 0.5)), entry.payload)
            self.judged(f"remove {given}", lambda: client.remove([given]), lambda _, at: self.model.removed([given]))

    def look(self, client: Any, digits: Digits) -> None:
        space = digits.of(("s", "t"))
        self.judged(f"next of {space}", lambda: client.next_at(space), lambda told, at: self.model.next_at(space, told))
