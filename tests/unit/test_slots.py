"""Slots that are handed over, step by step: nothing over the limit, nothing stranded; and mutants that do either."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from kernel_memory import MemoryCoordination, MemorySchedules, MemoryTransport
from kernel_memory.space import Space

from kernel.clock import FakeClock
from kernel.errors import Unavailable
from kernel.ports import Acquire, Parked
from kernel.sealing.transport import read_plain
from kernel.worker import slots as module
from kernel.worker.slots import KEYS, MOVING, Slots

TTL = 45.0


class Schedules(MemorySchedules):
    """Somebody else does something after a call of this one."""

    then: dict[str, Callable[[], object]]

    def _after(self, what: str) -> None:
        self.then.pop(what, lambda: None)()

    def add(self, entries: Sequence[Parked]) -> None:
        super().add(entries)
        self._after("add")

    def take(self, space: str, now: float, limit: int, lease: float) -> list[Parked]:
        taken = super().take(space, now, limit, lease)
        self._after("take")
        return taken

    def remove(self, entries: Sequence[Parked]) -> None:
        self._after("remove")
        super().remove(entries)


class Scene:
    """One key `k` with a limit of 1, and messages that want it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        space = Space()
        self.coordination = MemoryCoordination(space, clock=self.clock)
        self.schedules = Schedules(space, clock=self.clock)
        self.schedules.then = {}
        self.transport = MemoryTransport(clock=self.clock)
        for port in (self.coordination, self.schedules, self.transport):
            port.open()  # type: ignore[attr-defined]
        self.slots = Slots(self.coordination, self.schedules, self.transport, read_plain, TTL, self.clock)
        self.time = 0.0

    def want(self, owner: str, limit: int = 1) -> Acquire:
        return Acquire("k", owner, limit, TTL)

    def enter(self, owner: str) -> bool:
        """A message comes to a worker: it has a slot, or it is parked."""
        if self.slots.acquire([self.want(owner)])[0]:
            return True
        self.park(owner)
        return False

    def park(self, owner: str) -> None:
        self.time += 1.0
        self.slots.park([(self.want(owner), self.time, "q", owner.encode())])

    def leave(self, owner: str) -> None:
        self.slots.let_go([self.want(owner)])

    def moved(self) -> list[str]:
        """What was sent on to the queue since the last look."""
        found = self.transport.receive(["q"], 10, 0.0)
        self.transport.ack(found)
        return [delivery.payload.decode() for delivery in found]

    def holds(self, owner: str) -> bool:
        """Whether a message has the slot, asked without changing anything."""
        return bool(self.coordination._space.slots.get("k", self.clock.monotonic())) and owner in (
            self.coordination._space.slots.get("k", self.clock.monotonic()) or {}
        )

    @property
    def waiting(self) -> bool:
        return self.schedules.next_at("limit:k") is not None


def test_a_slot_goes_to_the_next_that_waits_and_is_never_free() -> None:
    scene = Scene()
    assert scene.enter("a")
    assert [scene.enter(name) for name in "bc"] == [False, False]
    assert scene.moved() == []
    scene.leave("a")
    assert scene.moved() == ["b"]
    assert scene.holds("b")
    assert not scene.slots.acquire([scene.want("newcomer")])[0]
    assert scene.enter("b"), "it has its slot already"
    scene.leave("b")
    assert scene.moved() == ["c"]
    scene.leave("c")
    assert not scene.waiting
    assert scene.enter("d")


def a_holder_that_leaves_just_before_another_parks() -> None:
    scene = Scene()
    assert scene.enter("a")
    assert not scene.slots.acquire([scene.want("b")])[0]
    scene.leave("a")  # and finds nobody
    scene.park("b")
    assert scene.moved() == ["b"], "it is stranded"
    assert scene.holds("b")


def one_that_parks_just_before_a_slot_is_left_to_nobody() -> None:
    scene = Scene()
    assert scene.enter("a")
    scene.schedules.then["take"] = lambda: scene.enter("b")  # refused: the slot is not free yet
    scene.leave("a")
    assert scene.moved() == ["b"], "it is stranded"
    assert scene.holds("b")


