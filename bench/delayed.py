"""What tasks that wait for their time cost a worker: `python -m bench.delayed redis://localhost [--tasks 1000000]`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from itertools import islice

import click

from kernel import Call, Kernel

app = Kernel("delayed", log_level="error", transport=os.environ.get("BENCH_URL", "memory://"))
#: Tasks that are sent in one call.
BATCH = 10_000
#: Tasks that run before the worker is measured: allocators take what they need with the first ones.
WARM = 20_000
#: Seconds for which the worker is watched with all of them waiting.
WATCH = 20.0


@app.task(name="delayed.note", ignore_result=True)
def note(value: int) -> None:
    """Nothing."""


@click.command()
@click.argument("url")
@click.option("--tasks", default=1_000_000, show_default=True, help="Tasks that are delayed until tomorrow.")
def main(url: str, tasks: int) -> None:
    """Measure the memory and the CPU of one worker process without, and with, many delayed tasks; and what a task costs
    that is due meanwhile. The database must be empty, and is not emptied."""
    environment = {**os.environ, "BENCH_URL": url}
    command = [sys.executable, "-m", "kernel.cli.main", "worker", "bench.delayed:app", "--processes", "1"]
    app.configure(transport=url)
    worker = subprocess.Popen(command, env=environment)
    try:
        rate = _run(WARM)
        time.sleep(3.0)
        before, _ = _state(worker.pid)
        print(f"without: {before:.1f} MiB, {rate:,.0f} tasks/s")
        began = time.monotonic()
        tomorrow = datetime.now(UTC) + timedelta(days=1)
        later = (Call((number,), options={"eta": tomorrow}) for number in range(tasks))
        while part := list(islice(later, BATCH)):
            app.send_many("delayed.note", part)
        print(f"{tasks:,} delayed tasks sent in {time.monotonic() - began:.1f} s")
        _, cpu = _state(worker.pid)
        time.sleep(WATCH)
        after, used = _state(worker.pid)
        rate = _run(WARM)
        idle = (used - cpu) / WATCH
        print(f"with:    {after:.1f} MiB ({after - before:+.1f}), {rate:,.0f} tasks/s, idle {idle:.2%} of a core")
    finally:
        worker.terminate()
        worker.wait(30)
        app.close()


def _run(tasks: int) -> float:
    """Send so many and wait until they are done; tasks per second, of sending and running together."""
    began = time.monotonic()
    app.send_many("delayed.note", ((number,) for number in range(tasks)))
    while (size := app.ports.transport.sizes(["default"])[0]) and (size.ready or 0) + (size.in_flight or 0):
        time.sleep(0.01)
    return tasks / (time.monotonic() - began)


def _state(supervisor: int) -> tuple[float, float]:
    """MiB and CPU seconds of the worker's processes but the supervisor's."""
    memory = cpu = 0.0
    ticks = os.sysconf("SC_CLK_TCK")
    with open(f"/proc/{supervisor}/task/{supervisor}/children", encoding="ascii") as children:
        for pid in children.read().split():
            with open(f"/proc/{pid}/statm", encoding="ascii") as statm:
                memory += int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20
            with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
                fields = stat.read().rpartition(")")[2].split()
                cpu += (int(fields[11]) + int(fields[12])) / ticks
    return memory, cpu


if __name__ == "__main__":
    main()
