"""Ports of a worker that may die at any call: before it has an effect, after it, and at every later one.

A process that is killed does nothing more. Here its ports see to that: once `Life.over`, each of them raises `Crash`,
so whatever the worker still does on its way out reaches nobody. Leases, claims and connections stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kernel.errors import Unavailable
from kernel.ports import Delivery


class Crash(BaseException):
    """The process does not exist any more."""


class Life:
    """The life of one worker. Both counters count moments: two for each port call, before it and after it."""

    def __init__(self, met: Callable[[str], None]) -> None:
        """`met` is told of each fault before it happens."""
        self.over = False
        #: Moments until the end; -1: never.
        self.crash_in = -1
        #: Moments until a call that fails, with or without its effect; -1: never.
        self.fail_in = -1
        #: What came in last, which nobody has in hand yet.
        self.received: Sequence[Delivery] = ()
        self._met = met

    def moment(self, name: str, done: bool) -> None:
        """One moment passes; `done`: the effect has happened."""
        if self.over:
            raise Crash
        self.crash_in -= self.crash_in >= 0
        self.fail_in -= self.fail_in >= 0
        if self.crash_in == 0:
            self._met(f"killed {'after' if done else 'before'} {name}")
            self.end()
            raise Crash
        if self.fail_in == 0:
            self._met(f"{name} fails, {'done' if done else 'not done'}")
            self.fail_in = -1
            raise Unavailable("a fault", sent="unknown" if done else "no")

    def end(self) -> None:
        """It is dead from now on."""
        self.over = True


def _mortal(name: str) -> Any:
    def call(self: Mortal, *arguments: Any) -> Any:
        return self.live(name, arguments)

    return call


class Mortal:
    """An adapter with a life. All that is not a call of the port goes through."""

    def __init__(self, inner: Any, life: Life) -> None:
        self.inner = inner
        self.life = life

    @property
    def features(self) -> Any:
        return self.inner.features

    def open(self) -> None:
        self.inner.open()

    def close(self) -> None:
        """Ends with its process, unheard."""

    def live(self, name: str, arguments: tuple[Any, ...]) -> Any:
        """One call."""
        self.life.moment(name, False)
        answer = getattr(self.inner, name)(*arguments)
        self.life.moment(name, True)
        return answer


class MortalTransport(Mortal):
    """A `receive` only looks: nobody else is there who could bring something meanwhile."""

    declare, send, ack, release = _mortal("declare"), _mortal("send"), _mortal("ack"), _mortal("release")
    extend, commit, sizes, peek = _mortal("extend"), _mortal("commit"), _mortal("sizes"), _mortal("peek")
    purge, queues = _mortal("purge"), _mortal("queues")

    def receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        self.life.moment("receive", False)
        got: list[Delivery] = self.inner.receive(queues, limit, 0.0)
        self.life.received = got
        self.life.moment("receive", True)
        return got

    def wake(self) -> None:
        """Nobody waits."""


class MortalResults(Mortal):
    """A result store."""

    put, get, delete, wait, rouse = _mortal("put"), _mortal("get"), _mortal("delete"), _mortal("wait"), _mortal("rouse")


class MortalCoordination(Mortal):
    """A coordination service."""

    claim, drop, tally = _mortal("claim"), _mortal("drop"), _mortal("tally")
    take, acquire, release = _mortal("take"), _mortal("acquire"), _mortal("release")
