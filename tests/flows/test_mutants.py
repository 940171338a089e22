"""The property is worth something: it sees each of these bugs."""

from __future__ import annotations

import pytest
from flows.mutants import MUTANTS, Mutant
from flows.test_equivalence import MISHAPS, one_replacement, trial, unrepeated

#: Random workflows after which a mutant counts as not found.
PATIENCE = 300


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
