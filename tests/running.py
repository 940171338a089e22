"""A real `kernel worker` for tests: started, awaited, listened to, and ended without a trace."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import kernel

#: Longest wait for anything that a healthy worker does soon; seconds. The machine may be busy with other things.
LONG = 30.0
APPS = Path(__file__).parent / "process" / "apps"
#: In the environment of every process of a worker, however it came to be: how those that are left over are found.
MARK = "TEST_WORKER"


class Running:
    """One worker, and the lines that come from all of its processes."""

    def __init__(self, arguments: list[str], directory: Path, **environment: str) -> None:
        """Start `kernel worker` with these arguments in `directory`; does not wait."""
        self.lines: list[str] = []
        self.mark = uuid.uuid4().hex
        self._news = threading.Condition()
        root = Path(kernel.__file__).parents[1]
        clean = {key: value for key, value in os.environ.items() if not key.startswith("KERNEL_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kernel.cli.main", "worker", *arguments],
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            cwd=directory,
            env={
                **clean,
                "PYTHONPATH": os.pathsep.join((str(root), str(root / "adapters"), str(directory), str(APPS))),
                "PYTHONDONTWRITEBYTECODE": "1",
                "KERNEL_CONFIG": "none",
                "TMPDIR": str(directory),
                MARK: self.mark,
                **environment,
            },
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._news:
                self.lines.append(line.rstrip())
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    @property
    def log(self) -> str:
        """All lines so far."""
        return "\n".join(self.lines)

    def find(self, pattern: str) -> list[str]:
        """The first group (without groups: the match) of every line that matches."""
        return [match[match.re.groups and 1] for line in self.lines if (match := re.search(pattern, line))]

    def expect(self, pattern: str, count: int = 1, timeout: float = LONG) -> list[str]:
        """Wait until `count` lines match."""
        deadline = time.monotonic() + timeout
        with self._news:
            while True:
                found = self.find(pattern)
                if len(found) >= count:
                    return found
                left = deadline - time.monotonic() if self._reader.is_alive() else 0.0
                assert left > 0, f"{len(found)} of {count} lines match {pattern!r}:\n{self.log}"
                self._news.wait(min(left, 0.5))

    def ready(self, processes: int = 1) -> list[int]:
        """Wait until so many processes take in work; their ids."""
        return [int(pid) for pid in self.expect(r"worker process (\d+) \(seat \d+\) ready", processes)]

    def pids(self) -> list[int]:
        """Every process of this worker that is there now, its supervisor too."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and f"{MARK}={self.mark}".encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue  # it has ended, or it is not ours to look at
        return found

    def send(self, number: int) -> None:
        """Signal the supervisor."""
        self.process.send_signal(number)

    def wait(self, timeout: float = LONG) -> int:
        """The exit status, after the last line of the last process."""
        code = self.process.wait(timeout)
        self._reader.join(timeout)
        assert not self._reader.is_alive(), f"somebody still holds standard error:\n{self.log}"
        return code

    def stop(self, number: int = signal.SIGTERM, timeout: float = LONG) -> int:
        """Signal the supervisor and wait for the end of all."""
        self.send(number)
        return self.wait(timeout)

    def close(self) -> list[int]:
        """End what is left, the hard way if need be; returns the processes that should not have been there any more."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            # TERM may take the whole grace, longer than this waits; then QUIT, so that a supervisor is not killed for
            # being patient, which would leave its processes over by our own doing.
            for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGKILL):
                self.process.send_signal(number)
                try:
                    self.process.wait(LONG / 2)
                    break
                except subprocess.TimeoutExpired:
                    continue
        left = self.pids()
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self._reader.join(LONG)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return left
