"""How much memory a process has resident, wherever it runs."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from kernel.worker import memory
from kernel.worker.memory import resident_bytes

MIB = 1 << 20


def test_it_grows_by_what_is_written() -> None:
    before = resident_bytes()
    assert before > MIB
    block = b"\1" * (64 * MIB)
    grown = resident_bytes() - before
    assert 48 * MIB < grown < 128 * MIB
    assert block[-1] == 1


@pytest.mark.parametrize(("platform", "unit"), [("darwin", 1), ("freebsd14", 1024)])
def test_elsewhere_it_is_the_peak(monkeypatch: pytest.MonkeyPatch, platform: str, unit: int) -> None:
    usage: Any = SimpleNamespace(RUSAGE_SELF=0, getrusage=lambda who: SimpleNamespace(ru_maxrss=5000))
    monkeypatch.setattr(memory, "_STATM", "/nowhere/statm")
    monkeypatch.setattr(memory, "_resource", usage)
    monkeypatch.setattr(sys, "platform", platform)
    assert resident_bytes() == 5000 * unit


def test_where_nobody_can_tell_it_is_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_STATM", "/nowhere/statm")
    monkeypatch.setattr(memory, "_resource", None)
    assert resident_bytes() == 0
