"""Workflows as values: how they are joined, what they are equal to, and what is refused at once."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
import pytest
from flows.random_flows import random_flow
from flows.simulator import World, pack
from hypothesis import given
from hypothesis import strategies as st

from kernel.canvas import (
    Chain,
    Chord,
    Flow,
    Group,
    Signature,
    StampingVisitor,
    chain,
    chord,
    chunks,
    from_plain,
    group,
    lower,
    signature,
    starmap,
    to_plain,
    xmap,
)
from kernel.canvas.flow import MAX_DEPTH
from kernel.canvas.frames import decode_frames, decode_join, decode_rest
from kernel.errors import ConfigError, DecodeError

A, B, C = (signature(name) for name in "abc")
G = group(A, B)

# -- joining -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("joined", "kind", "shown"),
    [
        (A | B, Chain, "a() | b()"),
        (A | B | C, Chain, "a() | b() | c()"),
        (A | (B | C), Chain, "a() | b() | c()"),
        (A | G, Chain, "a() | group(a(), b())"),
        (G | C, Chord, "group(a(), b()) | c()"),
        (A | G | C, Chain, "a() | group(a(), b()) | c()"),
        (G | G, Chord, "group(a(), b()) | group(a(), b())"),
        (G | C | A, Chord, "group(a(), b()) | c() | a()"),
        (chord(G, C), Chord, "group(a(), b()) | c()"),
        (chord([A, B], C) | chord(G, C), Chord, "group(a(), b()) | c() | group(a(), b()) | c()"),
        (chord(G), Chord, "group(a(), b()) | kernel.collect()"),
        (chain(A), Signature, "a()"),
        (chain(), Chain, "chain()"),
        (chain([A, B]), Chain, "a() | b()"),
        (chain() | A, Signature, "a()"),
        (group(), Group, "group()"),
        (group(A) | B, Chord, "group(a()) | b()"),
        ((A | B).on_error(C) | A, Chain, "(a() | b()).on_error(c()) | a()"),
        ((A | B).set(queue="x") | A, Chain, "(a() | b()).set(queue='x') | a()"),
        (signature("a", (1,), {"b": 2}, queue="q"), Signature, "a(1, b=2).set(queue='q')"),
        (A.set(immutable=True), Signature, "a().set(immutable=True)"),
        (A.link(B, C), Signature, "a().link(b(), c())"),
    ],
)  # fmt: skip
def test_what_joining_makes(joined: Flow, kind: type, shown: str) -> None:
    assert type(joined) is kind
    assert repr(joined) == shown


@given(st.integers(0, 2**32), st.integers(0, 2**32), st.integers(0, 2**32))
def test_joining_is_associative(one: int, two: int, three: int) -> None:
    a, b, c = (random_flow(Random(seed), 3) for seed in (one, two, three))
    assert (a | b) | c == a | (b | c) == chain(a, b, c)
    assert a | chain() == chain() | a == a


def test_values_do_not_change() -> None:
    before = repr(A | G)
    for changed in (A.link(B), A.on_error(B), A.set(queue="x"), A.clone((1,)), A.stamp(x=1), A | B):
        assert changed != A
    assert repr(A | G) == before
    with pytest.raises(AttributeError):
        A.task = "b"  # type: ignore[misc]


def test_partial_arguments_come_before_those_that_are_there() -> None:
    partial = signature("a", (3,), {"k": 1})
    assert partial.clone((1, 2), {"k": 2}, queue="q") == signature("a", (1, 2, 3), {"k": 2}, queue="q")
    fixed = partial.set(immutable=True)
    assert fixed.clone((1, 2), {"k": 2}) == fixed
    assert (partial | A).clone((1,)) == signature("a", (1, 3), {"k": 1}) | A
    assert group(partial, A).clone((1,)) == group(signature("a", (1, 3), {"k": 1}), signature("a", (1,)))
    assert chord([A], B).clone((1,)) == chord([signature("a", (1,))], B)
    assert repr(list(group(iter([A, B])).clone((1,)).members)) == "[a(1), b(1)]"


def test_maps_and_chunks_are_calls_of_tasks_that_every_worker_has() -> None:
    assert xmap("a", [1, 2]) == signature("kernel.map", ("a", [1, 2]), immutable=True)
    assert starmap(A.task, [(1, 2)]) == signature("kernel.starmap", ("a", [[1, 2]]), immutable=True)
    assert chunks("a", [(1, 1), (2, 2), (3, 3)], 2) == group(starmap("a", [(1, 1), (2, 2)]), starmap("a", [(3, 3)]))
    with pytest.raises(ConfigError, match="give at least 1"):
        chunks("a", [], 0)


REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: chain(A, "b"), "'b' is no part of a workflow"),  # type: ignore[arg-type]
    (lambda: group(1), "1 is no part"),  # type: ignore[arg-type]
    (lambda: group([A, None]), "None is no part"),  # type: ignore[list-item]
    (lambda: chord([A], {}), "{} is no part"),  # type: ignore[arg-type]
    (lambda: A.link("b"), "'b' is no part"),  # type: ignore[arg-type]
    (lambda: signature(""), "needs the name of a task"),
    (lambda: Signature(3), "needs the name of a task, not 3"),  # type: ignore[arg-type]
    (lambda: Chord(A, B), "the header of a chord is a group"),  # type: ignore[arg-type]
    (lambda: list(group(iter([A, 1])).members), "1 is no part"),  # type: ignore[list-item]
]


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_what_is_no_workflow_is_refused_where_it_is_made(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_joining_something_else_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        A | 1  # type: ignore[operator]


# -- plain data ----------------------------------------------------------------------------------------------


@given(st.integers(0, 2**32))
def test_a_workflow_comes_back_from_its_plain_form(seed: int) -> None:
    flow = random_flow(Random(seed)).set(queue="x").stamp(s=[1])
    plain = json.loads(json.dumps(to_plain(flow)))
    assert from_plain(plain) == flow
    assert len(json.dumps(plain)) < 400 * flow.size
    assert pickle.loads(pickle.dumps(flow)) == flow


def test_the_plain_form() -> None:
    flow = chain(A, group(B.set(queue="q"), C).set(countdown=1), A.on_error(B))
    assert to_plain(flow) == {
        "chain": [
            {"task": "a"},
            {"group": [{"task": "b", "options": {"queue": "q"}}, {"task": "c"}], "options": {"countdown": 1}},
            {"task": "a", "link_error": [{"task": "b"}]},
        ]
    }
    marked = chord(group(A).set(queue="q"), B).link(C)
    assert from_plain(to_plain(marked)) == marked
    with pytest.raises(ConfigError, match="no plain form"):
        to_plain(group(iter([A])))


def itself() -> Any:
    loop: dict[str, Any] = {"chain": [{"task": "a"}]}
    loop["chain"].append(loop)
    return loop


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        (None, "a NoneType in place of"),
        ([], "a list in place of"),
        ({}, "one of task, chain, group, chord"),
        ({"task": "a", "group": []}, "one of task, chain, group, chord has to be there, not"),
        ({"task": ""}, "needs the name of a task"),
        ({"task": 1}, "task cannot be 1"),
        ({"task": "a", "args": {}}, "args cannot be a dict"),
        ({"task": "a", "kwargs": {1: 2}}, "kwargs has a name that is no text"),
        ({"task": "a", "immutable": 1}, "immutable cannot be 1"),
        ({"task": "a", "linc": []}, "a task has no 'linc'"),
        ({"chord": [{"task": "a"}]}, "a NoneType in place of"),
        ({"chain": [1]}, "1 in place of"),
        ({"task": "a", "link": [{"task": "b", "options": 7}]}, "options cannot be 7"),
        (itself(), "contains itself"),
    ],
)
def test_what_is_no_plain_form_is_refused_in_words(plain: Any, message: str) -> None:
    with pytest.raises(DecodeError, match=message):
        from_plain(plain)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["task", "chain", "group", "chord", "body", "link", "args", "x"]), inner)
    ),
    max_leaves=20,
)


@given(JSON)
def test_reading_is_total(plain: Any) -> None:
    try:
        flow = from_plain(plain)
    except DecodeError:
        return
    assert from_plain(to_plain(flow)) == flow


@given(st.binary(max_size=40) | JSON.map(msgspec.msgpack.encode))
def test_reading_frames_is_total(data: bytes) -> None:
    for read in (decode_frames, decode_rest, decode_join):
        try:
            read(data)
        except DecodeError:
            pass


def test_nesting_has_a_bound_that_every_walk_survives() -> None:
    flow: Flow = signature("ok:a")
    while flow.depth < MAX_DEPTH:
        flow = group(flow)
    with pytest.raises(ConfigError, match="nests deeper"):
        group(flow)
    assert from_plain(to_plain(flow)) == flow
    assert repr(flow).count("group") == MAX_DEPTH - 1
    world = World({}, Random(0))
    handles = world.produce(lower.lower(flow, world.new_id, pack))
    world.until_quiet()
    assert world.result(handles[0])


# -- options and stamps --------------------------------------------------------------------------------------


def sent(flow: Flow, **settings: Any) -> dict[str, dict[str, Any]]:
    """The options of each task of a workflow, by name, as they are packed."""
    seen: dict[str, dict[str, Any]] = {}

    def spy(signature: Signature, options: Any) -> Any:
        seen[signature.task] = dict(options)
        return pack(signature, options)

    world = World({}, Random(0))
    world.produce(lower.lower(flow, world.new_id, spy, **settings))
    list(world.actors[0][0])
    return seen


def test_options_of_a_composite_are_for_what_has_none_of_its_own() -> None:
    flow = chain(A.set(queue="own"), group(B), C.set(headers={"y": 2})).set(queue="q", headers={"x": 1})
    assert sent(flow) == {
        "a": {"queue": "own", "headers": {"x": 1}},
        "b": {"queue": "q", "headers": {"x": 1}},
        "c": {"queue": "q", "headers": {"x": 1, "y": 2}},
    }


def test_a_countdown_delays_the_start_and_adds_up() -> None:
    flow = chain(A.set(countdown=1), B.set(countdown=2), C).set(countdown=10)
    assert sent(flow) == {"a": {"countdown": 11}, "b": {"countdown": 2}, "c": {}}
    assert sent(chord(group(A, B.set(countdown=1)).set(countdown=10), C)) == {
        "a": {"countdown": 10},
        "b": {"countdown": 11},
        "c": {},
    }
    assert sent(chord([A], C).set(countdown=5)) == {"a": {"countdown": 5}, "c": {}}


def test_callbacks_have_their_own_options() -> None:
    assert sent(A.set(queue="q").on_error(B)) == {"a": {"queue": "q"}, "b": {}}


def test_a_deadline_is_that_of_the_joins_inside() -> None:
    flow = chain(A, group(B), C).set(deadline=7.0)
    assert sent(flow)["kernel.deadline"] == {"countdown": 7.0}
    assert sent(chord(group(B).set(countdown=3), C), deadline=5.0)["kernel.deadline"] == {"countdown": 8.0}
    assert "kernel.deadline" not in sent(chord(group(B), C))


def test_the_end_of_a_workflow_may_have_an_id_of_choice() -> None:
    for flow in (A.set(task_id="mine"), A | B.set(task_id="mine"), (A | B).set(task_id="mine")):
        world = World({}, Random(0))
        handles = world.produce(lower.lower(flow, world.new_id, pack))
        world.until_quiet(1000)
        assert handles[0].id == "mine"
    with pytest.raises(ConfigError, match="only the end of a workflow"):
        sent(A.set(task_id="mine") | B)


def test_handles_lead_back_to_the_start() -> None:
    world = World({}, Random(0))
    handles = world.produce(lower.lower(A | group(A, B) | C | group(A, A, A), world.new_id, pack))
    list(world.actors[0][0])
    handle, sizes = handles[0], []
    while handle is not None:
        sizes.append(handle.size)
        handle = handle.parent  # type: ignore[assignment]
    assert sizes == [3, -1, 2, -1]


def test_stamps_are_on_every_task() -> None:
    flow = chain(A, group(B), C.on_error(A)).stamp(tenant=7)
    assert all(options == {"stamps": {"tenant": 7}} for options in sent(flow).values())
    assert flow.stamp(tenant=8).steps[0].options == {"stamps": {"tenant": 8}}  # type: ignore[attr-defined]
    both = flow.stamp(tenant=8, append=True).steps[0].options  # type: ignore[attr-defined]
    assert both == {"stamps": {"tenant": [7, 8]}}


def test_a_visitor_sees_every_part() -> None:
    seen: list[str] = []

    class Visitor(StampingVisitor):
        def on_signature(self, signature: Any, **stamps: Any) -> Any:
            seen.append(signature.task)
            return {"name": signature.task}

        def on_group_start(self, group: Any, **stamps: Any) -> Any:
            return {"inside": True}

        def on_chord_body(self, chord: Any, **stamps: Any) -> Any:
            return {"body": True}

        def on_callback(self, callback: Any, **stamps: Any) -> Any:
            return {"called": True}

    stamped = sent(chord([A], B.link(C)).stamp(Visitor(), all=1))
    assert stamped == {
        "a": {"stamps": {"name": "a", "all": 1, "inside": True}},
        "b": {"stamps": {"name": "b", "all": 1, "body": True}},
        "c": {"stamps": {"name": "c", "all": 1, "body": True, "called": True}},
    }
    assert seen == ["a", "b", "c"]
