"""Each fault by itself, and what is said of the recovery from it."""

from __future__ import annotations

from collections import Counter

import pytest

from faults.random.recovery import COLUMNS, Recovery
from faults.random.schedule import CALM, one_by_one
from faults.random.verdict import Verdict

MENU = {"a": (3, 0.0, 0.0), "b": (1, 1.0, 2.0), "c": (0, 0.5, 0.5)}


@pytest.mark.parametrize("seed", range(5))
def test_every_fault_comes_once_and_is_over_before_the_next(seed: int) -> None:
    strikes = one_by_one(seed, MENU)
    faults, calms = strikes[::2], strikes[1::2]
    assert sorted(strike.fault for strike in faults) == sorted(MENU)
    assert {strike.fault for strike in calms} == {CALM}
    for fault, calm in zip(faults, calms, strict=True):
        assert calm.at == pytest.approx(fault.at + fault.lasts)
    assert [strike.at for strike in strikes] == sorted(strike.at for strike in strikes)


def test_the_order_is_the_seeds() -> None:
    assert one_by_one(1, MENU) == one_by_one(1, MENU)
    assert len({tuple(strike.fault for strike in one_by_one(seed, MENU)) for seed in range(20)}) > 1


def test_a_row_names_the_slowest_of_all_runs() -> None:
    runs = [
        Verdict(1, 100, Counter(a=1, b=1), recoveries={"a": 0.5, "b": 2.0}, paces=[900.0, 800.0]),
        Verdict(2, 50, Counter(a=1, b=1), {"x"}, recoveries={"a": 3.0, "b": 1.0}, paces=[1100.0, 1000.0]),
    ]
    found = Recovery("redis", 2.0, runs)
    assert found.slowest == {"a": 3.0, "b": 2.0}
    assert dict(zip(COLUMNS, found.row, strict=True)) == {
        "system": "redis",
        "runs": "2",
        "kinds": "2",
        "faults": "4",
        "tasks": "150",
        "lost": "1",
        "median": "1.5 s",
        "slowest": "3.0 s",
        "three leases": "6 s",
        "pace before": "1,000/s",
        "after": "900/s",
    }
