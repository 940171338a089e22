"""Groups whose members come from a generator are made while they are sent."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest
from flows.simulator import Chances, World, pack
from flows.test_equivalence import judge

from kernel.canvas import Flow, chain, chord, chunks, group, lower, signature
from kernel.canvas.effects import Count, Get, Keep, Post
from kernel.errors import ConfigError

OK = signature("ok:a")


def members(n: int) -> Iterator[Flow]:
    return (chain(signature("ok:a", (index,)), OK) if index % 3 else signature("ok:b", (index,)) for index in range(n))


@pytest.mark.parametrize("n", [0, 1, 7, 30])
@pytest.mark.parametrize("batch", [1, 4, 500])
def test_a_lazy_chord_equals_one_of_a_list(n: int, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lower, "BATCH", batch)
    for seed in range(20):
        world = World({}, Random(seed), Chances(5, 5))
        handles = world.produce(lower.lower(chord(group(members(n)), OK) | OK, world.new_id, pack))
        world.until_quiet()
        judge(chord(list(members(n)), OK) | OK, world, handles[0])


@pytest.mark.parametrize("n", [0, 5])
def test_a_lazy_group_at_the_end_knows_its_size_when_it_is_sent(n: int) -> None:
    world = World({}, Random(0))
    handles = world.produce(lower.lower(group(members(n)), world.new_id, pack))
    world.until_quiet()
    assert handles[0].size == n
    assert len(world.result(handles[0])) == n


def test_members_are_made_as_they_are_sent() -> None:
    """However many there are, a batch of them is there at once."""
    made = 0

    def counted() -> Iterator[Flow]:
        nonlocal made
        for _ in range(30_000):
            made += 1
            yield OK

    sent = waiting = 0
    ids: set[str] = set()
    requests = lower.lower(chord(group(counted()), OK), lambda: "0" * 32, pack)
    answer: object = None
    for _ in range(1000):
        try:
            request = requests.send(answer)
        except StopIteration:
            break
        answer = None
        if isinstance(request, Post):
            sent += len(request.sends)
            ids.update(send.id for send in request.sends)
            assert len(request.sends) <= lower.BATCH
        elif isinstance(request, Count):
            answer = 1
        waiting = max(waiting, made - sent)
        assert isinstance(request, Keep | Post | Count | Get)
    assert made == 30_000
    assert len(ids) == 30_001  # with the watch
    assert waiting <= lower.BATCH


def test_what_a_generator_makes_can_be_used_once() -> None:
    lazy = group(members(3))
    list(lazy.members)
    with pytest.raises(ConfigError, match="used up: give it a list"):
        list(lazy.members)


def test_a_generator_is_listed_where_it_cannot_be_lazy() -> None:
    world = World({}, Random(0))
    handles = world.produce(lower.lower(OK | group(members(4)) | OK, world.new_id, pack))
    world.until_quiet()
    judge(OK | group(list(members(4))) | OK, world, handles[0])


def test_chunks_of_a_generator_are_lazy() -> None:
    taken = []
    lazy = chunks("ok:a", ((taken.append(n) or n,) for n in range(10)), 3)  # type: ignore[func-returns-value]
    assert taken == []
    assert [len(member.args[1]) for member in lazy.members] == [3, 3, 3, 1]  # type: ignore[attr-defined]
