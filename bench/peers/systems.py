"""The systems that are compared, and in what they take part."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class System:
    """One configuration of one system on one kind of server."""

    #: What people call it.
    name: str
    #: Module of its driver and the configuration there.
    driver: str
    variant: str
    #: Virtual environment; "kernel" is the one that runs the harness.
    environment: str
    #: ours, peer or bare.
    role: str


KERNEL = System("kernel", "kernel_", "worker", "kernel", "ours")
PORTS = System("bare loop, kernel's ports", "kernel_", "ports", "kernel", "bare")
KERNEL_RABBITMQ = replace(KERNEL, variant="worker-rabbitmq")
PORTS_RABBITMQ = replace(PORTS, variant="ports-rabbitmq")
LIST = System("bare loop, redis-py", "bare_", "list", "bare", "bare")
PIKA = System("bare loop, pika", "bare_", "pika", "bare", "bare")
LOOP = System("bare processes, no queue", "bare_", "loop", "bare", "bare")
PREFORK = System("Celery, default", "celery_", "prefork", "celery", "peer")
SOLO = System("Celery, two solo workers", "celery_", "solo", "celery", "peer")
PREFORK_LATE = System("Celery, acks late", "celery_", "prefork-late", "celery", "peer")
SOLO_LATE = System("Celery, two solo workers, acks late", "celery_", "solo-late", "celery", "peer")
DRAMATIQ_REDIS = System("dramatiq", "dramatiq_", "redis", "dramatiq", "peer")
DRAMATIQ_RABBITMQ = System("dramatiq", "dramatiq_", "rabbitmq", "dramatiq", "peer")
STREAM = System("taskiq, stream", "taskiq_", "stream", "taskiq", "peer")
TASKIQ_LIST = System("taskiq, list", "taskiq_", "list", "taskiq", "peer")
TASKIQ_RABBITMQ = System("taskiq", "taskiq_", "rabbitmq", "taskiq", "peer")
RQ = System("RQ, SimpleWorker", "rq_", "simple", "rq", "peer")
HUEY = System("huey", "huey_", "process", "huey", "peer")
NOTIFY = System("huey, notify_result", "huey_", "notify", "huey", "peer")

#: Neighbours in a round are compared, so ours stands beside its limits.
ON_REDIS = [KERNEL, PORTS, LIST, PREFORK, SOLO, DRAMATIQ_REDIS, STREAM, TASKIQ_LIST, RQ, HUEY]
ON_RABBITMQ = [KERNEL_RABBITMQ, PORTS_RABBITMQ, PIKA, PREFORK, SOLO, DRAMATIQ_RABBITMQ, TASKIQ_RABBITMQ]
ON_SQLITE = [KERNEL, PORTS]
#: One producer of a kind is enough where no worker runs.
SENDING = [KERNEL, PORTS, LIST, PREFORK, DRAMATIQ_REDIS, STREAM, TASKIQ_LIST, RQ, HUEY]
#: Whoever waits for a result of huey lets it tell that there is one.
WAITING = [KERNEL, PORTS, LIST, PREFORK, DRAMATIQ_REDIS, STREAM, TASKIQ_LIST, RQ, NOTIFY]
COMPUTING = [LOOP, KERNEL, LIST, PREFORK, SOLO, DRAMATIQ_REDIS, STREAM, RQ, HUEY]
WAITING_RABBITMQ = [KERNEL_RABBITMQ, PORTS_RABBITMQ, PIKA, PREFORK, DRAMATIQ_RABBITMQ, TASKIQ_RABBITMQ]


@dataclass(frozen=True)
class Row:
    """One workload on one server, and who takes part."""

    workload: str
    server: str
    systems: list[System]
    #: Left out with `--quick`.
    long: bool = False
    #: Rounds in which peers take part; kernel and its limits always do.
    peers: int = 1000

    def measured(self, number: int) -> list[System]:
        """Who takes part in a round."""
        return [system for system in self.systems if number < self.peers or system.role != "peer"]


PLAN = [
    Row("kept", "redis", ON_REDIS),
    Row("ignored", "redis", ON_REDIS, peers=2),
    Row("enqueue", "redis", SENDING),
    Row("bulk", "redis", [KERNEL, PORTS, LIST, PREFORK, STREAM, RQ], peers=2),
    Row("latency", "redis", WAITING),
    Row("cpu", "redis", COMPUTING),
    Row("footprint", "redis", [KERNEL, LIST, PREFORK, SOLO, DRAMATIQ_REDIS, STREAM, RQ, HUEY], peers=2),
    Row("backlog", "redis", [KERNEL, PORTS, LIST]),
    Row("backlog", "redis", [PREFORK, DRAMATIQ_REDIS, STREAM, RQ, HUEY], long=True, peers=1),
    Row("chain", "redis", [KERNEL, PREFORK_LATE, SOLO_LATE], peers=2),
    Row("chord", "redis", [KERNEL, SOLO_LATE], peers=1),
    Row("sizes", "redis", [KERNEL, SOLO_LATE], peers=1),
    Row("kept", "rabbitmq", ON_RABBITMQ),
    Row("ignored", "rabbitmq", ON_RABBITMQ, long=True, peers=1),
    Row("enqueue", "rabbitmq", [KERNEL_RABBITMQ, PORTS_RABBITMQ, PIKA, PREFORK, DRAMATIQ_RABBITMQ, TASKIQ_RABBITMQ]),
    Row("bulk", "rabbitmq", [KERNEL_RABBITMQ, PORTS_RABBITMQ, PIKA, PREFORK, TASKIQ_RABBITMQ], peers=2),
    Row("latency", "rabbitmq", WAITING_RABBITMQ, long=True, peers=1),
    Row("chain", "rabbitmq", [KERNEL_RABBITMQ, PREFORK_LATE, SOLO_LATE], peers=2),
]
#: For trials of the harness, without any server.
TRIAL = [
    *(Row(workload, "sqlite", ON_SQLITE) for workload in ("kept", "ignored", "enqueue", "bulk", "latency")),
    *(Row(workload, "sqlite", [KERNEL]) for workload in ("chain", "chord", "sizes")),
]
