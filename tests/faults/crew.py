"""The processes under test: workers that are started again when a fault took them whole, and producers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from running import Running

import kernel
from faults.clock import PLACE, Clocks

ROOT = Path(kernel.__file__).parents[1]
TESTS = Path(__file__).parents[1]
#: The version of the application that knows every task.
NEWEST = 2


@dataclass
class Producer:
    """One producer, and what it was asked for."""

    process: subprocess.Popen[bytes]
    count: int
    rate: float
    began: float

    def left(self) -> int:
        """How many of its tasks it has not sent, by its own timetable."""
        return max(0, self.count - int(self.rate * (time.monotonic() - self.began)))


class Crew:
    """One worker with two processes, and any number of producers, on one configuration."""

    def __init__(self, folder: Path, settings: Mapping[str, str], processes: int = 2, grace: float = 5.0) -> None:
        """`settings` are variables of the environment: the URLs. The worker is started at once."""
        self.folder = folder
        self.processes = processes
        self.clocks = Clocks(folder)
        path = os.pathsep.join(map(str, (PLACE, ROOT, ROOT / "adapters", TESTS)))
        self._environment = {
            "PYTHONPATH": path,
            "KERNEL_CONFIG": "none",
            "LEDGER": str(folder),
            "FAULT_CLOCKS": str(self.clocks.path),
            **settings,
        }
        self._arguments = ["faults.program:app", "--processes", str(processes), "--grace", str(grace)]
        self._producers: list[Producer] = []
        self._seeds = 0
        self.version = NEWEST
        self.past: list[Running] = []
        self.worker = self._started()

    def _started(self) -> Running:
        return Running(self._arguments, self.folder, FAULT_VERSION=str(self.version), **self._environment)

    def produce(self, count: int, seed: int, rate: float) -> None:
        """Start a producer of so many tasks, so many a second."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith("KERNEL_")}
        command = [sys.executable, "-m", "faults.program", str(count), str(seed), str(rate)]
        process = subprocess.Popen(command, env={**clean, **self._environment}, cwd=self.folder)
        self._producers.append(Producer(process, count, rate, time.monotonic()))

    @property
    def producing(self) -> bool:
        """Whether a producer is still at work."""
        return any(producer.process.poll() is None for producer in self._producers)

    def kill_producer(self) -> int:
        """End one that is at work, and start another that sends the rest; its process id, 0 when there is none."""
        for producer in self._producers:
            if producer.process.poll() is None:
                producer.process.kill()
                producer.process.wait()
                if left := producer.left():
                    self._seeds += 1
                    self.produce(left, 10_000_000 + self._seeds, producer.rate)
                return producer.process.pid
        return 0

    def children(self) -> list[int]:
        """The worker processes, without their supervisor."""
        return sorted(pid for pid in self.worker.pids() if pid != self.worker.process.pid)

    def replace(self, number: int, version: int = 0) -> None:
        """Signal the supervisor (SIGTERM: the orderly way, SIGKILL: none), and start another worker."""
        old = self.worker
        if number == signal.SIGKILL:
            old.process.kill()
        elif old.process.poll() is None:
            old.process.send_signal(signal.SIGCONT)
            old.send(number)
        self.version = version or self.version
        self.past.append(old)
        self.worker = self._started()

    def close(self) -> None:
        """End all."""
        for producer in self._producers:
            if producer.process.poll() is None:
                producer.process.kill()
            producer.process.wait()
        for number, run in enumerate([*self.past, self.worker]):
            run.close()
            (self.folder / f"worker-{number}.log").write_text(run.log + "\n")
