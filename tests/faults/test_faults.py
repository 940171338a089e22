"""A short run of the proof harness on each system, and the ledger's own arithmetic."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from faults.engine import Engine, Verdict
from faults.ledger import Books, Ledger
from faults.systems import SYSTEMS

#: Seed of the runs in the suite; `python -m faults` takes others.
SEED = 7


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.timeout(150)
@pytest.mark.parametrize("name", SYSTEMS)
def test_nothing_is_lost_under_random_faults(tmp_path: Path, name: str) -> None:
    with SYSTEMS[name]() as system:
        verdict = Engine(tmp_path, *system.urls(tmp_path, SEED), system.server, SEED).run(tasks=600, faults=5)
    assert verdict.trouble() == ""
    assert verdict.faults_in_all
    assert verdict.tasks >= 600 or verdict.faults["a producer killed"]


def test_the_ledger_finds_what_is_wrong(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.write("attempt", "lost", "done", "twice", "refused", "unclear")
    ledger.write("confirmed", "lost", "done", "twice")
    ledger.write("refused", "refused")
    ledger.write("unknown", "unclear")
    ledger.write("start", "done#0", "twice#0", "twice#0", "refused#0", "nobody's#0", "unclear#0")
    ledger.write("end", "done", "twice", "refused", "nobody's", "unclear")
    books = Books.of(tmp_path)
    assert books.unfinished == {"lost"}
    assert books.phantoms == {"nobody's"}
    assert books.refused_and_run == {"refused"}
    assert (books.duplicates, books.most_often) == (1, 2)


def test_a_line_that_was_cut_off_is_none(tmp_path: Path) -> None:
    (tmp_path / "1.ledger").write_text("attempt a\nconfirmed a\nend ")
    books = Books.of(tmp_path)
    assert books.unfinished == {"a"}
    assert not books.ends


@pytest.mark.parametrize(
    ("verdict", "says"),
    [
        (Verdict(1), ""),
        (Verdict(1, lost={"x"}), "seed 1: 1 lost: ['x']"),
        (Verdict(1, duplicates=1), "seed 1: 1 ran twice without a fault"),
        (Verdict(1, most_often=3), "seed 1: one ran 3 times with 0 faults"),
    ],
)
def test_the_verdict(verdict: Verdict, says: str) -> None:
    assert verdict.trouble() == says
