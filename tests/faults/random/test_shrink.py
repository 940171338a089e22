"""Shrinking a schedule of faults."""

from __future__ import annotations

from collections.abc import Sequence

from faults.random.schedule import Strike
from faults.random.shrink import shrink


def _strikes(count: int) -> list[Strike]:
    return [Strike(float(number), str(number), 0.0, number) for number in range(count)]


def test_what_does_not_matter_is_left_out() -> None:
    def fails(strikes: Sequence[Strike]) -> bool:
        return {"3", "11"} <= {strike.fault for strike in strikes}

    assert [strike.fault for strike in shrink(_strikes(16), fails)] == ["3", "11"]


def test_it_ends_after_so_many_tries() -> None:
    tried: list[int] = []

    def fails(strikes: Sequence[Strike]) -> bool:
        tried.append(len(strikes))
        return False

    assert shrink(_strikes(64), fails, most=5) == _strikes(64)
    assert len(tried) == 5
