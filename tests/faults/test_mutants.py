"""The mutants in the suite: a part of them, and that one which breaks nothing would be told."""

from __future__ import annotations

import sys

import pytest

from faults.crashes.places import PLACES
from faults.mutants import MUTANTS, Catch, hunt

#: Those whose cases are short. `python -m faults.mutants` tries all.
QUICK = {
    "sqlite": [
        "ack before run",
        "result after the ack",
        "dead letter that drops",
        "partial failure that is success",
        "standing record ignored",
        "standing step without the next",
        "drain that acks",
        "commit in two steps",
        "reclaim without fencing",
        "reclaim that drops",
        "stored later",
    ],
    "bare": ["retry that acks first", "swallowed publish error", "swallowed ack error", "pump that removes first"],
    "redis": ["lapsed lease that drops", "extend that revives", "ack that leaves something"],
}


@pytest.mark.skipif(sys.platform != "linux", reason="forks, and is killed with whoever started it")
@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", QUICK)
def test_each_mutant_is_found_by_the_check_that_is_meant(name: str) -> None:
    with PLACES[name]() as place:
        catches = hunt(place, [MUTANTS[mutant] for mutant in QUICK[name]])
    assert [catch for catch in catches if not catch.caught] == []
    assert len(catches) == len(QUICK[name])


def test_there_are_enough_and_each_says_what_is_wrong() -> None:
    assert len(MUTANTS) >= 30
    assert [mutant.name for mutant in MUTANTS.values() if not mutant.breaks.endswith(".")] == []
    assert {mutant.place for mutant in MUTANTS.values()} <= set(PLACES)


@pytest.mark.parametrize(
    ("catch", "caught"),
    [
        (Catch("ack before run", {"lost": "x"}), True),
        (Catch("ack before run", {"state": "by another check"}), False),
        (Catch("ack before run"), False),
        (Catch("ack before run", {"lost": "x"}, "lost: without it too"), False),
    ],
)
def test_a_mutant_is_caught_by_its_own_check_alone(catch: Catch, caught: bool) -> None:
    assert catch.caught is caught
