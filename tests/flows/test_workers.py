"""Run by real workers over real services, a random workflow comes to what the reference interpreter says.

`make flows` runs thousands on each service.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import pytest
from flows.engine import Engine, Service
from flows.random_flows import random_flow
from flows.simulator import Chances
from flows.test_equivalence import reference
from services.redis import shared_redis

from kernel.canvas import Flow, chain, chord, group, signature, xmap
from kernel.canvas.evaluate import Fault
from kernel.outcome import FINAL

#: Random workflows on each service, and the first of their seeds.
RUNS = int(os.environ.get("KERNEL_FLOW_RUNS", "10"))
FIRST = int(os.environ.get("KERNEL_FLOW_FIRST", "0"))
#: Seconds for which a message is kept from others when its worker has died.
LEASE = 0.2
#: By the seed.
MISHAPS = [Chances(most=0), Chances(2, 0, 3), Chances(0, 10, 5), Chances(2, 5, 5), Chances(10, 10, 8)]


@pytest.fixture(params=["memory", "sqlite", "redis"])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    """One of them, empty."""
    if request.param == "memory":
        yield Service(f"memory://{uuid4()}", gives_back=True)
    elif request.param == "sqlite":
        yield Service(f"sqlite:///{tmp_path}/flows.db?lease={LEASE}")
    else:
        yield Service(f"{shared_redis()}?prefix=f{uuid4().hex[:12]}&lease={LEASE}")


def judge(flow: Flow, engine: Engine, result: Any) -> None:
    """Everything that the property says."""
    expected, calls, faults = reference(flow)
    assert engine.conflicts == []
    assert engine.repeated() == []
    assert engine.calls() == calls
    assert missing(engine, result) == []
    entries = engine.entries(result)
    failures = {entry.error.message for entry in entries.values() if entry is not None and entry.error is not None}
    if isinstance(expected, Fault):
        assert failures <= faults
        assert failures or any(map(engine.ignored, entries))
    else:
        assert result.get(timeout=5) == expected


def missing(engine: Engine, result: Any) -> list[str]:
    """Ids that a caller can hold and that have not ended."""
    ids = []
    while result is not None:
        for id, entry in engine.entries(result).items():
            if (entry is None or entry.state not in FINAL) and not engine.ignored(id):
                ids.append(id)
        result = result.parent
    return ids


@pytest.fixture
def memory() -> Iterator[Engine]:
    """Workers on a service whose leases nobody waits for."""
    engine = Engine(Service(f"memory://{uuid4()}", gives_back=True), Random(1), Chances(most=0))
    yield engine
    engine.close()


def trial(engine: Engine, flow: Flow) -> None:
    """One workflow, from its start to the end of all that it causes."""
    try:
        result = engine.start(flow)
        engine.until_quiet()
        judge(flow, engine, result)
        engine.tidy()
    except Exception as error:
        error.add_note(f"{flow!r} with {engine.chances} and {engine.fuse}")
        raise


SYSTEMATIC = [
    signature("flaky:2"),
    signature("swap:linked"),
    signature("swap:bad").link(signature("ok:x")).on_error(signature("ok:y")),
    chain(signature("ok:a"), signature("swap:chain"), signature("ok:b")).link(signature("ok:x")),
    chord([signature("ok:a"), signature("flaky:1")], signature("ok:b")) | signature("ok:c"),
    chord([signature("ok:a"), signature("bad:a")], signature("ok:b")).on_error(signature("ok:x")) | signature("ok:c"),
    group(chain(signature("ok:a"), group(signature("ok:b"), signature("ok:c"))), xmap("ok:a", [1, 2])),
    chain(signature("ok:a"), signature("ignored:a"), signature("ok:b")).on_error(signature("ok:x")),
]


@pytest.mark.parametrize("flow", SYSTEMATIC, ids=repr)
def test_a_worker_may_end_at_any_request(memory: Engine, flow: Flow) -> None:
    trial(memory, flow)
    for at in range(1, memory.requests + 1):
        for before in (True, False):
            memory.fuse = (at, before)
            trial(memory, flow)


@pytest.mark.slow
@pytest.mark.timeout(60 + 4 * RUNS)
def test_a_run_by_workers_equals_the_reference(service: Service) -> None:
    random = Random(FIRST)
    engine = Engine(service, random, Chances())
    before = time.monotonic()
    mishaps = 0
    try:
        for seed in range(FIRST, FIRST + RUNS):
            flow = random_flow(Random(seed))
            random.seed(seed)
            engine.chances = MISHAPS[seed % len(MISHAPS)]
            trial(engine, flow)
            mishaps += engine.mishaps
    finally:
        engine.close()
    spent = time.monotonic() - before
    print(f"\n{RUNS} workflows with {mishaps} mishaps in {spent:.1f} s on {service.url.partition(':')[0]}")
