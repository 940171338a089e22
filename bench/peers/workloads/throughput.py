"""Tasks per second of two processes: the queue is filled first, then the workers start."""

from __future__ import annotations

from bench.peers.workloads.trial import LEAD, Trial

#: Tasks of two milliseconds that two processes can run in a second.
FASTEST = 1000.0
#: Tasks that compute are measured for longer: what the last few of them do weighs more.
LONGER = 1.5


def kept(trial: Trial) -> dict[str, float]:
    """No-op tasks, results kept."""
    return _filled(trial, True)


def ignored(trial: Trial) -> dict[str, float]:
    """No-op tasks, no results."""
    return _filled(trial, False)


def _filled(trial: Trial, results: bool) -> dict[str, float]:
    tasks = _rounded(trial.pace(results) * trial.seconds)
    with trial.run(tasks, results) as run:
        run.client("send_many")
        run.start()
        measured = run.span(int(tasks * LEAD), tasks)
        return {**measured, **run.verify(), "of": tasks}


def computing(trial: Trial) -> dict[str, float]:
    """Tasks that compute for two milliseconds, results kept."""
    tasks = _rounded(min(trial.pace(True), FASTEST) * trial.seconds * LONGER)
    with trial.run(tasks, True, "burn") as run:
        run.client("send_many")
        run.start()
        measured = run.span(int(tasks * LEAD), tasks)
        return {**measured, **run.verify(), "of": tasks}


def _rounded(number: float) -> int:
    """To two digits, so that tables are easy to read."""
    digits: int = 10 ** max(0, len(str(int(number))) - 2)
    return max(100, int(number / digits) * digits)