def one_that_runs_before_who_parked_it_looks_again() -> None:
    scene = Scene()
    assert scene.enter("a")
    scene.park("c")

    def meanwhile() -> None:
        scene.leave("a")
        scene.leave("c")
        assert scene.moved() == ["c", "b"]
        assert scene.enter("b"), "it runs"
        scene.park("d")

    scene.schedules.then["add"] = meanwhile
    scene.park("b")
    assert scene.holds("b"), "its slot was given to another one while it ran"
    assert scene.moved() == []


def a_holder_that_is_killed() -> None:
    scene = Scene()
    assert scene.enter("dead")
    assert [scene.enter(name) for name in "bc"] == [False, False]
    scene.clock.advance(TTL / 2)
    scene.slots.look()
    assert scene.moved() == []
    scene.clock.advance(TTL / 2 + 1.0)
    scene.slots.look()
    assert scene.moved() == ["b"], "nobody has looked after it"
    scene.leave("b")
    assert scene.moved() == ["c"]
    scene.leave("c")
    scene.clock.advance(TTL)
    scene.slots.look()
    assert scene.schedules.next_at(KEYS) is None, "a key at which nobody waits is looked at for ever"


def a_crash_between_sending_and_removing() -> None:
    scene = Scene()
    assert scene.enter("a")
    assert not scene.enter("b")

    def crash() -> None:
        raise Unavailable("killed")

    scene.schedules.then["remove"] = crash
    with pytest.raises(Unavailable):
        scene.leave("a")
    assert scene.moved() == ["b"]
    scene.clock.advance(MOVING + 1.0)
    scene.slots.look()
    assert scene.moved() == ["b"], "a second time, and not never"


SCENES = [
    a_holder_that_leaves_just_before_another_parks,
    one_that_parks_just_before_a_slot_is_left_to_nobody,
    one_that_runs_before_who_parked_it_looks_again,
    a_holder_that_is_killed,
    a_crash_between_sending_and_removing,
]


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_nothing_is_stranded_and_nothing_runs_over_the_limit(scene: Callable[[], None]) -> None:
    scene()


# -- mutants -------------------------------------------------------------------------------------------------


def _never_again(self: Any, wants: Sequence[Acquire]) -> None:
    """Does not look again."""


def _in_its_own_name(self: Slots, wants: Sequence[Acquire]) -> None:
    """Looks again in the name of the message."""
    free = [want for want, has in zip(wants, self.acquire(wants), strict=True) if has]
    if free:
        self.let_go(free)


def _leaves_once(self: Slots, held: Sequence[Acquire]) -> None:
    """Does not look for those who parked meanwhile."""
    entries = self._take("k", len(held))
    self._hand([(entry, slot.owner) for entry, slot in zip(entries, held, strict=False)])
    self._coordination.release([(slot.key, slot.owner) for slot in held[len(entries) :]])


def _blind(self: Slots) -> None:
    """Looks after nobody."""


def _removes_first(self: Slots, entries: Sequence[Parked]) -> None:
    """Removes before it sends."""
    self._remove(entries)
    _send(self, entries)


_send = Slots._send

MUTANTS = [
    ("_look_again", _never_again, a_holder_that_leaves_just_before_another_parks),
    ("_look_again", _in_its_own_name, one_that_runs_before_who_parked_it_looks_again),
    ("let_go", _leaves_once, one_that_parks_just_before_a_slot_is_left_to_nobody),
    ("look", _blind, a_holder_that_is_killed),
    ("_send", _removes_first, a_crash_between_sending_and_removing),
]


@pytest.mark.parametrize(("method", "mutant", "scene"), MUTANTS, ids=lambda value: getattr(value, "__name__", value))
def test_a_mutant_is_caught(
    method: str, mutant: Any, scene: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.Slots, method, mutant)
    with pytest.raises(AssertionError):
        scene()
