"""Processes of a run: started together, looked at through /proc, ended by their ids. Linux only."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from bench.peers.servers import die_with_parent

_TICK = os.sysconf("SC_CLK_TCK")
#: Seconds that workers have to end after TERM; what they did is counted by then.
GRACE = 1.0


class Fleet:
    """The worker programs of one run."""

    def __init__(self, commands: Sequence[Sequence[str]], environment: dict[str, str], folder: Path) -> None:
        """Start all of them, in a folder of the run's own; what they say goes to a file there."""
        self.log = folder / "workers.log"
        self._processes: list[subprocess.Popen[bytes]] = []
        with self.log.open("ab") as log:
            for command in commands:
                self._processes.append(
                    subprocess.Popen(
                        command,
                        cwd=folder,
                        env=environment,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                        preexec_fn=die_with_parent,
                    )
                )

    @property
    def roots(self) -> list[int]:
        """Ids of the programs that were started."""
        return [process.pid for process in self._processes]

    def pids(self) -> list[int]:
        """Ids of the programs and of all that they started."""
        return tree(self.roots)

    def check(self) -> None:
        """`RuntimeError` with what was said last when one of them has ended."""
        for process in self._processes:
            if process.poll() is not None:
                raise RuntimeError(f"a worker ended with {process.returncode}: {self.said()}")

    def said(self) -> str:
        """The end of what they wrote."""
        return self.log.read_text("utf-8", "replace").strip()[-1500:]

    def signal(self, number: int) -> None:
        """Send a signal to every process."""
        for pid in self.pids():
            _kill(pid, number)

    def stop(self) -> None:
        """End them in their orderly way, and kill what is left then. No error when they have ended."""
        everyone = self.pids()
        for process in self._processes:
            process.terminate()
        deadline = time.monotonic() + GRACE
        while time.monotonic() < deadline and any(process.poll() is None for process in self._processes):
            time.sleep(0.02)
        for pid in {*everyone, *self.pids()}:
            # The session is that of the program, so an id that was given anew meanwhile is not met.
            if _session(pid) in self.roots:
                _kill(pid, signal.SIGKILL)
        for process in self._processes:
            process.wait(10)


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; [] when the process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _session(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[3]) if fields else 0


def tree(roots: Sequence[int]) -> list[int]:
    """These processes and all below them that live."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            parents[int(entry.name)] = int(fields[1])
    found = [pid for pid in roots if pid in parents]
    for pid in found:  # grows while it is walked
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def cpu(pids: Sequence[int]) -> float:
    """Seconds of a core that these processes have used so far; to 10 ms."""
    fields = [found for pid in pids if (found := _stat(pid))]
    return sum(int(each[11]) + int(each[12]) for each in fields) / _TICK


def own_cpu(servers: Sequence[int]) -> float:
    """Seconds of a core that the harness, what it has waited for, and these servers have used so far."""
    ended, here = resource.getrusage(resource.RUSAGE_CHILDREN), resource.getrusage(resource.RUSAGE_SELF)
    return ended.ru_utime + ended.ru_stime + here.ru_utime + here.ru_stime + cpu(tree(servers))


def busy() -> float:
    """Seconds of a core that everything on this machine has used so far, and that its host has taken from it."""
    user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / _TICK


def fine_cpu(pids: Sequence[int]) -> float:
    """The same to the nanosecond, of the threads that live: for processes that do next to nothing."""
    total = 0
    for pid in pids:
        for file in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            try:
                total += int(file.read_text().split()[0])
            except (FileNotFoundError, ProcessLookupError):
                continue  # the thread has ended
    return total / 1e9


def memory(pids: Sequence[int]) -> float:
    """MiB of memory, shared pages divided among those that share them."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024
