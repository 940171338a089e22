"""A short run of the proof harness on each system, and the ledger's own arithmetic."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from faults.ledger import Books, Ledger
from faults.random.audit import Audit
from faults.random.engine import Engine
from faults.random.menu import Mishap
from faults.random.schedule import CALM, schedule
from faults.random.verdict import Verdict
from faults.systems import SYSTEMS, Rig
from kernel import Kernel

#: Seed of the runs in the suite; `python -m faults` takes others.
SEED = 7


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.timeout(150)
@pytest.mark.parametrize("name", SYSTEMS)
def test_nothing_is_lost_under_random_faults(tmp_path: Path, name: str) -> None:
    with SYSTEMS[name]() as system:
        verdict = Engine(tmp_path, system, SEED).run(tasks=600, faults=5)
    assert verdict.trouble() == ""
    assert verdict.faults_in_all
    assert verdict.tasks >= 600


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


# -- the audit ---------------------------------------------------------------------------------------------------------


def _audited(folder: Path, *mishaps: Mishap, host_clock: bool = False) -> Audit:
    """An audit of the ledgers of a folder, without a system."""
    return Audit(Books.of(folder), mishaps, Rig({}, {}, host_clock=host_clock), Kernel("none"), Verdict(1))


def _write(folder: Path, pid: int, *lines: str) -> None:
    with (folder / f"{pid}.ledger").open("a") as file:
        file.write("".join(f"{line}\n" for line in lines))


def test_a_second_execution_needs_a_fault_that_touched_it(tmp_path: Path) -> None:
    _write(tmp_path, 1, "attempt w 1.0", "confirmed w 1.0")
    _write(tmp_path, 2, "start w#0 2.0", "end w 2.1")
    _write(tmp_path, 3, "start w#0 5.0", "end w 5.1")
    assert list(_audited(tmp_path).chains())
    assert list(
        _audited(tmp_path, Mishap("", 3.0, 3.5, frozenset((9,)))).chains()
    )  # of a process that had no part in it
    assert list(_audited(tmp_path, Mishap("", 6.0, 7.0)).chains())  # later
    assert not list(_audited(tmp_path, Mishap("", 3.0, 3.5, frozenset((2,)))).chains())
    assert not list(_audited(tmp_path, Mishap("", 3.0, 3.5)).chains())


def test_a_send_that_is_not_known_to_have_failed_may_be_a_second_message(tmp_path: Path) -> None:
    _write(tmp_path, 1, "attempt w 1.0", "unknown w 1.0", "attempt w 1.1", "confirmed w 1.1")
    _write(tmp_path, 2, "start w#0 2.0", "end w 2.1", "start w#0 2.2", "end w 2.3")
    assert not list(_audited(tmp_path).chains())
    _write(tmp_path, 1, "refused w 1.0")
    assert list(_audited(tmp_path).chains())


def test_one_fault_may_touch_every_message_that_carries_a_call(tmp_path: Path) -> None:
    _write(tmp_path, 1, "attempt w 1.0", "unknown w 1.0", "attempt w 1.1", "confirmed w 1.1")
    _write(tmp_path, 2, *("start w#0 2.0", "end w 2.1") * 4)
    assert list(_audited(tmp_path).chains())
    assert not list(_audited(tmp_path, Mishap("", 1.5, 1.8)).chains())
    _write(tmp_path, 2, "start w#0 2.0", "end w 2.1")
    assert list(_audited(tmp_path, Mishap("", 1.5, 1.8)).chains())


def test_duplicates_must_not_grow_along_a_chain(tmp_path: Path) -> None:
    _write(tmp_path, 1, "attempt c 1.0", "confirmed c 1.0")
    _write(tmp_path, 2, "start c#0 2.0", "again c 2.1", "start c#1 7.0", "again c 7.1", "start c#1 7.2", "again c 7.3")
    _write(tmp_path, 3, "start c#0 5.0", "again c 5.1")
    touched = Mishap("", 3.0, 3.5)
    assert not list(_audited(tmp_path, touched).chains())  # two became two
    _write(tmp_path, 2, *("start c#2 9.0", "again c 9.1") * 3)
    assert len(list(_audited(tmp_path, touched).chains())) == 1
    assert not list(_audited(tmp_path, touched, Mishap("", 7.2, 7.3)).chains())


def test_two_at_a_time_are_a_zombie_and_its_successor(tmp_path: Path) -> None:
    _write(tmp_path, 1, "attempt w 1.0", "confirmed w 1.0")
    _write(tmp_path, 2, "start w#0 2.0", "end w 6.1")
    _write(tmp_path, 3, "start w#0 5.0", "end w 5.1")
    assert list(_audited(tmp_path).overlaps())
    assert not list(_audited(tmp_path, Mishap("", 3.0, 5.5, frozenset((2,)))).overlaps())


def test_nothing_begins_before_its_time(tmp_path: Path) -> None:
    _write(tmp_path, 2, "early d 4.0")
    clock = Mishap("the clock set", 3.0, 5.0)
    assert list(_audited(tmp_path, clock).early())
    assert list(_audited(tmp_path, host_clock=True).early())
    assert not list(_audited(tmp_path, clock, host_clock=True).early())


# -- the schedule ------------------------------------------------------------------------------------------------------

MENU = {"a": (3, 0.0, 0.0), "b": (1, 1.0, 2.0)}


def test_the_schedule_is_a_function_of_the_seed() -> None:
    assert schedule(5, MENU, 30) == schedule(5, MENU, 30)
    assert schedule(5, MENU, 30) != schedule(6, MENU, 30)
    strikes = schedule(5, MENU, 30)
    assert [strike.fault for strike in strikes].count(CALM) == 3
    assert all(1.0 <= strike.lasts <= 2.0 for strike in strikes if strike.fault == "b")
