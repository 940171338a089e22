"""The ledger: what was sent, started and finished, written down outside of the system under test.

Every process appends lines to a file of its own, one `write` each, so that no crash takes a line of another process or
half of one. A line is `kind key detail`.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

#: What a line says: a send is about to be made, was confirmed, was refused, may have happened; a task began, ended.
Kind = Literal["attempt", "confirmed", "refused", "unknown", "start", "end"]
KINDS: Final = ("attempt", "confirmed", "refused", "unknown", "start", "end")


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
        os.write(self._file, "".join(f"{kind} {key}\n" for key in keys).encode())


@dataclass
class Books:
    """All ledgers of a folder, added up."""

    attempted: set[str] = field(default_factory=set)
    confirmed: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    #: By key and attempt: `key#attempt`.
    starts: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, folder: Path) -> Books:
        """Read them all. A line that its process could not finish is none."""
        books = cls()
        kinds = {"attempt": books.attempted, "confirmed": books.confirmed, "refused": books.refused}
        kinds["unknown"] = books.unknown
        for path in folder.glob("*.ledger"):
            for line in path.read_text("utf-8", "replace").split("\n")[:-1]:
                kind, _, key = line.partition(" ")
                if kind in kinds:
                    kinds[kind].add(key)
                elif kind in ("start", "end"):
                    (books.starts if kind == "start" else books.ends)[key] += 1
        return books

    @property
    def _started(self) -> set[str]:
        return {name.rpartition("#")[0] for name in self.starts}

    @property
    def unfinished(self) -> set[str]:
        """Confirmed, and not run to the end so far."""
        return self.confirmed - self.ends.keys()

    @property
    def phantoms(self) -> set[str]:
        """Run, and never sent by anybody."""
        return self._started - self.attempted

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
