"""One system in one round: its order, its client, its workers, its counts."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.peers.counter import Executions, Moment
from bench.peers.environments import DRIVERS, ask, programs, variables
from bench.peers.processes import Fleet, cpu, fine_cpu, tree
from bench.peers.servers import Server
from bench.peers.systems import System

#: Longest wait of one measurement, in seconds: the slow ones are cut, not waited for.
PATIENCE = 60.0
#: Longest start of the workers, in seconds.
START = 8.0
#: Share of the tasks that runs before the clock does: starts and first connections are no throughput.
LEAD = 0.05


@dataclass
class Trial:
    """What a workload works with."""

    system: System
    server: Server
    #: The configuration as the driver describes it.
    variant: dict[str, Any]
    #: Seconds that a run should last.
    seconds: float
    #: Rounds of the loop that takes two milliseconds.
    burn: int
    #: Seconds that the runs of this trial may take before they are cut.
    patience: float = PATIENCE

    def pace(self, kept: bool) -> float:
        """Tasks per second that are expected."""
        return float(self.variant["pace"][1 if kept else 0])

    @contextmanager
    def run(self, tasks: int, kept: bool, task: str = "noop") -> Iterator[Run]:
        """One run on an empty server; nothing of it stays."""
        folder = Path(tempfile.mkdtemp(prefix="kernel-peers-"))
        marks = folder / "marks"
        marks.mkdir()
        order = {
            "variant": self.system.variant,
            "broker": self.server.broker,
            "results": self.server.results,
            "kept": kept,
            "tasks": tasks,
            "marks": str(marks),
            "burn": self.burn,
            "task": task,
        }
        run = Run(self, tasks, folder, {"PEERS_ORDER": json.dumps(order), **self.variant["environment"]})
        try:
            yield run
        finally:
            run.end()
            self.server.reset()
            shutil.rmtree(folder, ignore_errors=True)


class Run:
    """A number of tasks, sent and executed once."""

    def __init__(self, trial: Trial, tasks: int, folder: Path, environment: dict[str, str]) -> None:
        self.trial = trial
        self.tasks = tasks
        self.executions = Executions(folder / "marks")
        self._folder = folder
        self._environment = environment
        self._fleet: Fleet | None = None

    def client(self, command: str) -> dict[str, Any]:
        """Let the system's client do something with all the tasks."""
        system = self.trial.system
        return ask(system.environment, system.driver, command, self._environment, self.trial.patience)

    def start(self) -> None:
        """Start the workers."""
        system = self.trial.system
        places = {
            "{bin}": str(programs(system.environment)),
            "{driver}": str(DRIVERS / f"{system.driver}.py"),
            "{drivers}": str(DRIVERS),
            "{broker}": self.trial.server.broker,
        }
        commands = [[_filled(word, places) for word in command] for command in self.trial.variant["workers"]]
        self._fleet = Fleet(commands, variables(self._environment), self._folder)

    @property
    def fleet(self) -> Fleet:
        """The workers, which were started."""
        assert self._fleet is not None
        return self._fleet

    def settle(self) -> None:
        """Wait until the workers have started: until they rest for a while. One that starts would disturb the other."""
        deadline = time.monotonic() + START
        quiet = 0
        while quiet < 2 and time.monotonic() < deadline:
            before = fine_cpu(self.fleet.pids())
            time.sleep(0.25)
            quiet = quiet + 1 if fine_cpu(self.fleet.pids()) - before < 0.25 * 0.05 else 0
        self.fleet.check()

    def end(self) -> None:
        """End the workers, if there are some."""
        if self._fleet is not None:
            self._fleet.stop()

    def until(self, enough: Callable[[int, int], bool]) -> Moment:
        """Wait for enough executions and processes that execute; `RuntimeError` when they do not come."""
        try:
            at, done = self.executions.wait(enough, self.trial.patience, self.fleet.check)
        except TimeoutError as error:
            raise RuntimeError(f"{error}; the workers said: {self.fleet.said()}") from None
        server = tree(self.trial.server.pids())
        return Moment(at, done, self.executions.processes, cpu(self.fleet.pids()), cpu(server))

    def span(self, first: int, last: int) -> dict[str, float]:
        """Tasks per second and CPU per task from the `first` execution to the `last`.

        The clock starts when the first share is done and every process has begun; where one process does all before
        the others have begun, it counts alone, and `processes` says so.
        """
        wanted = int(self.trial.variant["processes"])
        begun = self.until(lambda done, processes: done >= first and (processes >= wanted or done >= last * 0.5))
        ended = self.until(lambda done, processes: done >= last)
        tasks = ended.done - begun.done
        return {
            "rate": tasks / max(ended.at - begun.at, 1e-9),
            "seconds": ended.at - begun.at,
            "tasks": tasks,
            "processes": ended.processes,
            "worker_us": (ended.workers - begun.workers) / tasks * 1e6,
            "server_us": (ended.server - begun.server) / tasks * 1e6,
        }

    def verify(self) -> dict[str, float]:
        """That every task ran; how many ran more than once. `RuntimeError` when one did not run."""
        time.sleep(0.2)
        times = self.executions.times()
        if times.get(0):
            raise RuntimeError(f"{times[0]} of {self.tasks} tasks did not run")
        return {"twice": sum(count for ran, count in times.items() if ran > 1)}


def _filled(word: str, places: dict[str, str]) -> str:
    for place, value in places.items():
        word = word.replace(place, value)
    return word
