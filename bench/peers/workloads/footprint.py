"""What two worker processes cost that have nothing to do, and how soon they do something."""

from __future__ import annotations

import time

from bench.peers.processes import fine_cpu, memory
from bench.peers.workloads.trial import Trial

#: Seconds for which idle workers are left alone before they are looked at.
REST = 1.0


def measure(trial: Trial) -> dict[str, float]:
    """Seconds from the start of the program to the first execution; MiB, and share of a core when idle, after it."""
    with trial.run(1, True) as run:
        run.client("send_many")
        began = time.monotonic()
        run.start()
        first = run.until(lambda done, processes: done >= 1)
        time.sleep(REST)
        pids = run.fleet.pids()
        used, at = fine_cpu(pids), time.monotonic()
        time.sleep(max(1.0, trial.seconds))
        run.fleet.check()
        idle = (fine_cpu(pids) - used) / (time.monotonic() - at)
        return {
            "start": first.at - began,
            "memory": memory(pids),
            "idle": idle * 100,
            "of": len(pids),
        }
