"""Workflows: chains whose steps run at once, a chord beside as many plain tasks, and what a chain is to be sent."""

from __future__ import annotations

import signal

from bench.peers.drivers.marks import LENGTHS, STEPS
from bench.peers.workloads.trial import LEAD, Run, Trial

#: Members of a chord.
MEMBERS = 10_000
#: Times that a chord is started, by systems to which one is over too soon to be measured.
TIMES = 8
#: Tasks per second from which it is.
FAST = 5000


def chains(trial: Trial) -> dict[str, float]:
    """Steps per second of chains that all have been started before the workers are."""
    tasks = max(1, int(trial.variant["steps"] * trial.seconds / STEPS)) * STEPS
    with trial.run(tasks, True) as run:
        run.client("chains")
        run.start()
        measured = run.span(int(tasks * LEAD), tasks)
        return {**measured, **run.verify(), "of": tasks}


def chord(trial: Trial) -> dict[str, float]:
    """Members per second from the start of the workers' work to the run of the body; and as many plain tasks."""
    tasks = MEMBERS + 1
    times = TIMES if trial.pace(True) > FAST else 1
    with trial.run(tasks, True) as run:
        run.start()
        run.settle()
        spans = [_filled(run, "chord", at * tasks) for at in range(times + 1)]
        joined = _mean(spans[1:])  # the first one has opened the connections
        plain = _mean([_filled(run, "send_many", (times + 1 + at) * tasks) for at in range(times)])
        ran = run.executions.times()
    if set(ran) != {2 * times + 1}:
        raise RuntimeError(f"of {tasks} tasks so many ran so often: {ran}")
    return {
        **joined,
        "plain_rate": plain["rate"],
        "plain_us": plain["worker_us"] + plain["server_us"],
        "share": joined["rate"] / plain["rate"],
        "of": MEMBERS,
    }


def _filled(run: Run, command: str, done: int) -> dict[str, float]:
    """All the tasks once more, on top of so many executions; the workers are halted while they are sent."""
    run.fleet.signal(signal.SIGSTOP)
    try:
        run.client(command)
    finally:
        run.fleet.signal(signal.SIGCONT)
    return run.span(done + int(run.tasks * LEAD), done + run.tasks)


def _mean(spans: list[dict[str, float]]) -> dict[str, float]:
    tasks = sum(span["tasks"] for span in spans)
    return {
        "rate": tasks / sum(span["seconds"] for span in spans),
        "worker_us": sum(span["worker_us"] * span["tasks"] for span in spans) / tasks,
        "server_us": sum(span["server_us"] * span["tasks"] for span in spans) / tasks,
    }


def sizes(trial: Trial) -> dict[str, float]:
    """Bytes that are sent and stored to start chains of several lengths, and those of one step more."""
    with trial.run(1, True) as run:
        found = dict(zip(LENGTHS, run.client("sizes")["sizes"], strict=True))
    least, most = min(LENGTHS), max(LENGTHS)
    each = (found[most] - found[least]) / (most - least)
    return {**{str(length): size for length, size in found.items()}, "each": each}
