"""The tests are worth something: they see each of these bugs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flows import test_ends as ends
from flows.mutants import LATE_MUTANTS, MUTANTS, Mutant
from flows.test_equivalence import MISHAPS, one_replacement, trial, unrepeated

#: Random workflows after which a mutant counts as not found.
PATIENCE = 300

LATE: list[Callable[[], None]] = [
    ends.test_a_body_that_ran_although_its_deadline_had_passed_causes_nothing,
    ends.test_a_chord_whose_member_is_lost_ends_by_its_deadline,
    lambda: ends.test_a_failed_chord_goes_on_after_a_requeue(1),
    lambda: ends.test_a_chord_whose_producer_dies_ends_by_its_deadline(True),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_found(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant.install(monkeypatch)
    for seed in range(PATIENCE):
        try:
            trial(seed, MISHAPS[seed % len(MISHAPS)])
            unrepeated(seed)
            one_replacement(seed)
        except Exception:
            return
    pytest.fail(f"nothing noticed that {mutant.name}")


@pytest.mark.parametrize("mutant", LATE_MUTANTS, ids=lambda mutant: mutant.name)
def test_a_late_mutant_is_found(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant.install(monkeypatch)
    for test in LATE:
        try:
            test()
        except Exception:
            return
    pytest.fail(f"nothing noticed that {mutant.name}")
