"""Whatever goes wrong, a workflow comes to what the reference interpreter says: same result, same calls, none twice."""

from __future__ import annotations

import json
import os
from collections import Counter
from random import Random
from typing import Any

import pytest
from flows.random_flows import SWAPS, random_flow
from flows.simulator import Again, Call, Chances, World, body_of, call_of, pack
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernel.canvas import Flow, chain, group, lower, signature
from kernel.canvas.evaluate import Fault, evaluate

#: Random workflows for each sort of mishap; each takes about five milliseconds.
EXAMPLES = int(os.environ.get("KERNEL_FLOW_EXAMPLES", "150"))
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


def simulate(flow: Flow, seed: int, chances: Chances, page: int = lower.PAGE) -> tuple[World, lower.Handle]:
    world = World(SWAPS, Random(seed), chances)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lower, "PAGE", page)
        handles = world.produce(lower.lower(flow, world.new_id, pack))
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
    judge(flow, *simulate(flow, seed, chances, page=(lower.PAGE, 1)[seed % 2]))
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


def unrepeated(seed: int) -> None:
    world, _ = simulate(random_flow(Random(seed)), seed, Chances())
    assert {id for id, count in world.posted.items() if count > 1 and id not in world.retried} == set()


def test_a_calm_run_sends_nothing_twice() -> None:
    for seed in range(EXAMPLES):
        unrepeated(seed)


def one_replacement(seed: int) -> None:
    """Each run of the task chooses another group at random; the first that is recorded is the one that runs."""
    random = Random(seed)
    made = 0

    def another() -> Flow:
        nonlocal made
        made += 1
        return group(signature("ok:child", (made, at)) for at in range(random.randrange(1, 5)))

    flow = chain(signature("swap:random"), signature("ok:after")).link(signature("ok:called"))
    world = World({"swap:random": another}, random, Chances(20, 20))
    handles = world.produce(lower.lower(flow, world.new_id, pack))
    world.until_quiet()
    children = [json.loads(args)[0] for task, args in world.ran.values() if task == "ok:child"]
    assert len({first for first, _ in children}) == 1
    assert [second for _, second in sorted(children)] == list(range(len(children)))
    assert Counter(task for task, _ in world.ran.values())["ok:after"] == 1
    assert missing(world, handles[0]) == []


def test_two_runs_of_a_task_leave_one_replacement() -> None:
    for seed in range(EXAMPLES):
        one_replacement(seed)
