"""The report of one adapter: data, its JSON form and its Markdown table."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from math import isinf
from pathlib import Path
from typing import Any, Literal, get_args

from kernel_conformance import SPEC

Outcome = Literal["passed", "failed", "refused as declared", "not proven", "deviation"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


@dataclass(frozen=True, slots=True)
class Finding:
    """What came out for one clause."""

    outcome: Outcome
    #: The sentence of the contract.
    text: str
    #: Why: the last line of a failure, what was missing for a proof, the author's words for a deviation.
    reason: str = ""


@dataclass(slots=True)
class Report:
    """One adapter against one port."""

    #: The author's test class.
    suite: str
    port: str
    #: Name to show; "" takes the adapter's class.
    label: str = ""
    #: The adapter's class; "" when no test could build one.
    adapter: str = ""
    features: dict[str, Any] = field(default_factory=dict)
    findings: dict[str, Finding] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """How the adapter is called in tables."""
        return self.label or self.adapter.rpartition(".")[2] or self.suite.rpartition(".")[2]

    def counts(self) -> dict[Outcome, int]:
        """How many clauses had each outcome."""
        found = Counter(finding.outcome for finding in self.findings.values())
        return {outcome: found[outcome] for outcome in OUTCOMES}

    def write(self, directory: Path) -> Path:
        """Write the JSON and the Markdown form; returns the path of the first."""
        directory.mkdir(parents=True, exist_ok=True)
        # The class stands in for a missing label: two suites of one adapter must not overwrite each other.
        name = f"{self.port} {self.label or self.suite.rpartition('.')[2]}"
        name = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        path = directory / f"{name}.json"
        path.write_text(json.dumps(self.as_data(), indent=1, ensure_ascii=False) + "\n")
        path.with_suffix(".md").write_text(self.as_markdown())
        return path

    def as_data(self) -> dict[str, Any]:
        """The JSON form. An unlimited quantity is the string "inf", because JSON has no number for it."""
        data = {"suite_version": suite_version(), "spec": SPEC, **asdict(self)}
        data["features"] = plain(self.features)
        return data

    def as_markdown(self) -> str:
        """A page for people: claims first, then every clause."""
        lines = [f"# {self.title}: the {self.port} port", "", f"Suite {suite_version()}, spec {SPEC}.", ""]
        lines += [", ".join(f"{count} {outcome}" for outcome, count in self.counts().items() if count) + ".", ""]
        lines += ["| Claim | Value |", "|---|---|"]
        lines += [f"| {name} | {cell(value)} |" for name, value in plain(self.features).items()]
        lines += ["", "| Clause | Outcome | What it says |", "|---|---|---|"]
        for id, finding in self.findings.items():
            reason = f" ({finding.reason})" if finding.reason else ""
            lines.append(f"| {id} | {finding.outcome}{reason} | {finding.text} |")
        return "\n".join(line.replace("\n", " ") for line in lines) + "\n"


def read(path: Path) -> Report:
    """A report from its JSON form; `ValueError` when the file is something else."""
    data = json.loads(path.read_text())
    try:
        findings = {id: Finding(**finding) for id, finding in data["findings"].items()}
        names = ("suite", "port", "label", "adapter", "features")
        return Report(**{name: data[name] for name in names}, findings=findings)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is no conformance report: {error!r}") from None


def plain(features: Mapping[str, Any]) -> dict[str, Any]:
    """Features as JSON can carry them."""
    return {name: "inf" if isinstance(value, float) and isinf(value) else value for name, value in features.items()}


def cell(value: Any) -> str:
    """One feature value in a table."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value == "inf":
        return "unlimited"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def suite_version() -> str:
    """Release of the distribution that carries the suite; "unknown" in a bare checkout."""
    try:
        return version("kernelq")
    except PackageNotFoundError:
        return "unknown"
