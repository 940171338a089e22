"""What kernel is to reach, and whether this run shows it."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from bench.peers.record import Recording
from bench.peers.systems import KERNEL, LIST, LOOP, PIKA, PORTS, PREFORK

#: Stands for the best system of a kind.
BEST_PEER, BEST_CELERY = "best peer", "best Celery"


@dataclass(frozen=True)
class Claim:
    """One number that is wanted: a ratio of kernel's value and another's, or kernel's own value."""

    text: str
    workload: str
    server: str
    key: str
    #: A system, one of the best, or "" for kernel's own value.
    against: str
    wanted: float
    #: Whether less is better: then `wanted` is the most that is allowed.
    least: bool = False
    #: How the number is written.
    form: str = "{:,.1f}x"
    #: For kernel's own values: divide by this other value of the same round.
    by: str = ""
    #: Whether it is enough to meet this one in place of the one before.
    instead: bool = False


SHARE = "{:.0%}"
CLAIMS = [
    Claim("Redis, no-op, results kept: against Celery's default", "kept", "redis", "rate", PREFORK.name, 50),
    Claim("Redis, no-op, results kept: against the best Celery", "kept", "redis", "rate", BEST_CELERY, 30),
    Claim("Redis, no-op, results kept: against the best peer", "kept", "redis", "rate", BEST_PEER, 10),
    Claim("Redis, no-op, results kept: share of the same port calls", "kept", "redis", "rate", PORTS.name, 0.5,
          form=SHARE),
    Claim("Redis, no-op, results kept: share of plain redis-py", "kept", "redis", "rate", LIST.name, 0.5, form=SHARE),
    Claim("RabbitMQ, no-op, results kept: against Celery's default", "kept", "rabbitmq", "rate", PREFORK.name, 12),
    Claim("RabbitMQ, no-op, results kept: against the best peer", "kept", "rabbitmq", "rate", BEST_PEER, 5),
    Claim("RabbitMQ, no-op, results kept: share of plain pika", "kept", "rabbitmq", "rate", PIKA.name, 0.5, form=SHARE),
    Claim("Redis, round trip, p50: times a bare push, pop, set, wait", "latency", "redis", "p50", LIST.name, 1.5, True),
    Claim("Redis, round trip, p50: times that of the best peer", "latency", "redis", "p50", BEST_PEER, 1.0, True),
    Claim("Idle workers, per cent of a core", "footprint", "redis", "idle", "", 1.0, True, "{:.2f} %"),
    Claim("2 ms tasks: share of two bare processes", "cpu", "redis", "rate", LOOP.name, 0.97, form=SHARE),
    Claim("Redis, enqueue one by one: against the best peer", "enqueue", "redis", "rate", BEST_PEER, 2),
    Claim("or share of one bare round trip", "enqueue", "redis", "rate", LIST.name, 0.85, form=SHARE, instead=True),
    Claim("RabbitMQ, enqueue one by one: share of one confirmed publish", "enqueue", "rabbitmq", "rate", PIKA.name,
          0.85, form=SHARE),
    Claim("Redis, bulk enqueue, tasks/s", "bulk", "redis", "rate", "", 100_000, form="{:,.0f}"),
    Claim("RabbitMQ, bulk enqueue, confirmed, tasks/s", "bulk", "rabbitmq", "rate", "", 10_000, form="{:,.0f}"),
    Claim("Cost of a task, 1,000,000 waiting: times that with 10,000", "backlog", "redis", "few_rate", "", 1.1, True,
          "{:.2f}x", "many_rate"),
    Claim("Redis, steps of chains: against the best Celery", "chain", "redis", "rate", BEST_CELERY, 10),
    Claim("RabbitMQ, steps of chains: against the best Celery", "chain", "rabbitmq", "rate", BEST_CELERY, 10),
    Claim("Redis, a chord of 10,000: share of the rate of as many plain tasks", "chord", "redis", "share", "", 0.5,
          form=SHARE),
]  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """A claim, compared."""

    claim: Claim
    #: Whom it was compared with.
    against: str
    values: list[float]

    @property
    def met(self) -> bool:
        """Whether the median is good enough."""
        found = statistics.median(self.values)
        return found <= self.claim.wanted if self.claim.least else found >= self.claim.wanted


def verdicts(recording: Recording) -> list[Verdict]:
    """Every claim for which there are measurements."""
    found = []
    for claim in CLAIMS:
        against = claim.against
        place = (claim.workload, claim.server, claim.key)
        if against == BEST_PEER:
            against = recording.best(*place, "peer", least=claim.least)
        elif against == BEST_CELERY:
            against = recording.best(*place, "peer", "Celery", least=claim.least)
        if claim.against:
            values = recording.ratios(*place, KERNEL.name, against)
        else:
            own = recording.values(*place[:2], KERNEL.name, claim.key)
            by = recording.values(*place[:2], KERNEL.name, claim.by) if claim.by else {}
            values = [value / by.get(number, 1.0) for number, value in own.items()]
        if values:
            found.append(Verdict(claim, against, values))
    return found
