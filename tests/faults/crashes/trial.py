"""One case: a scenario on a place with the faults that are meant for it, from the first send to the rest.

The process that runs a case is single-threaded and opens no port: everything happens in forks of it, so that a case
costs milliseconds of processor time, and a killed worker is followed by the next one at once.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from faults.crashes import mutant_adapters, mutant_core, roles
from faults.crashes.places import Place
from faults.crashes.points import Event, Fault, Process, Role, journal
from faults.crashes.scenarios import SCENARIOS, Scenario

#: Processes of one case after which it is stuck, and seconds after which it is: a busy machine must not be taken for a
#: stuck one. A mutant that is expected to be stuck has less patience.
MOST_LIVES: Final = 24
PATIENCE: Final = 120.0
#: Seconds for which the successor of a frozen process has run when that goes on.
WATCHED: Final = 0.1
#: The auditor's number.
AUDITOR: Final = 99


class Case(msgspec.Struct, frozen=True):
    """What is tried."""

    number: int
    scenario: str
    faults: tuple[Fault, ...] = ()
    mutant: str = ""
    patience: float = PATIENCE

    def __str__(self) -> str:
        faults = ", then ".join(map(str, self.faults)) or "no fault"
        return f"{self.scenario}: {faults}{f' [{self.mutant}]' if self.mutant else ''}"


class Course(msgspec.Struct):
    """How a case went, beside what its journal says."""

    #: What ended it before it came to rest; "" when it came to rest.
    stuck: str = ""
    seconds: float = 0.0


def run(place: Place, case: Case, folder: Path, tag: str) -> Course:
    """Run a case in a folder of its own. `tag` is in the names of what it has on a server."""
    began_at = time.monotonic()
    course = Course()
    try:
        _Stage(place, case, folder, tag).play()
    except _Stuck as stuck:
        course.stuck = str(stuck)
    course.seconds = time.monotonic() - began_at
    return course


class _Stuck(Exception):
    """The case does not come to rest."""


class _Stage:
    """The processes of one case."""

    def __init__(self, place: Place, case: Case, folder: Path, tag: str) -> None:
        self._place = place
        self._case = case
        self._folder = folder
        self._scenario: Scenario = SCENARIOS[case.scenario]
        self._urls = place.of(folder, tag)
        self._lives = 0
        self._limit = case.patience
        self._until = time.monotonic() + self._limit
        #: Of each process that lives: its number and whether it is frozen.
        self._alive: dict[int, int] = {}
        self._frozen: dict[int, float] = {}
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})

    def play(self) -> None:
        """From the first send to the rest, then look at what is left."""
        try:
            self._alone("producer", roles.produce)
            self._work()
            if self._scenario.requeued:
                self._alone("operator", roles.operate)
                self._work()
        finally:
            for pid in self._alive:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            self._alive.clear()
        pid = roles.fork(
            self._folder, AUDITOR, self._limit, lambda: roles.audit(self._place, self._urls, self._folder)
        )  # fmt: skip
        if os.waitpid(pid, 0)[1]:
            raise _Stuck(f"the audit failed: {self._said(AUDITOR)}")

    # -- processes -------------------------------------------------------------------------------------------------

    def _start(self, role: Role, act: Callable[..., None]) -> None:
        self._lives += 1
        life = self._lives
        if life > MOST_LIVES:
            raise _Stuck(f"{MOST_LIVES} processes were not enough")
        number = next((n for n in range(len(self._case.faults)) if not (self._folder / f"fault-{n}").exists()), -1)
        fault = self._case.faults[number] if number >= 0 else None

        def live() -> None:
            _break(self._case.mutant)
            process = Process(self._folder, life, role, fault, number)
            act(self._place, self._urls, self._scenario, process)
            process.note("exit")

        self._alive[roles.fork(self._folder, life, self._limit, live)] = life

    def _alone(self, role: Role, act: Callable[..., None]) -> None:
        """One process after the other, until one comes to its end."""
        while True:
            self._start(role, act)
            while self._alive:
                if self._next() == 0:
                    return

    def _work(self) -> None:
        """Workers, until one of them finds all at rest; the others find it too."""
        for _ in range(self._scenario.workers):
            self._start("worker", roles.work)
        while self._alive:
            status = self._next()
            if status == -signal.SIGSTOP:
                self._start("worker", roles.work)
            elif status == 0:
                self._continue(lambda: True)
            elif status is not None and (not self._alive or len(self._alive) < self._scenario.workers):
                self._start("worker", roles.work)

    def _next(self) -> int | None:
        """Wait for the next thing: 0 for an end, -number for a signal (SIGSTOP: it is frozen), None for nothing yet."""
        if time.monotonic() > self._until:
            raise _Stuck(f"not at rest after {self._limit:g} s")
        pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
        if not pid:
            self._continue(self._is_followed)
            signal.sigtimedwait({signal.SIGCHLD}, 0.05)
            return None
        if os.WIFSTOPPED(status):
            self._frozen[pid] = time.monotonic()
            return -signal.SIGSTOP
        life = self._alive.pop(pid)
        self._frozen.pop(pid, None)
        code = os.waitstatus_to_exitcode(status)
        if code not in (0, -signal.SIGKILL, roles.STOPPED):
            raise _Stuck(f"process {life} ended with {code}: {self._said(life)}")
        return code

    def _continue(self, wanted: Callable[[], bool]) -> None:
        """Let frozen processes go on when somebody else has what they had, or that has become unlikely."""
        for pid, since in list(self._frozen.items()):
            if wanted() or time.monotonic() > since + 2.5 * self._place.lease:
                del self._frozen[pid]
                Process(self._folder, self._alive[pid], "worker").note("continued")
                os.kill(pid, signal.SIGCONT)

    def _is_followed(self) -> bool:
        """Whether what a frozen process held has begun to run elsewhere."""
        events = journal(self._folder)
        frozen_at = max(event.at for event in events if event.what == "fault")
        latest = time.time() - WATCHED
        return any(e.what == "begun" and frozen_at < e.at < latest and e.words[3] != 0 for e in events)

    def _said(self, life: int) -> str:
        """The last line of what a process wrote."""
        try:
            lines = (self._folder / f"{life:02}.log").read_text("utf-8", "replace").split("\n")
        except OSError:
            return ""
        return next((line[-300:] for line in reversed(lines) if line.strip()), "")


def _break(mutant: str) -> None:
    """Become a mutant, the function of this name; "" for none."""
    if mutant:
        name = mutant.replace(" ", "_")
        (getattr(mutant_core, name, None) or getattr(mutant_adapters, name))()


def audited(folder: Path) -> dict[str, Any]:
    """What the audit of a folder found."""
    try:
        return dict(json.loads((folder / "audit.json").read_bytes()))
    except OSError:
        return {"letters": [], "results": {}, "left": []}


def points_of(events: list[Event], life: int = 0) -> list[tuple[Role, str, int]]:
    """The points that were reached, each with its hit; with `life`, by processes from that number on."""
    found = [tuple(event.words) for event in events if event.what == "point" and event.life >= life]
    return list(dict.fromkeys(found))
