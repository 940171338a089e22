"""Engine 1 in the suite: every crash point of two systems alone, and the arithmetic of the judge."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from faults.crashes.engine import Engine
from faults.crashes.judging import judge
from faults.crashes.places import PLACES, Place, Urls
from faults.crashes.points import Event, expected, modes
from faults.crashes.scenarios import SCENARIOS

linux = pytest.mark.skipif(sys.platform != "linux", reason="forks, and is killed with whoever started it")

PLACE = Place(name="x", traits=frozenset({"commit", "lease"}), lease=1.0, urls=Urls("x", "x", "x"), sized=True)


@linux
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("name", "scenarios"),
    [("sqlite", ["plain", "dead", "chord"]), ("bare", ["quiet retry"]), ("redis", ["retry", "chain"])],
)
def test_nothing_is_lost_at_any_crash_point(name: str, scenarios: list[str]) -> None:
    with PLACES[name]() as place:
        verdict = Engine(place, scenarios, hits=1).run()
    assert verdict.troubles == []
    assert verdict.kills > 15
    assert verdict.points > 12


# -- the judge -----------------------------------------------------------------------------------------------------


def said(*lines: tuple[Any, ...]) -> list[Event]:
    """A journal: (process, what, words...) a second apart."""
    return [Event(float(at), line[0], line[1], tuple(line[2:])) for at, line in enumerate(lines)]


SENT = [(1, "attempt", "k"), (1, "confirmed", "k"), (2, "received", "default", "k", 0, 0, 0, 7)]
RUN = [(2, "begun", "k", 0, 0, 0), (2, "ended", "k", 0, 0)]
PUT = [(2, "put", "k", 0, 0, 0, "SUCCESS", True, True, 5.0), (2, "settled", "default", "k", 0, 0, 7)]
RESULT = {"k": ["SUCCESS", ["k", 2]]}


def checks(lines: list[tuple[Any, ...]], results: Any = None, scenario: str = "plain", **left: Any) -> list[str]:
    audit = {"letters": left.get("letters", []), "results": RESULT if results is None else results, "left": []}
    return [f.check for f in judge(PLACE, SCENARIOS[scenario], said(*lines), audit, left.get("stuck", ""))]


def test_a_case_that_is_right_has_no_findings() -> None:
    assert checks([*SENT, *RUN, *PUT]) == []


@pytest.mark.parametrize(
    ("lines", "results", "found"),
    [
        (SENT, {}, ["lost"]),
        ([*RUN, *PUT], None, ["phantom"]),
        ([(1, "attempt", "k"), (1, "refused", "k"), *RUN, *PUT], None, ["phantom"]),
        ([*SENT, *RUN, *RUN, *PUT], None, ["duplicates"]),
        ([*SENT, *RUN, *PUT], {}, ["state"]),
        ([*SENT, *RUN, *PUT], {"k": ["FAILURE", None]}, ["state"]),
        ([*SENT, *RUN, *PUT], {"k": ["SUCCESS", ["k", 7]]}, ["state"]),
        ([*SENT, *RUN, (2, "early", "k", 0, 0), *PUT], None, ["early"]),
        ([*SENT[:2], (2, "received", "default", "k", 0, 0, 1, 8), *RUN, *PUT], None, ["redelivered"]),
        ([*SENT, RUN[0], *[(3, *event[1:]) for event in RUN], RUN[1], *PUT], None, ["duplicates", "overlap"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_found_by_its_check(lines: Any, results: Any, found: list[str]) -> None:
    assert checks(lines, results) == found


def test_a_kill_allows_one_more_run_of_what_was_in_hand() -> None:
    killed = [(2, "fault", "kill", "body done"), *[(3, "received", "default", "k", 0, 0, 1, 8)]]
    again = [(3, "begun", "k", 0, 0, 1), (3, "ended", "k", 0, 0), (3, "settled", "default", "k", 0, 0, 7)]
    assert checks([*SENT, *RUN, *killed, *again]) == []
    assert checks([*SENT, *RUN, *killed, *again, *again]) == ["duplicates"]


def test_a_lease_that_ran_out_is_a_fault_of_a_crowded_machine_only_if_it_was_renewed() -> None:
    crowd, renewed = (1, "crowding", 9.0), (2, "point", "worker", "before renewing", 1)
    again = [(3, "received", "default", "k", 0, 0, 1, 8), (3, "begun", "k", 0, 0, 1), (3, "ended", "k", 0, 0)]
    lost = (2, "lost", "default", "k", 0, 0, 7)
    assert checks([*SENT, *RUN, *again, lost]) == ["duplicates", "redelivered"]
    assert checks([crowd, *SENT, *RUN, *again, lost]) == ["duplicates", "redelivered"]
    assert checks([*SENT, renewed, *RUN, *again, lost]) == ["duplicates", "redelivered"]
    assert checks([crowd, *SENT, renewed, *RUN, *again, lost]) == ["redelivered"]


def test_what_was_settled_is_not_touched_by_a_kill() -> None:
    after = [(2, "fault", "kill", "after acking"), (3, "received", "default", "k", 0, 0, 1, 8)]
    after += [(3, "begun", "k", 0, 0, 1), (3, "ended", "k", 0, 0)]
    assert checks([*SENT, *RUN, *PUT, *after]) == ["duplicates", "again"]


def test_a_record_of_who_was_overtaken_is_found() -> None:
    frozen = [
        (2, "fault", "freeze", "body done"),
        (3, "begun", "k", 0, 0, 1),
        (2, "continued"),
        (3, "ended", "k", 0, 0),
    ]
    late = (2, "put", "k", 0, 0, 0, "SUCCESS", True, True, 8.5)
    assert checks([*SENT, *RUN, *frozen, late]) == ["fence"]


def test_a_dead_letter_that_should_not_be_is_found() -> None:
    letter = ["k", 0, 0, "failed", "no retry left", 1]
    assert checks([*SENT, *RUN, *PUT], letters=[letter]) == ["dead"]
    assert checks(SENT, {"k": ["FAILURE", None]}, "dead", letters=[letter]) == []
    assert checks(SENT, {"k": ["FAILURE", None]}, "dead", letters=[letter, letter]) == ["dead"]


def test_who_acknowledges_before_the_run_may_lose_it_with_its_process_or_its_answer() -> None:
    acked = [*SENT, (2, "settled", "default", "k", 0, 0, 7)]
    assert checks(acked, {}, "early ack") == ["lost"]
    assert checks([*acked, (2, "fault", "kill", "after acking")], {}, "early ack") == []
    assert checks([*acked, (2, "fault", "lie", "after acking")], {}, "early ack") == []
    assert checks([*acked, (2, "fault", "refuse", "before putting SUCCESS")], {}, "early ack") == ["lost"]
    later = (2, "settled", "default", "another", 0, 0, 8)
    assert checks([*acked, later, (2, "fault", "kill", "after acking")], {}, "early ack") == ["lost"]


def test_what_does_not_come_to_rest_is_stuck() -> None:
    assert checks([*SENT, *RUN, *PUT], stuck="not at rest") == ["stuck"]


# -- the points ----------------------------------------------------------------------------------------------------


def test_one_step_has_no_points_between_send_and_ack() -> None:
    commit, steps = (expected(frozenset({trait, "native"})) for trait in ("commit", "steps"))
    assert ("worker", "after committing a retry") in commit - steps
    assert ("worker", "after sending a retry") in steps - commit


def test_only_calls_can_be_refused_or_lied_about() -> None:
    assert modes("before acking") == ["freeze", "refuse"]
    assert modes("after acking") == ["freeze", "lie"]
    assert modes("before sending a call") == ["freeze", "refuse", "partial"]
    assert modes("body begun") == ["freeze", "quit"]
