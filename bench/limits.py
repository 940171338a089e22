"""`python -m bench.limits redis://...`: limits kept by many workers, proven by a ledger.

Four runs: many tasks over few keys; a hot key beside tasks under no limit; a rate; a holder that is killed. Each writes
when every task starts and ends, and how often its message was received.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import limited
from kernel import Kernel

ROOT = Path(__file__).parent.parent
#: Longest wait for anything, in seconds.
PATIENCE = 300.0


class Ledger:
    """What the workers wrote."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def rows(self) -> list[list[str]]:
        """All lines, as words."""
        return [line.split() for line in self.path.read_text().splitlines()] if self.path.exists() else []

    def count(self, what: str, key: str = "") -> int:
        """Lines of a kind."""
        return sum(row[0] == what and row[1].startswith(key) for row in self.rows())

    def expect(self, what: str, count: int, key: str = "") -> None:
        """Wait for so many lines of a kind."""
        deadline = time.monotonic() + PATIENCE
        while self.count(what, key) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.count(what, key)} of {count} {what} in {PATIENCE} s")
            time.sleep(0.1)

    def times(self, what: str, key: str = "") -> list[float]:
        """When lines of a kind were written."""
        return sorted(float(row[2]) for row in self.rows() if row[0] == what and row[1].startswith(key))

    def most_at_once(self) -> int:
        """The largest number of one key that ran at a time."""
        steps = sorted((float(at), what == "start", key) for what, key, at, _ in self.rows() if what != "receive")
        now: Counter[str] = Counter()
        most = 0
        for _, started, key in steps:
            now[key] += 1 if started else -1
            most = max(most, now[key])
        return most

    def receives(self) -> Counter[str]:
        """How often each message was received."""
        return Counter(row[1] for row in self.rows() if row[0] == "receive")


class Crew:
    """Worker processes, and the application that sends to them."""

    def __init__(self, url: str, ledger: Ledger) -> None:
        self.app = Kernel("caller", transport=url, ignore_result=True)
        self.app.task(name="held", limits=limited.held.options["limits"])(limited.held.function)
        self.app.task(name="paced", limits=limited.paced.options["limits"])(limited.paced.function)
        self.app.task(name="free")(limited.free.function)
        self.ledger = ledger
        self._url = url
        self._workers: list[subprocess.Popen[bytes]] = []

    def start(self, processes: int, slots: int) -> None:
        """Start so many workers of one process each."""
        command = [sys.executable, "-m", "kernel.cli.main", "worker", "bench.limited:app", "--transport", self._url]
        environment = {**os.environ, "LIMITS_LEDGER": str(self.ledger.path), "KERNEL_CONFIG": "none"}
        for _ in range(processes):
            self._workers.append(
                subprocess.Popen(
                    [*command, "--pool", "threads", "--concurrency", str(slots)],
                    cwd=ROOT,
                    env=environment,
                    stderr=subprocess.DEVNULL,
                )
            )

    def send(self, task: str, calls: list[tuple[str, float]]) -> None:
        """Send calls."""
        self.app.send_many(self.app.tasks[task], calls)

    def stop(self) -> None:
        """End all."""
        for worker in self._workers:
            worker.terminate()
        for worker in self._workers:
            worker.wait(60)
        self.app.close()


@contextmanager
def crew(url: str, prefix: str) -> Iterator[Crew]:
    """A crew with queues and ledger of its own."""
    with tempfile.TemporaryDirectory() as directory:
        sign = "&" if "?" in url else "?"
        if url.startswith("redis"):
            url = f"{url}{sign}prefix={prefix}-{time.time_ns()}"
        made = Crew(url, Ledger(Path(directory) / "ledger"))
        try:
            yield made
        finally:
            made.stop()


def keys(url: str, tasks: int, count: int, processes: int, slots: int, seconds: float) -> dict[str, Any]:
    """Many tasks over few keys: the most of one key at once, and how often a message was received."""
    with crew(url, "keys") as team:
        team.send("held", [(f"k{number % count}", seconds) for number in range(tasks)])
        began = time.monotonic()
        team.start(processes, slots)
        team.ledger.expect("end", tasks)
        received = team.ledger.receives()
        starts = team.ledger.times("start")
        return {
            "tasks": team.ledger.count("end"),
            "most at once": team.ledger.most_at_once(),
            "receives": dict(sorted(Counter(received.values()).items())),
            "seconds": round(time.monotonic() - began, 1),
            "tasks/s": round(tasks / (starts[-1] - starts[0])),
        }


