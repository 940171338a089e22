"""The worker of `kernel demo`: a program of its own, as in real life, on a database file of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import kernel

#: Seconds that the worker has to end when it is told to.
PATIENCE = 20.0


class Crew:
    """`kernel worker` on the tasks of the demo, as long as the `with` block lasts."""

    def __init__(self, folder: Path, processes: int, settings: Mapping[str, str]) -> None:
        """`settings` are variables of its environment."""
        self._settings = settings
        self.log = folder / "worker.log"
        self._folder = folder
        self._processes = processes
        self._program: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """This program's, less its settings of kernel, which are meant for something else."""
        own = {key: value for key, value in os.environ.items() if not key.startswith("KERNEL_")}
        # The folder is the working directory, where relative entries of the search path would lead elsewhere.
        path = [str(Path(kernel.__file__).parents[1]), *filter(None, own.get("PYTHONPATH", "").split(os.pathsep))]
        search = os.pathsep.join(map(os.path.abspath, path))
        return {**own, **self._settings, "PYTHONPATH": search}

    def __enter__(self) -> Crew:
        command = [sys.executable, "-m", "kernel.cli.main", "worker", "kernel.cli.demo_tasks"]
        command += ["--processes", str(self._processes), "--log-level", "warning"]
        with self.log.open("wb") as log:
            self._program = subprocess.Popen(
                command, cwd=self._folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        return self

    def failed(self) -> str:
        """Why the worker has ended, "" while it runs."""
        assert self._program is not None
        status = self._program.poll()
        if status is None:
            return ""
        said = self.log.read_text("utf-8", "replace").strip().splitlines()
        return f"the worker ended with status {status}: {said[-1] if said else 'it said nothing'}"

    def __exit__(self, *_: object) -> None:
        assert self._program is not None
        self._program.terminate()
        try:
            self._program.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._program.kill()
            self._program.wait()


def kill(pid: int) -> bool:
    """End a process without asking; False when it has gone already."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True
