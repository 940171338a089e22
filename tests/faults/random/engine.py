"""Seeded random faults on a running system, and the verdict of the ledger when it has come to rest."""

from __future__ import annotations

import heapq
import os
import time
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from random import Random
from threading import Event

from support import slowness

from faults.crew import Crew
from faults.ledger import Books, Ledger
from faults.random.audit import Audit
from faults.random.menu import Fault, Mishap, Struck, happened, menu
from faults.random.schedule import CALM, Strike, one_by_one, schedule
from faults.random.verdict import Verdict
from faults.systems import Rig, System
from kernel import Kernel
from kernel.options import Call

#: What has not ended is lost when no task has ended for so many seconds, and slow until then; longest wait in all.
REST, LONGEST_REST = 30.0, 900.0
#: After a calm a task must have ended within so many leases, on a machine that has nothing else to do.
RECOVERY = 3.0
#: Seconds that a calm takes at least, about; producers are to last that much longer.
CALM_TAKES = 0.5
#: A burst has the tasks of so many seconds; how many measure the throughput, and seconds that one may take.
BURST, BURSTS, LONGEST_BURST = 2.0, 3, 60.0
#: The throughput after all faults is at least this share of that before them, where nothing else runs.
PACE = 0.5
#: Seconds after which an operator looks at what is not coming to rest.
PATIENCE = 15.0
#: A system that is not broken yet must have run a task within so many seconds.
START = 120.0
PRODUCERS = 2

_pause = Event()


