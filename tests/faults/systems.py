"""The systems that the harness breaks: a transport, a result store, and the server behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from services.rabbitmq import rabbitmq_server
from services.redis import redis_server
from services.server import Server

from faults.engine import LEASE


@dataclass
class System:
    """One of them, started."""

    #: Transport and results of one run.
    urls: Callable[[Path, int], tuple[str, str]]
    server: Server | None = None


@contextmanager
def sqlite() -> Iterator[System]:
    """A file for each run."""
    yield System(lambda folder, seed: (f"sqlite:///{folder}/tasks.db?lease={LEASE}",) * 2)


@contextmanager
def redis() -> Iterator[System]:
    """A server that loses nothing when it is killed."""
    server, url = redis_server("--appendonly", "yes", "--appendfsync", "always")
    try:
        yield System(lambda folder, seed: (f"{url}?lease={LEASE}&timeout=2&prefix=f{seed}",) * 2, server)
    finally:
        server.close()


@contextmanager
def rabbitmq() -> Iterator[System]:
    """Quorum queues, results in a file of each run. A frozen worker is given up when it misses its heartbeats."""
    server, url = rabbitmq_server()
    try:
        options = "heartbeat=1&timeout=2"
        yield System(
            lambda folder, seed: (f"{url}?{options}&prefix=f{seed}.", f"sqlite:///{folder}/results.db"), server
        )
    finally:
        server.close()


SYSTEMS: Mapping[str, Callable[[], AbstractContextManager[System]]] = {
    "sqlite": sqlite,
    "redis": redis,
    "rabbitmq": rabbitmq,
}
