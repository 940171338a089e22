"""From the call of a task to its result at the caller, one at a time, while the workers have nothing else to do."""

from __future__ import annotations

from bench.peers.workloads.trial import Trial

#: Round trips that make connections and are not counted.
WARM = 20


def measure(trial: Trial) -> dict[str, float]:
    """Milliseconds of the median and of the slowest hundredth."""
    tasks = WARM + max(50, int(150 * trial.seconds))
    with trial.run(tasks, True) as run:
        run.start()
        run.settle()
        took = sorted(run.client("round_trips")["took"][WARM:])
        run.fleet.check()
        return {
            "p50": took[len(took) // 2] * 1000,
            "p99": took[int(len(took) * 0.99)] * 1000,
            "of": len(took),
            **run.verify(),
        }
