"""What was measured, as it is stored in JSON and read by the reports."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Sample:
    """One system in one round."""

    workload: str
    server: str
    system: str
    role: str
    round: int
    values: dict[str, float] = field(default_factory=dict)
    #: Why there are no values.
    error: str = ""
    #: Seconds that it took with all preparations.
    wall: float = 0.0
    #: Share of the machine that programs which have nothing to do with it used meanwhile.
    others: float = 0.0

    @property
    def summary(self) -> str:
        """The last line of the error, where a traceback says what happened."""
        return self.error.strip().splitlines()[-1] if self.error else ""


@dataclass
class Recording:
    """A whole run."""

    date: str
    machine: str
    #: Settings of each server.
    servers: dict[str, str] = field(default_factory=dict)
    #: What each driver said of itself.
    drivers: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: Driver and configuration of each system on each server, as "server/system".
    variants: dict[str, tuple[str, str]] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)

    def save(self, file: Path) -> None:
        """Write it."""
        file.write_text(json.dumps(asdict(self), indent=1) + "\n", "utf-8")

    @classmethod
    def load(cls, file: Path) -> Recording:
        """Read what `save` wrote."""
        found = json.loads(file.read_text("utf-8"))
        return cls(**{**found, "samples": [Sample(**each) for each in found["samples"]]})

    def of(self, workload: str, server: str) -> dict[str, list[Sample]]:
        """Samples of one workload by system, in the order of measuring."""
        found: dict[str, list[Sample]] = {}
        for sample in self.samples:
            if sample.workload == workload and sample.server == server:
                found.setdefault(sample.system, []).append(sample)
        return found

    def values(self, workload: str, server: str, system: str, key: str) -> dict[int, float]:
        """One value by round."""
        samples = self.of(workload, server).get(system, [])
        return {sample.round: sample.values[key] for sample in samples if key in sample.values}

    def ratios(self, workload: str, server: str, key: str, over: str, under: str) -> list[float]:
        """The value of one system over that of another one, round by round."""
        upper = self.values(workload, server, over, key)
        lower = self.values(workload, server, under, key)
        return [upper[number] / lower[number] for number in upper if lower.get(number)]

    def best(self, workload: str, server: str, key: str, role: str, name: str = "", *, least: bool = False) -> str:
        """The system of a role (and with a name that begins so) that has the best median; "" where there is none."""
        medians = {}
        for system, samples in self.of(workload, server).items():
            values = self.values(workload, server, system, key)
            if values and samples[0].role == role and system.startswith(name):
                medians[system] = statistics.median(values.values())
        if not medians:
            return ""
        return (min if least else max)(medians, key=lambda system: medians[system])
