"""Tasks per second that one producer sends while nobody works; their results are not kept."""

from __future__ import annotations

from bench.peers.workloads.trial import Trial

#: At most so many tasks are sent in bulk.
MOST = 200_000


def one_by_one(trial: Trial) -> dict[str, float]:
    """Each stored before the next is sent, as far as the system waits for that."""
    return _sent(trial, "send", int(trial.variant["sends"][0] * trial.seconds))


def bulk(trial: Trial) -> dict[str, float]:
    """In the fastest way that the system has."""
    return _sent(trial, "send_many", int(trial.variant["sends"][1] * trial.seconds))


def _sent(trial: Trial, command: str, number: int) -> dict[str, float]:
    tasks = max(100, min(MOST, number))
    with trial.run(tasks, False) as run:
        answer = run.client(command)
        sent = answer["tasks"]
    return {"rate": sent / answer["seconds"], "client_us": answer["cpu"] / sent * 1e6, "of": sent}
