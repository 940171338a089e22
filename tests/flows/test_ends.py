"""Every workflow ends: with a deadline, without its producer, without its pages, and again after a requeue."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from flows.random_flows import SWAPS, random_flow
from flows.simulator import Chances, Message, World, pack
from flows.test_equivalence import EXAMPLES, missing

from kernel.canvas import Flow, chain, chord, group, lower, signature
from kernel.canvas.advance import LATE, LOST
from kernel.canvas.frames import member_id
from kernel.errors import FlowLost

OK, BAD, SICK, HEARD = (signature(name) for name in ("ok:a", "bad:a", "sick:a", "ok:heard"))


def world_of(seed: int = 0, chances: Chances | None = None, **settings: Any) -> World:
    return World(SWAPS, Random(seed), chances or Chances(), **settings)


def start(world: World, flow: Flow, deadline: float = 0.0) -> list[lower.Handle]:
    return world.produce(lower.lower(flow, world.new_id, pack, deadline=deadline))


def calls(world: World, task: str) -> int:
    return sum(name == task for name, _ in world.ran.values())


def test_a_workflow_ends_whenever_its_deadlines_come() -> None:
    for seed in range(EXAMPLES):
        world = world_of(seed, Chances(5, 5), hurry=seed % 30)
        (handle,) = quiet(world, start(world, random_flow(Random(seed)), deadline=1.0))
        world.bag, world.late = world.late, []
        before = len(world.ran)
        world.until_quiet()
        assert len(world.ran) == before, "a deadline that comes after the end does something"
        assert missing(world, handle) == []


def quiet(world: World, handles: list[lower.Handle]) -> list[lower.Handle]:
    world.until_quiet()
    return handles


def test_error_callbacks_of_a_chord_run_once_whatever_ends_it() -> None:
    flow = chord([OK, BAD, chain(OK, BAD), signature("flaky:2")], OK).on_error(HEARD)
    for seed in range(100):
        world = world_of(seed, Chances(5, 5), hurry=seed % 30)
        quiet(world, start(world, flow, deadline=1.0))
        assert calls(world, "ok:heard") == 1


def test_a_body_that_ran_although_its_deadline_had_passed_causes_nothing() -> None:
    flow = chord([OK], signature("ok:body").on_error(HEARD)) | signature("ok:after")
    both = 0
    for seed in range(300):
        world = world_of(seed, hurry=8)
        (handle,) = quiet(world, start(world, flow, deadline=1.0))
        late = world.failures(handle) == {LATE.message}
        both += late and calls(world, "ok:body") == 1
        assert calls(world, "ok:heard") == late
        assert calls(world, "ok:after") == (not late)
        assert set(world.posted.values()) == {1}
    assert both


@pytest.mark.parametrize("lazy", [False, True])
def test_a_chord_whose_producer_dies_ends_by_its_deadline(lazy: bool) -> None:
    died = 0
    for seed in range(100):
        members = [OK, chain(OK, OK), signature("swap:chain")] * 3
        header = group(iter(members)) if lazy else group(members)
        flow = chord(header, OK.set(task_id="end")).on_error(HEARD)
        world = world_of(seed)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(lower, "BATCH", 2)
            handles = start(world, flow, deadline=0.0 if lazy else 1.0)
            for _ in range(world.random.randrange(40)):
                next(world.actors[0][0], None)
            world.actors.clear()
        world.until_quiet()
        if world.posted and not handles and not world.ended("end"):
            died += 1
            world.bag, world.late = world.late, []
            world.until_quiet()
            assert calls(world, "ok:heard") == 1
            assert world.failures(lower.Handle("end")) == {LATE.message}
    assert died


def test_a_chord_whose_member_is_lost_ends_by_its_deadline() -> None:
    world = world_of()
    handles = start(world, chain(OK, group(OK, OK), OK, OK).on_error(HEARD), deadline=1.0)
    while not any(message.send.place.join for message in world.bag):
        step(world)
    world.bag.remove(next(message for message in world.bag if message.send.place.join))
    world.until_quiet()
    assert missing(world, handles[0])
    world.bag, world.late = world.late, []
    world.until_quiet()
    assert world.failures(handles[0]) == {LATE.message}
    assert calls(world, "ok:heard") == 1


def step(world: World) -> None:
    """One message to its end."""
    if world.actors:
        for _ in world.actors.pop()[0]:
            pass
        return
    message = world.bag.pop(0)
    for _ in world.work(message):
        pass


def test_a_workflow_whose_pages_have_expired_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lower, "PAGE", 64)
    world = world_of()
    handles = start(world, chord([chain([OK] * 20).on_error(HEARD), OK], OK).on_error(HEARD))
    step(world)
    for key in [key for key in world.store if key.endswith(":page")]:
        del world.store[key]
    world.until_quiet()
    assert world.failures(handles[0]) == {LOST.message}
    assert calls(world, "ok:heard") == 2


def test_a_workflow_whose_join_has_expired_says_so() -> None:
    world = world_of()
    start(world, chord([OK, OK], OK))
    step(world)
    for key in [key for key in world.store if ":join:" in key]:
        del world.store[key]
    with pytest.raises(FlowLost, match="join:0 of a workflow is gone"):
        world.until_quiet()


def test_a_failed_chain_goes_on_after_a_requeue() -> None:
    world = world_of()
    handles = start(world, chain(OK, SICK, OK, OK).on_error(HEARD))
    sick = sent(world, "sick:a")
    assert world.failures(handles[0]) == {"sick:a is sick"}
    requeue(world, sick[0])
    assert world.failures(handles[0]) == set()
    assert world.result(handles[0])
    assert missing(world, handles[0]) == []


@pytest.mark.parametrize("slow", [0, 1])
def test_a_failed_chord_goes_on_after_a_requeue(slow: int) -> None:
    """Also when the last member to end is one that was never requeued, and knows of no generation."""
    world = world_of()
    handles = start(world, chord([SICK, signature("ok:slow"), SICK], signature("ok:body")))
    step(world)
    late = [message for message in world.bag if message.send.call.task == "ok:slow"]
    if slow:
        world.bag.remove(late[0])
    sick = sent(world, "sick:a")
    assert world.failures(handles[0]) == {"sick:a is sick"}
    for message in sick:
        requeue(world, message)
    if slow:
        assert calls(world, "ok:body") == 0
        world.bag += late
        world.until_quiet()
    assert calls(world, "ok:body") == 1
    assert world.failures(handles[0]) == set()
    assert missing(world, handles[0]) == []


def sent(world: World, task: str) -> list[Message]:
    """Run to the end; the messages of a task."""
    seen: dict[str, Message] = {}
    while world.bag or world.actors:
        seen |= {message.send.id: message for message in world.bag if message.send.call.task == task}
        step(world)
    return list(seen.values())


def requeue(world: World, message: Message) -> None:
    send = message.send
    fields = {name: getattr(send, name) for name in send.__struct_fields__} | {"generation": 1}
    world.post(Message(type(send)(**fields)))
    world.until_quiet()


def test_a_task_that_replaces_itself_a_hundred_times_has_the_stack_of_one_that_does_so_once() -> None:
    left = 100

    def again() -> Flow:
        nonlocal left
        left -= 1
        return chain(OK, signature("swap:self")) if left else signature("ok:done")

    world = World({"swap:self": again}, Random(0))
    flow = chord([chain(signature("swap:self").link(HEARD), OK), OK], OK)
    handles = start(world, flow)
    sizes = []
    while world.bag or world.actors:
        step(world)
        sizes += [len(message.send.rest) for message in world.bag if message.send.call.task == "swap:self"]
    assert len(sizes) > 90
    assert set(sizes[2:]) == {sizes[2]}
    assert calls(world, "ok:heard") == 1
    assert missing(world, handles[0]) == []


def test_ids_of_members_are_derived_from_the_group() -> None:
    world = world_of()
    (handle,) = quiet(world, start(world, group(OK, chain(BAD, OK), OK)))
    assert handle.size == 3
    assert [world.ended(member_id(handle.id, index)) for index in range(3)] == [True] * 3
