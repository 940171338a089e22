"""Messages and records grow with the number of tasks and no faster, and a step costs the same wherever it is."""

from __future__ import annotations

from functools import reduce
from operator import or_
from random import Random
from typing import Any

import pytest
from flows.simulator import World, pack

from kernel.canvas import Flow, chain, chord, group, lower, signature
from kernel.canvas.effects import Keep, Post
from kernel.canvas.flow import MAX_DEPTH
from kernel.canvas.frames import encode, member_id, member_ids
from kernel.errors import ConfigError

STEP = signature("tasks.add", (1,))
#: Bytes of one step of a chain in a message: its name, its arguments, its queue, and twelve for everything else.
PER_STEP = len("tasks.add") + len(b"[[1],{}]") + len("json") + len("default") + 12


def started(flow: Flow, world: World | None = None) -> tuple[int, int, int]:
    """Bytes kept and sent, and of the largest message, when a workflow is started."""
    world = world or World({}, Random(0))
    kept = sent = largest = 0
    requests = lower.lower(flow, world.new_id, pack)
    answer: Any = None
    while True:
        try:
            request = requests.send(answer)
        except StopIteration:
            return kept, sent, largest
        if isinstance(request, Keep):
            kept += sum(len(item.value) for item in request.items)
        elif isinstance(request, Post):
            for send in request.sends:
                size = len(send.call.body) + len(send.rest)
                sent, largest = sent + size, max(largest, size)
        answer = None if isinstance(request, Keep | Post) else world.answer(request)


def test_a_chain_costs_the_same_for_each_step(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = {n: sum(started(chain([STEP] * n))[:2]) for n in (10, 50, 1000, 10_000)}
    each = {n: (size - sizes[10]) / (n - 10) for n, size in sizes.items() if n > 10}
    with capsys.disabled():
        print(f"\na step of a chain has {each[50]:.1f} bytes in a message, {each[10_000]:.1f} in a chain of 10,000")
    assert each[50] <= PER_STEP
    assert each[10_000] <= PER_STEP + 2  # numbers are longer, and pages have keys


def test_a_message_has_a_bounded_continuation() -> None:
    world = World({}, Random(0))
    kept, _, largest = started(chain([STEP] * 10_000), world)
    assert kept > 300_000
    assert largest < lower.PAGE + 200


def test_what_follows_a_step_is_bounded_all_along_a_chain() -> None:
    world = World({}, Random(0))
    handles = world.produce(lower.lower(chain([signature("ok:a")] * 2000), world.new_id, pack))
    world.until_quiet()
    assert world.failures(handles[0]) == set()
    assert len(world.ran) == 2000
    assert world.largest < lower.PAGE + 200


CHORD = chord([STEP, STEP, STEP], STEP)
NESTS = {
    "a chain of chords": lambda n: chain([CHORD] * n),
    "chords joined one by one": lambda n: reduce(or_, [CHORD] * n),
    "chords in the body of chords": lambda n: reduce(lambda body, _: chord([STEP, STEP, STEP], body), range(n), STEP),
    "chords with callbacks": lambda n: chain([CHORD.on_error(STEP)] * n),
    "a group of chords": lambda n: group([CHORD] * n),
}


@pytest.mark.parametrize("nest", NESTS.values(), ids=list(NESTS))
def test_a_thousand_chords_cost_ten_times_a_hundred(nest: Any) -> None:
    hundred, thousand = sum(started(nest(100))[:2]), sum(started(nest(1000))[:2])
    assert thousand < 10.5 * hundred


def test_chords_in_the_header_of_chords_cost_what_they_are() -> None:
    nest = lambda n: reduce(lambda inner, _: chord([inner, STEP], STEP), range(n), STEP)  # noqa: E731
    sizes = [sum(started(nest(n))[:2]) for n in (5, 10, 20)]
    assert sizes[2] - sizes[1] <= 2.1 * (sizes[1] - sizes[0])
    with pytest.raises(ConfigError, match=f"deeper than {MAX_DEPTH} levels"):
        nest(1000)


def test_a_thousand_chords_run() -> None:
    world = World({}, Random(0))
    each = chord([signature("ok:a"), signature("ok:b")], signature("ok:c"))
    handles = world.produce(lower.lower(reduce(or_, [each] * 1000), world.new_id, pack))
    world.until_quiet()
    assert len(world.ran) == 3000
    assert world.failures(handles[0]) == set()


def test_a_member_of_a_group_carries_no_more_than_its_own_steps() -> None:
    flow = chord([STEP] * 100, chain([STEP] * 100))
    assert started(flow)[2] == len(b"[[1],{}]")


def test_sharing_one_part_many_times_is_counted() -> None:
    with pytest.raises(ConfigError, match="more than 10000000 tasks"):
        reduce(lambda inner, _: group(inner, inner), range(30), STEP)


def test_the_ids_of_all_members_are_those_of_each() -> None:
    for id in ("0" * 32, "short", "\ud800 odd"):
        assert member_ids(id, 1200) == [member_id(id, index) for index in range(1200)]


def test_ids_are_not_written_down() -> None:
    requests = lower.lower(chain([STEP] * 3), lambda: "0" * 32, pack)
    (send,) = next(requests).sends  # type: ignore[union-attr]
    assert send.rest.count(b"0" * 32) == 1
    assert encode([]) == b"\x90"
