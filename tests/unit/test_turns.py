"""In which order the queues are asked."""

from __future__ import annotations

from collections import Counter

import pytest

from kernel.errors import ConfigError
from kernel.worker.turns import Turns


def test_fair_turns_change_the_first_queue() -> None:
    turns = Turns(["a", "b", "c"])
    first = [turns.next()[0] for _ in range(9)]
    assert Counter(first) == {"a": 3, "b": 3, "c": 3}
    assert sorted(turns.next()) == ["a", "b", "c"]


def test_weighted_turns_are_smooth() -> None:
    turns = Turns(["a:5", "b"])
    first = "".join(turns.next()[0] for _ in range(60))
    assert Counter(first) == {"a": 50, "b": 10}
    assert "aaaaaa" not in first.strip("a")


def test_strict_turns_never_change() -> None:
    turns = Turns(["a", "b:9"], strict=True)
    assert {tuple(turns.next()) for _ in range(20)} == {("a", "b")}
    assert turns.names == ["a", "b"]


@pytest.mark.parametrize("queues", [["a:0"], ["a:x"], ["a:-1"], ["a:1.5"], [":3"], ["a", "a:2"], ["a:"]])
def test_what_is_no_queue_is_refused(queues: list[str]) -> None:
    with pytest.raises(ConfigError, match="queue"):
        Turns(queues)


def test_what_is_excluded_is_left_out() -> None:
    turns = Turns(["a:5", "b", "c:2"], excluded=["b"])
    assert turns.names == ["a", "c"]
    assert sorted(turns.next()) == ["a", "c"]


@pytest.mark.parametrize(
    ("excluded", "message"),
    [(["x"], "queue 'x' is excluded, and not among those: a, b"), (["a", "b"], "all queues are excluded")],
)
def test_what_cannot_be_excluded_is_refused(excluded: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Turns(["a", "b"], excluded=excluded)
