"""Where the state machines run: a namespace on a system, the clock that goes there, and what the system may do."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from itertools import count
from time import sleep, time
from typing import Any
from uuid import uuid4

from kernel_memory import Limits, MemoryCoordination, MemoryResults, MemorySchedules, MemoryTransport, Space
from kernel_rabbitmq.names import dead_of
from services.rabbitmq import remove, shared_rabbitmq
from services.redis import shared_cluster, shared_redis
from services.sqs import CREDENTIALS, shared_sqs

from faults.models.model import Manner
from kernel import discovery
from kernel.clock import FakeClock

#: In all of them the machines use these.
QUEUES = ("a", "b", "B")
#: Makes an adapter that is not open yet.
Make = Callable[[], Any]


@dataclass
class Place:
    """One namespace. What is None the system does not have."""

    now: Callable[[], float]
    wait: Callable[[float], None]
    #: A third of a lease, in seconds: the step in which time goes on.
    unit: float
    transport: Make | None = None
    results: Make | None = None
    coordination: Make | None = None
    schedules: Make | None = None
    manner: Manner = field(default_factory=Manner)
    #: Seconds that a `receive` may take where a look does not return everything.
    patience: float = 0.0
    #: Whether time is virtual, so that waiting costs nothing.
    virtual: bool = False


@dataclass
class System:
    """Something to run on: `place(n)` makes a new namespace of the n-th variant."""

    place: Callable[[int], Place]
    #: Examples that fit into a few seconds.
    few: int
    #: Steps of an example.
    steps: int = 30


#: Every quantity of the memory adapter small enough to be reached.
SMALL = Limits(lease=30.0, delay=900.0, dedup=10.0, max_batch=50, max_payload=100_000)
#: Masked features and limits of each variant of the memory adapter.
VARIANTS: tuple[tuple[frozenset[str], Limits], ...] = (
    (frozenset(), SMALL),
    (frozenset(), Limits(lease=30.0, priorities=4, expiry=True, dedup=25.0)),
    (frozenset(("commit", "counts", "priorities", "dedup")), Limits(lease=30.0)),
    (frozenset(("lease", "ordered", "peek")), Limits(release_counts=True)),
    (frozenset(("delay",)), SMALL),
)


def memory_place(
    variant: int,
    transport: type[MemoryTransport] = MemoryTransport,
    results: type[MemoryResults] = MemoryResults,
    coordination: type[MemoryCoordination] = MemoryCoordination,
    schedules: type[MemorySchedules] = MemorySchedules,
) -> Place:
    """A space of its own on a clock of its own, for the adapters of these kinds."""
    mask, limits = VARIANTS[variant % len(VARIANTS)]
    space, clock = Space(), FakeClock()
    return Place(
        clock.now,
        clock.advance,
        10.0,
        lambda: transport(space, clock, mask, limits),
        lambda: results(space, clock),
        lambda: coordination(space, clock),
        lambda: schedules(space, None, clock),
        virtual=True,
    )


def _url_place(url: str, unit: float, manner: Manner, patience: float = 0.0, stores: bool = True) -> Place:
    def made(make: Callable[[str], Any]) -> Make:
        return lambda: make(url)

    return Place(
        time,
        sleep,
        unit,
        made(discovery.transport),
        made(discovery.results) if stores else None,
        made(discovery.coordination) if stores else None,
        made(discovery.schedules) if stores else None,
        manner,
        patience,
    )


@contextmanager
def memory() -> Iterator[System]:
    """Virtual time."""
    yield System(memory_place, few=40, steps=40)


@contextmanager
def sqlite() -> Iterator[System]:
    """A file for each example."""
    folder, numbers = tempfile.mkdtemp(prefix="kernel-model-"), count()
    try:
        yield System(
            lambda variant: _url_place(
                f"sqlite:///{folder}/{next(numbers)}.db?lease=0.3&synchronous=normal", 0.1, Manner(slack=0.002)
            ),
            few=3,
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def redis() -> Iterator[System]:
    """A prefix for each example; some of them with an aging so short that it matters."""
    url = shared_redis()

    def place(variant: int) -> Place:
        aging = 0.05 if variant % 2 else 30.0
        options = f"lease=0.3&aging={aging}&prefix={uuid4().hex[:12]}"
        return _url_place(f"{url}?{options}", 0.1, Manner(slack=0.003, aging=aging))

    yield System(place, few=3)


@contextmanager
def redis_cluster() -> Iterator[System]:
    """Three nodes: no commit."""
    url, manner = shared_cluster().url, Manner(slack=0.003, aging=30.0)
    yield System(lambda variant: _url_place(f"{url}?lease=0.3&prefix={uuid4().hex[:12]}", 0.1, manner), few=1)


@contextmanager
def rabbitmq() -> Iterator[System]:
    """Quorum queues. What is given back or delayed is there a little later, and no lease ends but with its client."""
    url, manner = shared_rabbitmq(), Manner(slack=0.01, lag=2.0, whole=False, sorted=False)
    prefixes: list[str] = []

    def place(variant: int) -> Place:
        prefixes.append(uuid4().hex[:12])
        return _url_place(f"{url}?prefix={prefixes[-1]}.", 0.3, manner, 4.0, stores=False)

    try:
        yield System(place, few=1, steps=15)
    finally:
        names = [name for queue in QUEUES for name in (queue, dead_of(queue)) if name]
        remove(url, [f"{prefix}.{name}" for prefix in prefixes for name in names])


def _sqs(fifo: str) -> Callable[[], AbstractContextManager[System]]:
    @contextmanager
    def started() -> Iterator[System]:
        before = {name: os.environ.get(name) for name in CREDENTIALS}
        os.environ.update(CREDENTIALS)
        # Whole seconds are what a delay and a lease are rounded up to.
        url, manner = shared_sqs(), Manner(slack=0.02, lag=1.2, whole=False, sorted=False)

        def place(variant: int) -> Place:
            options = f"prefix={uuid4().hex[:7]}-&lease=2&wait=1{fifo}"
            return _url_place(f"{url}&{options}", 0.7, manner, 3.0, stores=False)

        try:
            yield System(place, few=1, steps=15)
        finally:
            for name, value in before.items():
                os.environ.pop(name, None) if value is None else os.environ.update({name: value})

    return started


SYSTEMS: Mapping[str, Callable[[], AbstractContextManager[System]]] = {
    "memory": memory,
    "sqlite": sqlite,
    "redis": redis,
    "redis-cluster": redis_cluster,
    "rabbitmq": rabbitmq,
    "sqs": _sqs(""),
    "sqs-fifo": _sqs("&fifo=yes"),
}