class Engine:
    """Runs one system through one schedule of faults."""

    def __init__(self, folder: Path, system: System, seed: int, *, alone: bool = False) -> None:
        """`alone`: the machine has nothing else to do. Then promises of seconds are taken as they stand, and the
        throughput of before must be back."""
        self.verdict = Verdict(seed)
        self._alone = alone
        self._folder = folder
        self._system = system
        self._rig: Rig = system.rig(folder, seed)
        self._app = Kernel("harness", send_timeout=10.0, **{k: v for k, v in self._rig.direct.items() if v})
        self._ledger = Ledger(folder)
        self._books = Books()
        self._crew = Crew(folder, self._rig.settings)
        self._menu: dict[str, Fault] = menu(self._crew, self._rig)
        self._mishaps: list[Mishap] = []
        #: What is to be undone: when, in which order, what.
        self._undo: list[tuple[float, int, Callable[[], object], Mishap]] = []
        self._order = count()
        self._probes = 0

    def schedule(self, faults: int) -> list[Strike]:
        """What this seed does to this system."""
        return schedule(self.verdict.seed, self._kinds, faults)

    def one_by_one(self) -> list[Strike]:
        """Every fault that there is for this system, each with a calm after it."""
        return one_by_one(self.verdict.seed, self._kinds)

    @property
    def lease(self) -> float:
        """Seconds after which what a dead worker held is somebody else's."""
        return self._rig.lease

    @property
    def _kinds(self) -> dict[str, tuple[int, float, float]]:
        return {name: fault[:3] for name, fault in self._menu.items()}

    def run(self, tasks: int, faults: int, strikes: Sequence[Strike] | None = None) -> Verdict:
        """Send so many tasks under so many faults (or those of `strikes`), and wait until all is at rest."""
        began = time.monotonic()
        strikes = self.schedule(faults) if strikes is None else strikes
        try:
            self._warm_up()
            if self._alone:
                self._be_whole()
                self._pace()
            calms = sum(strike.fault == CALM for strike in strikes) * CALM_TAKES
            length = max(strikes[-1].at + calms if strikes else 0.0, tasks / self._system.rate)
            for number in range(PRODUCERS):
                self._crew.produce(tasks // PRODUCERS, self.verdict.seed * 100 + number, tasks / PRODUCERS / length)
            self._strike(strikes)
            self._heal()
            self._rest()
        finally:
            self._heal()
            self._crew.close()
            self._app.close()
            self._rig.close()
        self.verdict.seconds = time.monotonic() - began
        return self.verdict

    def _warm_up(self) -> None:
        """Let everything have happened once, so that nothing is younger than its service needs to keep it."""
        if self._probe(START) >= START:
            raise RuntimeError(f"no task ended within {START:g} s, before any fault:\n{self._crew.worker.log[-4000:]}")
        if self._rig.warm_up_for:
            ahead = [f"d-{self.verdict.seed}-ahead-{number}" for number in range(6)]
            self._ledger.write("attempt", *ahead)
            for number, key in enumerate(ahead):
                self._app.send_task("faults.work", (key,), task_id=key, countdown=0.12 * 2**number, priority=number)
            self._ledger.write("confirmed", *ahead)
            _pause.wait(self._rig.warm_up_for)

    # -- the schedule ----------------------------------------------------------------------------------------------

    def _strike(self, strikes: Sequence[Strike]) -> None:
        began = time.monotonic()
        for strike in strikes:
            self._undo_until(began + strike.at)
            if strike.fault == CALM:
                calm = time.monotonic()
                self._heal()
                self._recover()
                began += time.monotonic() - calm
                continue
            now = time.monotonic()
            began = max(began, now - strike.at)  # what took long, such as a start of the server, makes the rest later
            struck = self._menu[strike.fault].strike(Random(strike.salt))
            if struck is not None:
                self._happened(strike, struck, now)
            self._look_after()

    def _happened(self, strike: Strike, struck: Struck, began: float) -> None:
        mishap = happened(strike.fault, struck, began)
        self._mishaps.append(mishap)
        self.verdict.faults[strike.fault] += 1
        heapq.heappush(self._undo, (time.monotonic() + strike.lasts, next(self._order), struck.undo, mishap))

    def _undo_until(self, moment: float) -> None:
        """Wait for that moment, and undo on the way what is due."""
        while True:
            due = min(self._undo[0][0] if self._undo else moment, moment)
            _pause.wait(max(0.0, due - time.monotonic()))
            if not self._undo or self._undo[0][0] > moment:
                return
            self._undo_next()

    def _undo_next(self) -> None:
        _, _, undo, mishap = heapq.heappop(self._undo)
        undo()
        mishap.until = time.monotonic()

    def _heal(self) -> None:
        while self._undo:
            self._undo_next()

    def _look_after(self) -> None:
        """A supervisor that ended by itself is started again, as an operating system would, and the run has failed."""
        if self._crew.worker.process.poll() is not None:
            self.verdict.troubles.append(f"a worker ended by itself: {self._crew.worker.lines[-1:]}")
            self._crew.replace(0)

    # -- rest ------------------------------------------------------------------------------------------------------

    def _probe(self, longest: float) -> float:
        """Send one urgent task, and wait for its end; the seconds it took, `longest` when it did not come to one."""
        self._probes += 1
        key = f"w-{self.verdict.seed}-probe-{self._probes}"
        began = time.monotonic()
        self._ledger.write("attempt", key)
        self._app.send_task("faults.work", (key,), task_id=key, priority=9)
        self._ledger.write("confirmed", key)
        while key not in self._books.ends and time.monotonic() - began < longest:
            _pause.wait(0.05)
            self._books.update(self._folder)
        return time.monotonic() - began

    def _recover(self) -> None:
        longest = RECOVERY * self._rig.lease * (1.0 if self._alone else max(slowness(), crowding()))
        took = self._probe(longest * 2)
        last = self._mishaps[-1].name if self._mishaps else "none"
        self.verdict.recoveries[last] = max(self.verdict.recoveries.get(last, 0.0), took)
        if took > longest:
            self.verdict.troubles.append(f"{took:.1f} s after all was healed ({last}) no urgent task had ended")
        if self._alone:
            self._be_whole()

    def _be_whole(self) -> None:
        """Wait until the worker has all of its processes: the next fault is to find one of them."""
        latest = time.monotonic() + START
        while len(self._crew.children()) < self._crew.processes:
            if time.monotonic() >= latest:
                raise RuntimeError(f"a worker lacks processes:\n{self._crew.worker.log[-4000:]}")
            _pause.wait(0.05)

    def _pace(self) -> None:
        """Measure the throughput: the best of some bursts of plain tasks, each from its send to its last end."""
        size = round(self._system.rate * BURST)
        best = 0.0
        for _ in range(BURSTS):
            keys = [f"w-{self.verdict.seed}-burst-{next(self._order)}" for _ in range(size)]
            began = time.monotonic()
            self._ledger.write("attempt", *keys)
            self._app.send_many("faults.work", [Call((key,), None, {"task_id": key}) for key in keys])
            self._ledger.write("confirmed", *keys)
            self._books.update(self._folder)
            while self._unfinished and time.monotonic() - began < LONGEST_BURST:
                _pause.wait(0.02)
                self._books.update(self._folder)
            best = max(best, size / (self._books.last_end - began))
        self.verdict.paces.append(best)

    def _judge_pace(self) -> None:
        """Name it a trouble when the throughput of before the faults is not back."""
        self._pace()
        before, after = self.verdict.paces
        if after < before * PACE:
            self.verdict.troubles.append(f"{after:.0f} tasks a second after the faults, {before:.0f} before them")

    def _rest(self) -> None:
        """Wait until every confirmed task has ended, and then for what comes twice; and add up."""
        self._recover()
        latest = time.monotonic() + LONGEST_REST
        operator_at = time.monotonic() + PATIENCE
        progress, deadline = -1.0, 0.0
        while not self._is_at_rest():
            now = time.monotonic()
            if self._books.last_end != progress:
                progress, deadline = self._books.last_end, min(latest, now + REST * min(3.0, crowding()))
                operator_at = now + PATIENCE
            if now >= deadline:
                break
            if now >= operator_at:
                operator_at = latest
                if mended := self._rig.operator():
                    self.verdict.mended.append(mended)
                    progress = -1.0
            self._look_after()
            _pause.wait(0.2)
        if self._alone and not self._unfinished:
            self._judge_pace()
        _pause.wait(self._rig.lease / 4)
        self._books.update(self._folder)
        Audit(self._books, self._mishaps, self._rig, self._app, self.verdict).all()
        self._crew.close()
        self.verdict.troubles += [f"left: {line}" for line in self._rig.leftovers()[:5]]

    def _is_at_rest(self) -> bool:
        self._books.update(self._folder)
        return not self._crew.producing and not self._unfinished and not self._rig.pending(self._app)

    @property
    def _unfinished(self) -> set[str]:
        """Confirmed tasks that have not ended; bytes that are no task never do."""
        return {key for key in self._books.unfinished if key[0] != "g"}


def crowding() -> float:
    """How many processes want to run here for each that can; at least 1.0. A promise in seconds is one for an idle
    machine."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
