"""Whatever goes wrong, a workflow comes to what the reference interpreter says: same result, same calls, none twice."""

from __future__ import annotations

import os
from collections import Counter
from random import Random
from typing import Any

import pytest
from flows.random_flows import SWAPS, random_flow
from flows.simulator import Again, Call, Chances, World, body_of, call_of, pack
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernel.canvas import Flow, lower
from kernel.canvas.evaluate import Fault, evaluate

#: Random workflows for each sort of mishap; each takes about five milliseconds.
EXAMPLES = int(os.environ.get("KERNEL_FLOW_EXAMPLES", "200"))
MISHAPS = [Chances(), Chances(5, 0), Chances(0, 5), Chances(5, 5), Chances(20, 10)]


def reference(flow: Flow) -> tuple[Any, Counter[Call], set[str]]:
    """The value (or the fault), the calls, and the messages of all failures that anybody could be told of."""
    calls: Counter[Call] = Counter()
    faults: set[str] = set()

    def run(task: str, args: Any, kwargs: Any) -> Any:
        calls[call_of(task, args, kwargs)] += 1
        attempt = 0
        while True:
            try:
                return body_of(task, args, kwargs, attempt, SWAPS)
            except Again:
                attempt += 1
            except Exception as error:
                faults.add(str(error))
                raise

    try:
        return evaluate(flow, run), calls, faults
    except Fault as fault:
        return fault, calls, faults


def simulate(flow: Flow, seed: int, chances: Chances) -> tuple[World, lower.Handle]:
    world = World(SWAPS, Random(seed), chances)
    handles: list[lower.Handle] = []

    def produce() -> Any:
        handles.append((yield from world.drive(lower.lower(flow, world.new_id, pack))))

    world.start(produce())
    world.until_quiet()
    return world, handles[0]


def judge(flow: Flow, world: World, handle: lower.Handle) -> None:
    """Everything that the property says."""
    expected, calls, faults = reference(flow)
    assert Counter(world.ran.values()) == calls
    assert not missing(world, handle)
    failures = world.failures(handle)
    if isinstance(expected, Fault):
        assert failures <= faults
        assert failures or any(world.ignored(id) for id in world.held(handle))
    else:
        assert world.result(handle) == expected


def missing(world: World, handle: lower.Handle | None) -> list[str]:
    """Ids that a caller can hold and that have not ended."""
    ids = []
    while handle is not None:
        ids += [id for id in world.held(handle) if not world.ended(id)]
        handle = handle.parent
    return ids


def trial(seed: int, chances: Chances) -> Flow:
    flow = random_flow(Random(seed))
    judge(flow, *simulate(flow, seed, chances))
    return flow


@pytest.mark.parametrize("chances", MISHAPS, ids=str)
def test_a_run_equals_the_reference(chances: Chances) -> None:
    for seed in range(EXAMPLES):
        try:
            trial(seed, chances)
        except Exception as error:
            error.add_note(f"seed {seed}: {random_flow(Random(seed))!r}")
            raise


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False), st.integers(0, 2**32), st.sampled_from(MISHAPS))
def test_the_smallest_run_that_does_not(random: Random, seed: int, chances: Chances) -> None:
    flow = random_flow(random, 3)
    judge(flow, *simulate(flow, seed, chances))


def test_a_calm_run_sends_nothing_twice() -> None:
    for seed in range(EXAMPLES):
        world, _ = simulate(random_flow(Random(seed)), seed, Chances())
        assert {id for id, count in world.posted.items() if count > 1 and id not in world.retried} == set()
