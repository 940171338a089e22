"""Collects the outcome of every clause in a pytest run and writes the reports at its end."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from kernel_conformance.report import Finding, Outcome, Report


class Recorder:
    """A pytest plugin object; it reads what the tests attached to their reports, so it works under xdist too."""

    def __init__(self, directory: Path, key: str) -> None:
        """`key` is that of the data that tests attach to their reports; what belongs to it begins so."""
        self._directory = directory
        self._key = key
        self._facts: dict[str, dict[str, Any]] = defaultdict(dict)
        self._phases: dict[str, list[pytest.TestReport]] = defaultdict(list)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember one phase of one standard test."""
        facts = {key: value for key, value in report.user_properties if key.startswith(self._key)}
        if self._key in facts:
            self._facts[report.nodeid].update(facts)
            self._phases[report.nodeid].append(report)

    def pytest_sessionfinish(self) -> None:
        """Write one report per suite."""
        reports: dict[str, Report] = {}
        for node, facts in self._facts.items():
            clause = facts[self._key]
            report = reports.setdefault(clause["suite"], Report(clause["suite"], clause["port"], clause["label"]))
            bench = facts.get(f"{self._key}.bench", {})
            report.adapter = report.adapter or bench.get("adapter", "")
            report.features = report.features or bench.get("features", {})
            declined = facts.get(f"{self._key}.declined", "")
            outcome, reason = _outcome(self._phases[node], clause["deviation"], declined)
            report.findings[clause["id"]] = Finding(outcome, clause["text"], reason)
        for report in reports.values():
            report.write(self._directory)


def _outcome(phases: list[pytest.TestReport], deviation: str, declined: str) -> tuple[Outcome, str]:
    if any(phase.failed for phase in phases):
        return "failed", next(str(phase.longrepr).splitlines()[-1] for phase in phases if phase.failed)
    if deviation:
        return "deviation", deviation
    for phase in phases:
        if phase.skipped:
            reason = phase.longrepr[2] if isinstance(phase.longrepr, tuple) else str(phase.longrepr)
            return "not proven", reason.removeprefix("Skipped: ").removeprefix("not proven: ")
    return ("refused as declared", f"{declined} is not claimed") if declined else ("passed", "")
