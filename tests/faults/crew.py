"""The processes under test: workers that are started again when a fault took them whole, and producers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from running import Running

import kernel

ROOT = Path(kernel.__file__).parents[1]
TESTS = Path(__file__).parents[1]


class Crew:
    """One worker with two processes, and any number of producers, on one transport."""

    def __init__(self, folder: Path, transport: str, results: str, processes: int = 2) -> None:
        self.folder = folder
        self._environment = {"KERNEL_TRANSPORT": transport, "KERNEL_RESULTS": results, "LEDGER": str(folder)}
        self._arguments = ["faults.program:app", "--processes", str(processes), "--grace", "5"]
        self._processes = processes
        self._producers: list[subprocess.Popen[bytes]] = []
        self.past: list[Running] = []
        self.worker = self._started()

    def _started(self) -> Running:
        path = os.pathsep.join(map(str, (ROOT, ROOT / "adapters", TESTS)))
        return Running(self._arguments, self.folder, **{**self._environment, "PYTHONPATH": path})

    def produce(self, count: int, seed: int) -> None:
        """Start a producer of so many tasks."""
        path = os.pathsep.join(map(str, (ROOT, ROOT / "adapters", TESTS)))
        environment = {**os.environ, **self._environment, "PYTHONPATH": path, "KERNEL_CONFIG": "none"}
        command = [sys.executable, "-m", "faults.program", str(count), str(seed)]
        self._producers.append(subprocess.Popen(command, env=environment, cwd=self.folder))

    @property
    def producing(self) -> bool:
        """Whether a producer is still at work."""
        return any(producer.poll() is None for producer in self._producers)

    def kill_producer(self) -> bool:
        """End one that is at work; False when there is none."""
        for producer in self._producers:
            if producer.poll() is None:
                producer.kill()
                producer.wait()
                return True
        return False

    def children(self) -> list[int]:
        """The worker processes, without their supervisor."""
        return [pid for pid in self.worker.pids() if pid != self.worker.process.pid]

    def replace(self, number: int) -> None:
        """Signal the supervisor (SIGTERM: the orderly way, SIGKILL: none), and start another worker."""
        old = self.worker
        if number == signal.SIGKILL:
            old.process.kill()
        else:
            old.send(number)
        self.past.append(old)
        self.worker = self._started()

    def close(self) -> None:
        """End all."""
        for producer in self._producers:
            if producer.poll() is None:
                producer.kill()
            producer.wait()
        for number, run in enumerate([*self.past, self.worker]):
            run.close()
            (self.folder / f"worker-{number}.log").write_text(run.log + "\n")
