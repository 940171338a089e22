"""The ledger: what was sent, started and finished, written down outside of the system under test.

Every process appends lines to a file of its own, one `write` each, so that no crash takes a line of another process or
half of one. A line is `kind key moment`; the moment is the monotonic clock, which all processes of a machine share and
no fault moves.
"""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Final, Literal

#: What a line says: a send is about to be made, was confirmed, was refused, may have happened; a task began, ended,
#: asked for a retry, failed for good, began before its time.
Kind = Literal["attempt", "confirmed", "refused", "unknown", "start", "end", "again", "fail", "early"]
KINDS: Final = ("attempt", "confirmed", "refused", "unknown", "start", "end", "again", "fail", "early")


class Ledger:
    """Appends to one file below a folder; a process has one, made on first use and again after a fork."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pid = 0
        self._file = -1

    def write(self, kind: Kind, *keys: str) -> None:
        """One line for each key, in one step."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            path = self._folder / f"{self._pid}.ledger"
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        now = time.monotonic()
        os.write(self._file, "".join(f"{kind} {key} {now:.6f}\n" for key in keys).encode())


@dataclass(slots=True)
class Run:
    """One execution of one attempt. `until` is infinite where nobody wrote of its end."""

    pid: int
    began: float
    until: float = inf


@dataclass
class Books:
    """All ledgers of a folder, added up."""

    #: When the first send of each key was tried.
    attempted: dict[str, float] = field(default_factory=dict)
    #: How many sends of each key may have worked.
    sends: Counter[str] = field(default_factory=Counter)
    confirmed: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    #: By key and attempt: `key#attempt`.
    starts: Counter[str] = field(default_factory=Counter)
    #: By key.
    ends: Counter[str] = field(default_factory=Counter)
    #: Failed for good, by key.
    failed: Counter[str] = field(default_factory=Counter)
    #: Keys of executions that began before their time, and when.
    early: list[tuple[str, float]] = field(default_factory=list)
    #: By key and attempt, in no order.
    runs: dict[str, list[Run]] = field(default_factory=lambda: defaultdict(list))
    #: The last end of a task.
    last_end: float = 0.0
    _read: dict[Path, int] = field(default_factory=dict)
    #: What each process is at: one that runs several tasks at a time writes their ends in any order.
    _open: dict[tuple[int, str], Run] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path) -> Books:
        """Read them all. A line that its process could not finish is none."""
        books = cls()
        books.update(folder)
        return books

    def update(self, folder: Path) -> None:
        """Read what has been written since the last time."""
        for path in folder.glob("*.ledger"):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                text = file.read()
            whole = text.rfind(b"\n") + 1
            self._read[path] = self._read.get(path, 0) + whole
            for line in text[:whole].decode("utf-8", "replace").splitlines():
                kind, key, moment = (*line.split(" "), "0", "0")[:3]
                self._line(int(path.stem), kind, key, float(moment))

    def _line(self, pid: int, kind: str, key: str, moment: float) -> None:
        if kind == "start":
            self.starts[key] += 1
            run = Run(pid, moment)
            self.runs[key].append(run)
            self._open[pid, key.rpartition("#")[0]] = run
        elif kind == "attempt":
            self.attempted.setdefault(key, moment)
            self.sends[key] += 1
        elif kind == "refused":
            self.refused.add(key)
            self.sends[key] -= 1
        elif kind in ("confirmed", "unknown"):
            (self.confirmed if kind == "confirmed" else self.unknown).add(key)
        elif kind == "early":
            self.early.append((key, moment))
        else:
            self._ended(pid, kind, key, moment)

    def _ended(self, pid: int, kind: str, key: str, moment: float) -> None:
        run = self._open.pop((pid, key), None)
        if run is not None:
            run.until = moment
        if kind == "end":
            self.ends[key] += 1
            self.last_end = max(self.last_end, moment)
        elif kind == "fail":
            self.failed[key] += 1

    @property
    def _started(self) -> set[str]:
        return {name.rpartition("#")[0] for name in self.starts}

    @property
    def unfinished(self) -> set[str]:
        """Confirmed, and neither run to the end so far nor failed for good."""
        return self.confirmed - self.ends.keys() - self.failed.keys()

    @property
    def phantoms(self) -> set[str]:
        """Run, and never sent by anybody."""
        return self._started - self.attempted.keys()

    @property
    def refused_and_run(self) -> set[str]:
        """Run although the sender was told that they were not sent, and sent by no second try."""
        return (self.refused & self._started) - self.confirmed - self.unknown

    @property
    def duplicates(self) -> int:
        """Executions beyond the first."""
        return sum(count - 1 for count in self.starts.values())

    @property
    def most_often(self) -> int:
        """How often the attempt was started that was started most often."""
        return max(self.starts.values(), default=0)
