"""The catalogue of faults: what each does to a running system, whom it touches, and how it is undone."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path
from random import Random
from typing import NamedTuple

from services.server import Server

from faults.clock import EVERYBODY
from faults.crew import NEWEST, Crew
from faults.proxy import Proxy, Weather
from faults.systems import Rig

Undo = Callable[[], object]
#: Touches nobody's message: an orderly end must not make anything run twice.
NOBODY: frozenset[int] = frozenset()


def nothing() -> None:
    """What there is to undo of a fault that is over at once."""


@dataclass(slots=True)
class Struck:
    """What a fault did: whose executions it may have doubled (None: anybody's), and how it is undone."""

    pids: frozenset[int] | None = None
    undo: Undo = nothing


@dataclass(slots=True)
class Mishap:
    """A fault that happened."""

    name: str
    began: float
    until: float = inf
    pids: frozenset[int] | None = None

    def touches(self, pids: Iterable[int], since: float, until: float) -> bool:
        """Whether it was there at some moment between, and for one of these processes."""
        return self.began <= until and self.until >= since and (self.pids is None or not self.pids.isdisjoint(pids))


class Fault(NamedTuple):
    """One entry: how often it is chosen, how long it lasts at least and at most, what it does. None: it could not."""

    weight: int
    shortest: float
    longest: float
    strike: Callable[[Random], Struck | None]


def menu(crew: Crew, rig: Rig) -> dict[str, Fault]:
    """All that can happen to this system."""
    found = _of_workers(crew, rig)
    if rig.server is not None:
        found |= _of_server("the server", rig.server, durable=rig.durable)
    if rig.store is not None:
        found |= _of_server("the store's server", rig.store, durable=True)
    for what, proxies in (("the server", rig.proxies), ("the store", rig.store_proxies)):
        if proxies:
            found |= _of_network(what, proxies)
    if rig.files:
        found["the messages locked"] = Fault(2, 0.5, 2.5, lambda random: _lock(rig.files))
    if rig.store_files:
        found["the results locked"] = Fault(2, 0.5, 2.5, lambda random: _lock(rig.store_files))
    if rig.disk is not None:
        disk = rig.disk
        found["the disk full"] = Fault(2, 0.3, 2.0, lambda random: _fill(disk))
    return found


# -- workers and producers ---------------------------------------------------------------------------------------------


def _of_workers(crew: Crew, rig: Rig) -> dict[str, Fault]:
    lease = rig.lease
    return {
        "a worker process killed": Fault(5, 0.0, 0.0, lambda random: _kill_child(crew, random)),
        "a worker process frozen beyond its lease": Fault(
            4, lease * 1.2, lease * 1.8, lambda random: _freeze(_child(crew, random))
        ),
        "the supervisor killed": Fault(2, 0.0, 0.0, lambda random: _kill_supervisor(crew)),
        "the supervisor frozen": Fault(1, 0.5, 2.0, lambda random: _freeze(crew.worker.process.pid)),
        "the worker replaced in the orderly way": Fault(2, 0.0, 0.0, lambda random: _roll(crew, 0)),
        "an older version deployed": Fault(2, 1.0, 2.0, lambda random: _roll(crew, 1)),
        "a producer killed": Fault(1, 0.0, 0.0, lambda random: _kill_producer(crew)),
        # Where leases go by the clock of the machine, all workers are on it: no process has a time of its own.
        "the clock set" if rig.host_clock else "a worker's clock set": Fault(
            2, 0.5, 2.0, lambda random: _set_clock(crew, random, rig.host_clock)
        ),
    }


def _child(crew: Crew, random: Random) -> int:
    children = crew.children()
    return random.choice(children) if children else 0


def _signal(pid: int, number: int) -> bool:
    if not pid:
        return False
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def _kill_child(crew: Crew, random: Random) -> Struck | None:
    pid = _child(crew, random)
    return Struck(frozenset((pid,))) if _signal(pid, signal.SIGKILL) else None


def _freeze(pid: int) -> Struck | None:
    return Struck(frozenset((pid,)), lambda: _signal(pid, signal.SIGCONT)) if _signal(pid, signal.SIGSTOP) else None


def _kill_supervisor(crew: Crew) -> Struck:
    children = frozenset(crew.children())
    crew.replace(signal.SIGKILL)
    return Struck(children)


def _roll(crew: Crew, version: int) -> Struck:
    crew.replace(signal.SIGTERM, version)
    return Struck(NOBODY, (lambda: crew.replace(signal.SIGTERM, NEWEST)) if version else nothing)


def _kill_producer(crew: Crew) -> Struck | None:
    return Struck(NOBODY) if crew.kill_producer() else None


def _set_clock(crew: Crew, random: Random, everybody: bool) -> Struck | None:
    """A jump of some seconds: what a worker asks for by its own clock, such as a retry, is late or early by so much."""
    pid = EVERYBODY if everybody else _child(crew, random)
    if not pid and not everybody:
        return None
    crew.clocks.set(pid, random.choice((-1, 1)) * random.uniform(0.5, 4.0))
    return Struck(None if everybody else frozenset((pid,)), lambda: crew.clocks.set(pid, 0.0))


# -- servers -----------------------------------------------------------------------------------------------------------


def _of_server(what: str, server: Server, durable: bool) -> dict[str, Fault]:
    found = {f"{what} frozen": Fault(2, 0.3, 2.5, lambda random: _pause(server))}
    if durable:
        found[f"{what} killed"] = Fault(2, 0.0, 0.5, lambda random: _kill(server))
        found[f"{what} restarted"] = Fault(1, 0.0, 0.0, lambda random: _restart(server))
    return found


def _resume(server: Server) -> None:
    if server.pid:  # else this would be the group of the harness
        with suppress(ProcessLookupError):
            server.resume()


def _pause(server: Server) -> Struck | None:
    if not server.pid:
        return None
    server.pause()
    return Struck(None, partial(_resume, server))


def _kill(server: Server) -> Struck:
    server.kill()
    return Struck(None, server.start)


def _restart(server: Server) -> Struck:
    _resume(server)
    server.restart()
    return Struck()


# -- the network -------------------------------------------------------------------------------------------------------

#: What lasts: how often, and what it is like.
_WEATHERS: dict[str, tuple[int, Weather]] = {
    "half open": (1, Weather(lose_up=True, lose_down=True)),
    "deaf": (1, Weather(lose_up=True)),
    "mute": (1, Weather(lose_down=True)),
    "stalled": (1, Weather(hold_up=True, hold_down=True)),
    "late with its replies": (1, Weather(hold_down=True)),
    "slow": (1, Weather(latency=0.03, rate=2_000_000.0)),
    "refusing connections": (1, Weather(refuse=True)),
}


def _of_network(what: str, proxies: list[Proxy]) -> dict[str, Fault]:
    def each(act: Callable[[Proxy], object], undo: bool) -> Struck:
        for proxy in proxies:
            act(proxy)
        return Struck(None, lambda: [proxy.heal() for proxy in proxies] if undo else None)

    found = {
        f"connections to {what} reset": Fault(2, 0.0, 0.0, lambda random: each(Proxy.reset, False)),
        f"{what} cut off before its replies": Fault(3, 0.0, 0.0, lambda random: each(Proxy.cut_replies, False)),
    }
    for name, (weight, weather) in _WEATHERS.items():
        found[f"{what} {name}"] = Fault(
            weight, 0.3, 2.5, lambda random, weather=weather: each(lambda proxy: proxy.set(weather), True)
        )
    return found


# -- files -------------------------------------------------------------------------------------------------------------


def _lock(files: list[Path]) -> Struck | None:
    """Be the only writer, and write nothing."""
    connections = []
    for file in files:
        connection = sqlite3.connect(file, timeout=2.0, isolation_level=None)
        connections.append(connection)
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error:
            for each in connections:
                each.close()
            return None
    return Struck(None, lambda: [each.close() for each in connections])


def _fill(disk: Path) -> Struck | None:
    filler = disk / "filler"
    with filler.open("ab", 0) as file:
        with suppress(OSError):
            while file.write(bytes(1 << 16)):
                pass
    return Struck(None, lambda: filler.unlink(missing_ok=True))


def happened(name: str, struck: Struck, began: float) -> Mishap:
    """A record of it."""
    until = inf if struck.undo is not nothing else time.monotonic()
    return Mishap(name, began, until, struck.pids)
