"""Sets the wall clock of a single process, or of all of a run; `clocks/sitecustomize.py` is the other end."""

from __future__ import annotations

import os
import struct
from pathlib import Path

#: Where Python finds the module that every process under test imports first.
PLACE = Path(__file__).parent / "clocks"
#: Highest process id of Linux.
HIGHEST = 1 << 22
_NUMBER = struct.Struct("d")
#: In place of a process id: all processes, also those that start later.
EVERYBODY = 0


class Clocks:
    """A file with an offset for every process id: sparse, so that it takes no room."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "clocks"
        with self.path.open("wb") as file:
            file.truncate((HIGHEST + 1) * _NUMBER.size)

    def set(self, pid: int, seconds: float) -> None:
        """Let the process read the time with so many seconds more."""
        file = os.open(self.path, os.O_WRONLY)
        try:
            os.pwrite(file, _NUMBER.pack(seconds), pid * _NUMBER.size)
        finally:
            os.close(file)
