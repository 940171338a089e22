"""Seeded random faults on a running system, and the verdict of the ledger when it has come to rest."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from threading import Event

from services.server import Server

from faults.crew import Crew
from faults.ledger import Books

#: Lease of the transport in these runs, where it has one; seconds.
LEASE = 2.0
#: Longest wait for the system to come to rest after the last fault, in seconds.
REST = 90.0

_pause = Event()


@dataclass
class Verdict:
    """What came of one run."""

    seed: int
    tasks: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    lost: set[str] = field(default_factory=set)
    phantoms: set[str] = field(default_factory=set)
    refused_and_run: set[str] = field(default_factory=set)
    duplicates: int = 0
    most_often: int = 0
    seconds: float = 0.0

    @property
    def faults_in_all(self) -> int:
        """How many."""
        return self.faults.total()

    def trouble(self) -> str:
        """What the run shows to be wrong, "" for nothing."""
        found = []
        for what, keys in (("lost", self.lost), ("phantom", self.phantoms), ("refused and run", self.refused_and_run)):
            if keys:
                found.append(f"{len(keys)} {what}: {sorted(keys)[:5]}")
        if self.duplicates and not self.faults_in_all:
            found.append(f"{self.duplicates} ran twice without a fault")
        if self.most_often > self.faults_in_all + 1:
            found.append(f"one ran {self.most_often} times with {self.faults_in_all} faults")
        return "; ".join(found) and f"seed {self.seed}: {'; '.join(found)}"


class Engine:
    """Runs one system through one schedule of faults."""

    def __init__(self, folder: Path, transport: str, results: str, server: Server | None, seed: int) -> None:
        self.random = Random(seed)
        self.server = server
        self.verdict = Verdict(seed)
        self._folder = folder
        self.crew = Crew(folder, transport, results)
        self._menu: list[tuple[str, Callable[[], bool]]] = [
            ("a worker process killed", self._kill_child),
            ("a worker process killed", self._kill_child),
            ("a worker process frozen beyond its lease", self._freeze_child),
            ("the supervisor killed", self._kill_supervisor),
            ("the worker replaced in the orderly way", self._roll),
            ("a producer killed", self.crew.kill_producer),
        ]
        if server is not None:
            self._menu += [
                ("the server killed", self._kill_server),
                ("the server restarted", self._restart_server),
                ("the server frozen for a second", self._freeze_server),
            ]

    def run(self, tasks: int, faults: int) -> Verdict:
        """Send so many tasks under so many faults, and wait until all is at rest."""
        began = time.monotonic()
        try:
            self.crew.worker.ready(2)
            producers = 2
            for number in range(producers):
                self.crew.produce(tasks // producers, self.verdict.seed * 100 + number)
            for _ in range(faults):
                _pause.wait(self.random.uniform(0.05, 0.4))
                name, fault = self.random.choice(self._menu)
                if fault():
                    self.verdict.faults[name] += 1
            self._rest()
        finally:
            self.crew.close()
        self.verdict.seconds = time.monotonic() - began
        return self.verdict

    def _rest(self) -> None:
        """Wait until every confirmed task has ended, and then for what comes twice; and add up."""
        deadline = time.monotonic() + REST
        books = Books.of(self._folder)
        while time.monotonic() < deadline and (self.crew.producing or books.unfinished):
            _pause.wait(0.2)
            books = Books.of(self._folder)
        _pause.wait(1.0)
        books = Books.of(self._folder)
        verdict = self.verdict
        verdict.tasks, verdict.lost, verdict.phantoms = len(books.attempted), books.unfinished, books.phantoms
        verdict.refused_and_run = books.refused_and_run
        verdict.duplicates, verdict.most_often = books.duplicates, books.most_often

    # -- faults ----------------------------------------------------------------------------------------------------

    def _child(self) -> int:
        children = self.crew.children()
        return self.random.choice(children) if children else 0

    def _kill_child(self) -> bool:
        return _signal(self._child(), signal.SIGKILL)

    def _freeze_child(self) -> bool:
        pid = self._child()
        if not _signal(pid, signal.SIGSTOP):
            return False
        _pause.wait(LEASE * 1.3)
        return _signal(pid, signal.SIGCONT)

    def _kill_supervisor(self) -> bool:
        self.crew.replace(signal.SIGKILL)
        return True

    def _roll(self) -> bool:
        self.crew.replace(signal.SIGTERM)
        return True

    def _kill_server(self) -> bool:
        assert self.server is not None
        self.server.kill()
        _pause.wait(self.random.uniform(0.0, 0.5))
        self.server.start()
        return True

    def _restart_server(self) -> bool:
        assert self.server is not None
        self.server.restart()
        return True

    def _freeze_server(self) -> bool:
        assert self.server is not None
        self.server.pause()
        _pause.wait(1.0)
        self.server.resume()
        return True


def _signal(pid: int, number: int) -> bool:
    if not pid:
        return False
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
