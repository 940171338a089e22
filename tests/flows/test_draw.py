"""Pictures of workflows."""

from __future__ import annotations

from random import Random

import pytest
from flows.random_flows import SWAPS, random_flow
from flows.simulator import World, pack

from kernel.canvas import chain, group, lower, signature
from kernel.canvas.draw import MOST, dot, mermaid, picture
from kernel.errors import ConfigError

HEARD = signature("pack").on_error(signature("alarm"))
FLOW = chain(signature("fetch", ('"x"',)), group(signature("thumb"), signature("crop")), HEARD)


def test_a_flowchart() -> None:
    states = {"end": "SUCCESS"}
    assert (
        mermaid(FLOW, "end", lambda id: states.get(id, ""))
        == """\
flowchart LR
    n0["fetch('#quot;x#quot;')"]
    n1["thumb()"]
    n2["crop()"]
    n3["pack()"]
    n4["alarm()"]
    subgraph g0 [group]
        n1
        n2
    end
    n0 --> n1
    n0 --> n2
    n1 --> n3
    n2 --> n3
    n3 -. error .-> n4
    style n3 fill:#c8e6c9
"""
    )


def test_a_digraph() -> None:
    lines = dot(FLOW, "end", lambda id: "FAILURE").splitlines()
    assert lines[0] == "digraph workflow {"
    assert '    n0 [label="fetch(\'\\"x\\"\')", fillcolor="#ffcdd2"]' in lines
    assert '    subgraph cluster_0 { label="group"; n1; n2 }' in lines
    assert '    n3 -> n4 [style=dashed, label="error"]' in lines
    assert lines[-1] == "}"


def test_a_large_group_is_not_drawn_in_full() -> None:
    drawn = picture(group([signature("a")] * 1000))
    assert len(drawn.nodes) == MOST + 1
    assert drawn.nodes[-1].label == f"… and {1000 - MOST} more"


def test_a_generator_is_not_used_up_by_looking() -> None:
    lazy = group(signature("a") for _ in range(3))
    with pytest.raises(ConfigError, match="used up by looking"):
        mermaid(lazy | signature("b"))
    assert len(list(lazy.members)) == 3


def test_the_nodes_have_the_ids_under_which_tasks_run() -> None:
    for seed in range(100):
        flow = random_flow(Random(seed))
        world = World(SWAPS, Random(seed))
        handles = world.produce(lower.lower(flow, world.new_id, pack))
        world.until_quiet()
        drawn = {node.id: node.label for node in picture(flow, handles[0].id).nodes}
        for id, (task, _) in world.ran.items():
            if id in drawn:
                assert drawn[id].startswith(task)
        if not any("swap" in label for label in drawn.values()):
            assert {id for id in world.ran if "/" not in id} <= set(drawn)
