"""Workflows, run by a worker: the main ones over every pool, on memory and on SQLite; the rest on one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from engine.harness import PATIENCE, Engine
from support import eventually

from kernel import (
    ConfigError,
    GroupResult,
    Ignore,
    Kernel,
    Reject,
    ResultSet,
    TaskFailed,
    chain,
    chord,
    chunks,
    draw,
    group,
    signature,
    starmap,
    xmap,
)
from kernel.canvas import Signature
from kernel.errors import Replace
from kernel.outcome import decode_entry


def add(a: int, b: int) -> int:
    return a + b


def total(values: list[int]) -> int:
    return sum(values)


def bad(*_args: Any) -> None:
    raise ValueError("bad")


def test_chains_groups_and_chords(engine: Engine) -> None:
    task, body = engine.task(add), engine.task(total)
    with engine.run():
        result = chain(task.s(1, 2), task.s(3), task.s(4)).delay()
        grouped = group(task.s(i, i) for i in range(10)).delay()
        nested = group(group(task.s(1, 1), task.s(2, 2)) | body.s(), task.s(3, 3)) | body.s() | task.s(1)
        assert nested.delay().get(PATIENCE) == 13
        assert grouped.get(PATIENCE) == [2 * i for i in range(10)]
        assert result.get(PATIENCE) == 10


def test_a_failure_ends_the_workflow_with_its_cause(engine: Engine) -> None:
    task, fails, body = engine.task(add), engine.task(bad), engine.task(total)
    with engine.run():
        for flow in (task.s(1, 2) | fails.s() | task.s(3), group(task.s(1, 1), fails.s()) | body.s()):
            with pytest.raises(TaskFailed, match="bad"):
                flow.delay().get(PATIENCE)


def grow(self: Any, more: int) -> int:
    """A member that adds one that adds one."""
    if more:
        self.add_to_chord(signature("grow", (more - 1,)))
    return more


def listed(values: list[int]) -> list[int]:
    return values


def test_members_add_to_their_chord(engine: Engine) -> None:
    task, grows, body = engine.task(add), engine.task(grow, bind=True), engine.task(listed)
    with engine.run():
        one = chord([grows.s(3), task.s(5, 5), grows.s(0), grows.s(1)])(body.s())
        nested = (group(task.s(1, 1), chain(task.s(1, 0), grows.s())) | body.s() | body.s()).delay()
        assert one.get(PATIENCE) == [3, 2, 1, 0, 10, 0, 1, 0]
        assert nested.get(PATIENCE) == [2, 1, 0]


# -- on one pool ---------------------------------------------------------------------------------------------


@pytest.fixture
def lone(engines: Any) -> Engine:
    """An engine of threads on memory."""
    engine: Engine = engines("threads")
    return engine


def test_the_results_of_a_chain_hang_together(lone: Engine) -> None:
    task = lone.task(add)
    result = (task.s(1, 2) | task.s(3) | group(task.s(1), task.s(2))).delay()
    with lone.run():
        assert isinstance(result, GroupResult)
        assert result.get(PATIENCE) == [7, 8]
        assert result.parent.get(PATIENCE) == 6
        assert result.parent.parent.get(PATIENCE) == 3
        assert result.parent.parent.parent is None
        assert result.successful()
        assert not result.failed()
        assert result.completed_count() == 2
        assert {each.get(0.0) for each in result} == {7, 8}
        assert [each.id for each in result.as_completed(PATIENCE)] != []


def test_callbacks_start_with_the_value_or_the_failure(lone: Engine) -> None:
    heard: dict[str, Any] = {}
    two = threading.Barrier(3)

    def fine(value: Any) -> None:
        heard["value"] = value
        two.wait(PATIENCE)

    def sorry(failure: dict[str, str]) -> None:
        heard["failure"] = failure
        two.wait(PATIENCE)

    task, fails, good, wrong = lone.task(add), lone.task(bad), lone.task(fine), lone.task(sorry)
    with lone.run():
        assert task.apply_async((1, 2), link=good.s(), link_error=[wrong.s()]).get(PATIENCE) == 3
        failed = fails.apply_async(link=[good.s()], link_error=wrong.s())
        two.wait(PATIENCE)
    assert heard["value"] == 3
    assert heard["failure"] == {"id": failed.id, "task": "bad", "type": "ValueError", "message": "bad"}


def test_a_task_is_replaced_wherever_it_stands(lone: Engine) -> None:
    def swap(value: int) -> None:
        raise Replace(group(signature("add", (value, 1)), signature("add", (value, 2))) | signature("total"))

    task, body, swapped = lone.task(add), lone.task(total), lone.task(swap)
    with lone.run():
        alone = swapped.delay(1)
        within = (task.s(1, 1) | swapped.s() | task.s(100)).delay()
        member = (group(swapped.si(1), task.s(0, 0)) | body.s()).delay()
        assert alone.get(PATIENCE) == 5
        assert within.get(PATIENCE) == 107
        assert member.get(PATIENCE) == 5


def test_a_task_that_cannot_be_replaced_fails(lone: Engine) -> None:
    def swap() -> None:
        raise Replace(signature("add", (object(), 1)))

    swapped = lone.task(swap)
    with lone.run(), pytest.raises(TaskFailed, match="JSON"):
        swapped.delay().get(PATIENCE)


def test_what_is_added_to_a_chord_and_fails_ends_it(lone: Engine) -> None:
    def extend(self: Any) -> None:
        self.add_to_chord(signature("bad"))

    lone.task(bad)
    task, body = lone.task(extend, bind=True), lone.task(listed)
    with lone.run(), pytest.raises(TaskFailed, match="bad"):
        chord([task.s(), task.s()])(body.s()).get(PATIENCE)


def test_only_the_end_of_a_member_adds_to_a_chord(lone: Engine) -> None:
    task, grows = lone.task(listed), lone.task(grow, bind=True)
    first = lone.task(grow, name="first", bind=True)
    with lone.run():
        for flow in (grows.s(1), group(grows.s(1), grows.s(2)), group(first.s(1) | grows.s(), grows.s(0)) | task.s()):
            with pytest.raises(TaskFailed, match="nothing to add to"):
                flow.delay().get(PATIENCE)
    with pytest.raises(ValueError, match="nothing to add to"):
        grows(1)


def test_a_member_that_ran_twice_has_added_once(lone: Engine) -> None:
    """Its worker died between record and sends: the first workflow that was recorded stands."""
    runs: list[int] = []

    def extend(self: Any) -> int:
        runs.append(1)
        if len(runs) == 1:
            self.add_to_chord(signature("add", (100, 0)))
            self.retry(countdown=0.0)
        self.add_to_chord(signature("add", (len(runs), 0)))
        return 0

    lone.task(add)
    task, body = lone.task(extend, bind=True), lone.task(listed)
    with lone.run():
        assert chord([task.s()])(body.s()).get(PATIENCE) == [0, 2]


def test_maps_and_chunks(lone: Engine) -> None:
    task = lone.task(add)

    async def double(value: int) -> int:
        return 2 * value

    doubled = lone.task(double)
    with lone.run():
        assert task.starmap([(1, 2), (3, 4)]).delay().get(PATIENCE) == [3, 7]
        assert doubled.map(range(3)).delay().get(PATIENCE) == [0, 2, 4]
        assert task.chunks(((i, i) for i in range(5)), 2).delay().get(PATIENCE) == [[0, 2], [4, 6], [8]]
        assert xmap(doubled, [5]).delay().get(PATIENCE) == [10]
        assert starmap("add", [(5, 5)]).delay().get(PATIENCE) == [10]
        with pytest.raises(TaskFailed, match="nobody"):
            xmap("nobody", [5]).delay().get(PATIENCE)


def test_what_is_empty_has_a_value(lone: Engine) -> None:
    body = lone.task(total)
    with lone.run():
        assert (group() | body.s()).delay().get(PATIENCE) == 0
        assert chord([], body.s()).delay().get(PATIENCE) == 0
        assert chord([signature("total", ([5],))])(body.s()).get(PATIENCE) == 5
        assert chord(iter(()), body.s()).delay().get(PATIENCE) == 0
        assert chain().delay().get(PATIENCE) is None
        assert group().delay().get(PATIENCE) == []


def test_a_large_value_is_not_copied_into_the_next_message(lone: Engine) -> None:
    def large() -> str:
        return "x" * 3_000_000

    def size(value: str) -> int:
        return len(value)

    makes, takes = lone.task(large), lone.task(size)
    flow = makes.s() | takes.s()
    for _ in range(2):
        flow = group(flow, flow) | lone.task(name="twice")(lambda sizes: sum(sizes)).s()
    with lone.run(max_payload=4_000_000):
        assert (makes.s() | takes.s()).delay().get(PATIENCE) == 3_000_000


def test_values_go_through_another_serializer(lone: Engine) -> None:
    task = lone.task(add)
    packed = lone.task(name="packed", serializer="pickle")(add)
    with lone.run(accept=("json", "pickle")):
        assert (task.s(1, 1) | packed.s(2) | packed.s(3) | task.s(4)).delay().get(PATIENCE) == 11


def test_the_results_of_a_group_come_as_they_were(lone: Engine) -> None:
    values: list[Any] = [None, (1, 2), {"$x": [b"bytes"]}, {3, 4}, "a, b], [", [[]], 1.5]

    def value(index: int) -> Any:
        return values[index]

    gives, takes = lone.task(value), lone.task(name="takes")(lambda given: given)
    packs = lone.task(name="packs", serializer="pickle")(value)
    with lone.run(accept=("json", "pickle")):
        members = [gives.s(index) for index in range(len(values))]
        assert chord(members, takes.s()).delay().get(PATIENCE) == values
        assert chord([*members, packs.s(1)], takes.s()).delay().get(PATIENCE) == [*values, (1, 2)]


def test_a_generator_is_consumed_while_it_is_sent(lone: Engine) -> None:
    task, body = lone.task(add), lone.task(total)
    made: list[int] = []

    def members() -> Iterator[Signature]:
        for index in range(1200):
            made.append(lone.size().ready or 0)
            yield task.s(index, 0)

    result = chord(members(), body.s()).delay()
    assert made[0] == 0
    assert made[-1] >= 1000
    with lone.run():
        assert result.get(PATIENCE) == sum(range(1200))


def test_an_ignored_task_ends_its_workflow(lone: Engine) -> None:
    def leave() -> None:
        raise Ignore

    left, body = lone.task(leave), lone.task(total)
    with lone.run(), pytest.raises(TaskFailed, match="Ignore"):
        (group(left.s(), left.s()) | body.s()).delay().get(PATIENCE)


def test_a_dead_letter_that_is_requeued_takes_its_workflow_along(lone: Engine) -> None:
    sick = threading.Event()

    def patient(value: int) -> int:
        if not sick.is_set():
            raise Reject("later")
        return value

    task, body = lone.task(patient), lone.task(total)
    result = (group(task.s(1), task.s(2)) | body.s()).delay()
    with lone.run():
        with pytest.raises(TaskFailed):
            result.get(PATIENCE)
        lone.letters(2)
        sick.set()
        assert lone.app.dead().requeue() == 2
        eventually(lambda: lone.app.result(result.id).state == "SUCCESS")
        assert lone.app.result(result.id).get(PATIENCE) == 3


def test_a_join_ends_by_its_deadline(lone: Engine) -> None:
    body = lone.task(total)
    stays = lone.task(add, queue="elsewhere")
    with lone.run(), pytest.raises(TaskFailed, match="deadline"):
        (group(stays.s(1, 1)) | body.s()).apply_async(deadline=0.05).get(PATIENCE)


def test_the_options_of_calls_reach_their_messages(lone: Engine) -> None:
    seen: list[Any] = []

    def look(*args: Any) -> None:
        from kernel import current_request

        request = current_request()
        assert request is not None
        seen.append((request.priority, request.headers, request.root_id, request.parent_id))

    task = lone.task(look)
    with lone.run():
        result = (task.s().set(priority=3) | task.s()).apply_async(headers={"who": "me"})
        result.get(PATIENCE)
        first = result.parent
    assert seen == [(3, {"who": "me"}, result.id, None), (0, {"who": "me"}, result.id, first.id)]


def test_what_a_task_sends_are_its_children(lone: Engine) -> None:
    def sends() -> str:
        return str(lone.app.send_task("add", (1, 1)).id)

    task = lone.task(sends)
    lone.task(add)
    with lone.run():
        result = task.delay()
        child = result.get(PATIENCE)
        assert [each.id for each in result.children] == [child]
        assert result.children[0].get(PATIENCE) == 2


def test_a_picture_shows_how_far_it_is(lone: Engine) -> None:
    task = lone.task(add)
    flow = task.s(1, 2) | group(task.s(3), task.s(4))
    result = flow.delay()
    assert "fill" not in draw(flow, result)
    with lone.run():
        result.get(PATIENCE)
        drawn = draw(flow, result, form="dot")
        assert drawn.count("#c8e6c9") == 3
        assert drawn.startswith("digraph")
        assert draw(flow).startswith("flowchart")


def test_a_group_is_saved_and_restored(lone: Engine) -> None:
    task = lone.task(add)
    result = group(task.s(1, 1), task.s(2, 2)).delay()
    result.save()
    restored = GroupResult.restore(result.id, lone.app)
    assert restored is not None
    with lone.run():
        assert restored.get(PATIENCE) == [2, 4]
    restored.delete()
    assert GroupResult.restore(result.id, lone.app) is None


def test_a_set_of_results(lone: Engine) -> None:
    task, fails = lone.task(add), lone.task(bad)
    results: ResultSet[Any] = ResultSet([task.delay(1, 1)], lone.app.results)
    results.add(results[0])
    assert len(results) == 1
    assert results.waiting()
    with lone.run():
        results.update([task.delay(2, 2), results[0]])
        assert results.get(PATIENCE) == [2, 4]
        assert results.ready()
        results.add(fails.delay())
        with pytest.raises(TaskFailed, match="bad"):
            results.get(PATIENCE)
        assert results.failed()
        errors = results.get(PATIENCE, propagate=False)
        assert isinstance(errors[2], TaskFailed)
    results.discard(results[2])
    results.forget()
    assert not results.ready()


def test_what_cannot_be_is_refused_at_the_caller(lone: Engine) -> None:
    task = lone.task(add)
    other = Kernel("other").task(name="other")(add)
    with pytest.raises(ConfigError, match="one application"):
        task.s(1, 1) | other.s(2)
    with pytest.raises(ConfigError, match="no part of a workflow"):
        chain(task.s(1), "add")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="'add' is no part"):
        task.apply_async((1, 1), link="add")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="queeu"):
        (task.s(1, 1) | task.s(2)).apply_async(queeu="x")
    with pytest.raises(TypeError, match="3"):
        (task.s(1, 1) | task.s(2, 3, 4)).delay()
    lonely = Kernel("lonely", transport=lone.url, results="none")
    stored = lonely.task(name="stored")(add)
    with pytest.raises(ConfigError, match="result store"):
        (group(stored.s(1, 1)) | stored.s(2)).delay()
    lonely.close()


async def _awaited(flow: Any) -> Any:
    return await (await flow.adelay()).aget(PATIENCE)


def test_coroutines_start_and_await_workflows(lone: Engine) -> None:
    import asyncio

    task, body = lone.task(add), lone.task(total)
    with lone.run():
        assert asyncio.run(_awaited(group(task.s(1, 1), task.s(2, 2)) | body.s())) == 6
        assert asyncio.run(_awaited(group(task.s(1, 1), task.s(2, 2)))) == [2, 4]


def test_the_last_record_of_a_replaced_task_is_its_value(lone: Engine) -> None:
    def swap() -> None:
        raise Replace(signature("add", (1, 1)))

    lone.task(add)
    task = lone.task(swap)
    with lone.run():
        result = task.delay()
        assert result.get(PATIENCE) == 2
    store = lone.app.ports.results
    assert store is not None
    value = store.get([result.id])[0]
    assert value is not None
    assert decode_entry(value).cause != ""
    assert list(chunks("add", [(1, 1)], 1).members)


def test_a_chord_whose_producer_dies_half_way_ends_by_its_deadline(lone: Engine) -> None:
    task, body = lone.task(add), lone.task(total)

    class Died(Exception):
        pass

    def members() -> Iterator[Signature]:
        for index in range(700):
            yield task.s(index, 0)
        raise Died  # 500 of them are sent

    with pytest.raises(Died):
        chord(members(), body.s()).apply_async(task_id="end", deadline=1.0)
    with lone.run():
        with pytest.raises(TaskFailed, match="deadline"):
            lone.app.result("end").get(PATIENCE)
        lone.empty()
