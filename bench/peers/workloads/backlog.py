"""What a task costs while many others wait, against few."""

from __future__ import annotations

import signal

from bench.peers.workloads.trial import LEAD, Run, Trial

#: Tasks that wait: few, many, and what is many for a system that needs minutes to be given a million.
FEW, MANY, LESS = 10_000, 1_000_000, 50_000
#: Sends per second from which a million is not too many.
FAST = 50_000
#: Below so many seconds the work of a filled queue is too short to be measured once.
SHORT = 0.7
#: Times that a short queue is filled.
FILLS = 10


def measure(trial: Trial) -> dict[str, float]:
    """Tasks per second and CPU of workers and server per task with few tasks waiting and with many; no results."""
    pace = trial.pace(False)
    many = MANY if trial.variant["sends"][1] >= FAST else LESS
    few = _refilled(trial) if FEW / pace < SHORT else _once(trial, FEW)
    full = _once(trial, many)
    return {
        "few": FEW,
        "many": many,
        "few_rate": few["rate"],
        "many_rate": full["rate"],
        "few_us": few["worker_us"] + few["server_us"],
        "many_us": full["worker_us"] + full["server_us"],
        "of": full["tasks"],
    }


def _once(trial: Trial, waiting: int) -> dict[str, float]:
    """The first of the tasks that wait; what is left is dropped with the server's memory."""
    counted = min(int(waiting * 0.9), int(trial.pace(False) * trial.seconds))
    with trial.run(waiting, False) as run:
        run.client("send_many")
        run.start()
        return run.span(int(counted * LEAD), counted)


def _refilled(trial: Trial) -> dict[str, float]:
    """The same workers empty the queue again and again; they are halted while it is filled."""
    spans: list[dict[str, float]] = []
    with trial.run(FEW, False) as run:
        run.client("send_many")
        run.start()
        run.until(lambda done, processes: done >= FEW)
        for fill in range(1, FILLS + 1):
            spans.append(_fill(run, fill * FEW))
    tasks = sum(span["tasks"] for span in spans)
    return {
        "rate": tasks / sum(span["seconds"] for span in spans),
        "worker_us": sum(span["worker_us"] * span["tasks"] for span in spans) / tasks,
        "server_us": sum(span["server_us"] * span["tasks"] for span in spans) / tasks,
        "tasks": tasks,
    }


def _fill(run: Run, done: int) -> dict[str, float]:
    """One filling on top of so many executions."""
    run.fleet.signal(signal.SIGSTOP)
    try:
        run.client("send_many")
    finally:
        run.fleet.signal(signal.SIGCONT)
    return run.span(done + int(FEW * LEAD), done + FEW)
