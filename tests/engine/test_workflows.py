"""Workflows, run by a worker."""

from __future__ import annotations

from typing import Any

import pytest
from engine.harness import PATIENCE, Engine

from kernel import TaskFailed
from kernel.canvas import chain, chord, group


def add(a: int, b: int) -> int:
    return a + b


def total(values: list[int]) -> int:
    return sum(values)


def bad(*_args: Any) -> None:
    raise ValueError("bad")


def test_a_chain_hands_on_what_each_step_returns(engine: Engine) -> None:
    task = engine.task(add)
    with engine.run():
        result = chain(task.s(1, 2), task.s(3), task.s(4)).delay()
        assert result.get(PATIENCE) == 10
        assert result.parent.get(PATIENCE) == 6
        assert result.parent.parent.get(PATIENCE) == 3


def test_a_group_gives_all_values_in_order(engine: Engine) -> None:
    task = engine.task(add)
    with engine.run():
        assert group(task.s(i, i) for i in range(10)).delay().get(PATIENCE) == [2 * i for i in range(10)]


def test_a_chord_hands_the_list_to_its_body(engine: Engine) -> None:
    task, body = engine.task(add), engine.task(total)
    with engine.run():
        assert chord([task.s(i, i) for i in range(10)], body.s()).delay().get(PATIENCE) == 90
        nested = group(group(task.s(1, 1), task.s(2, 2)) | body.s(), task.s(3, 3)) | body.s() | task.s(1)
        assert nested.delay().get(PATIENCE) == 13


def test_a_failure_ends_the_workflow_with_its_cause(engine: Engine) -> None:
    task, fails, body = engine.task(add), engine.task(bad), engine.task(total)
    with engine.run():
        for flow in (task.s(1, 2) | fails.s() | task.s(3), group(task.s(1, 1), fails.s()) | body.s()):
            with pytest.raises(TaskFailed, match="bad"):
                flow.delay().get(PATIENCE)