def hot(url: str, tasks: int, backlog: int, processes: int, slots: int) -> dict[str, Any]:
    """Tasks under no limit, without and with a key whose limit is reached beside them: their rates."""
    rates = []
    for waiting in (0, backlog):
        with crew(url, "hot") as team:
            team.send("held", [("hot", 0.25)] * waiting)
            team.start(processes, slots)
            team.send("free", [("warm", 0.0)] * 100)
            team.ledger.expect("end", 100, "warm")
            team.send("free", [("free", 0.005)] * tasks)
            team.ledger.expect("end", tasks, "free")
            times = team.ledger.times("end", "free")
            rates.append(tasks / (times[-1] - times[0]))
    return {
        "alone, tasks/s": round(rates[0]),
        "beside, tasks/s": round(rates[1]),
        "share": round(rates[1] / rates[0], 2),
    }


def rate(url: str, seconds: float, processes: int) -> dict[str, Any]:
    """A rate of 100 in a second, shared: starts in so many seconds, and the most in any single one."""
    with crew(url, "rate") as team:
        team.send("paced", [("p", 0.0)] * int(100 * (seconds + 2)))
        team.start(processes, 4)
        team.ledger.expect("start", int(100 * seconds) + 50)
        times = team.ledger.times("start")
        first = times[50]  # what the start of the workers disturbs is left out
        counted = [at for at in times if first <= at < first + seconds]
        seconds_of = Counter(int(at - first) for at in counted)
        return {"starts/s": round(len(counted) / seconds, 2), "fewest, most in a second": (
            min(seconds_of.values()), max(seconds_of.values())
        )}  # fmt: skip


def killed(url: str, lease: float) -> dict[str, Any]:
    """A worker that holds both slots of a key is killed: seconds until the next tasks of that key start."""
    sign = "&" if "?" in url else "?"
    with crew(f"{url}{sign}lease={lease:g}", "kill") as team:
        team.start(1, 4)
        team.send("held", [("dead", 600.0)] * 2)
        team.ledger.expect("start", 2)
        team.send("held", [("dead", 0.0)] * 20)
        time.sleep(min(2.0, lease / 3))  # they wait by now
        holder = next(int(row[3]) for row in team.ledger.rows() if row[0] == "start")
        team.start(1, 4)
        while not any(row[1] == "ready" and int(row[3]) != holder for row in team.ledger.rows()):
            team.send("free", [("ready", 0.02)] * 8)  # until the other one takes some
            time.sleep(0.2)
        Path(f"{team.ledger.path}.killed").touch()
        supervisor = team._workers.pop(0)
        supervisor.send_signal(signal.SIGKILL)
        os.kill(holder, signal.SIGKILL)
        killed_at = time.monotonic()
        supervisor.wait(10)
        team.ledger.expect("end", 22, "dead")
        times = team.ledger.times("end", "dead")
        return {
            "lease": lease,
            "first end after the kill, s": round(times[0] - killed_at, 2),
            "last": round(times[-1] - killed_at, 2),
        }


def main() -> None:
    """All four."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="of a server with all four ports")
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--keys", type=int, default=50)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--only", choices=["keys", "hot", "rate", "killed"])
    given = parser.parse_args()
    runs = {
        "keys": lambda: keys(given.url, given.tasks, given.keys, given.processes, 16, 0.01),
        "hot": lambda: hot(given.url, given.tasks // 2, given.tasks // 20, given.processes, 4),
        "rate": lambda: rate(given.url, given.seconds, max(1, given.processes // 2)),
        "killed": lambda: killed(given.url, 6.0),
    }
    for name, run in runs.items():
        if given.only in (None, name):
            print(name, json.dumps(run()), flush=True)


if __name__ == "__main__":
    main()
