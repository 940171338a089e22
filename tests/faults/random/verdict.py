"""What came of one run: counts, and everything that is wrong, in words."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Verdict:
    """What came of one run."""

    seed: int
    tasks: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    lost: set[str] = field(default_factory=set)
    phantoms: set[str] = field(default_factory=set)
    refused_and_run: set[str] = field(default_factory=set)
    duplicates: int = 0
    most_often: int = 0
    #: Sends of which nobody knew the outcome, and that ran.
    recovered: int = 0
    dead_letters: int = 0
    #: Executions of one message at a time, between a zombie and its successor.
    overlaps: int = 0
    #: Seconds from a calm to the next end of a task; the longest by the last fault before it.
    recoveries: dict[str, float] = field(default_factory=dict)
    #: Tasks a second before the first fault and after the last, where that was asked for.
    paces: list[float] = field(default_factory=list)
    seconds: float = 0.0
    #: Everything else that is wrong, one line each.
    troubles: list[str] = field(default_factory=list)
    #: What an operator had to mend, for a fault that is the broker's.
    mended: list[str] = field(default_factory=list)

    @property
    def faults_in_all(self) -> int:
        """How many."""
        return self.faults.total()

    @property
    def recovery(self) -> float:
        """The longest of all, in seconds."""
        return max(self.recoveries.values(), default=0.0)

    def trouble(self) -> str:
        """What the run shows to be wrong, "" for nothing."""
        found = []
        for what, keys in (("lost", self.lost), ("phantom", self.phantoms), ("refused and run", self.refused_and_run)):
            if keys:
                found.append(f"{len(keys)} {what}: {sorted(keys)[:5]}")
        if self.duplicates and not self.faults_in_all:
            found.append(f"{self.duplicates} ran twice without a fault")
        if self.most_often > self.faults_in_all + 1:
            found.append(f"one ran {self.most_often} times with {self.faults_in_all} faults")
        found += self.troubles[:12]
        return "; ".join(found) and f"seed {self.seed}: {'; '.join(found)}"


def in_folder(prefix: str, run: Callable[[Path], Verdict]) -> tuple[Verdict, Path | None]:
    """What comes of a run in a folder of its own, and the folder where something is wrong; else it is removed."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    verdict = run(folder)
    if verdict.trouble():
        return verdict, folder
    shutil.rmtree(folder, ignore_errors=True)
    return verdict, None
