"""Counts the starts of suspects, so that a message that ends its process is stopped.

Only a start that is recorded here counts towards `max_deliveries`: messages that were fetched ahead and given back a
hundred times have started nothing. Where a transport counts those too (`Features.release_counts`), a redelivery is no
reason to suspect a message before it has started once, which is recorded apart: those starts are not made alone.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from kernel.errors import PortError
from kernel.ids import new_id
from kernel.ports import Coordination, Tally
from kernel.worker.job import Job

log = logging.getLogger("kernel.worker")

#: Seconds for which the starts of one message are remembered after the last one.
REMEMBERED_FOR = 7 * 86400.0
#: A member of every set of starts that is looked at, so that looking needs no operation of its own.
LOOK = "?"


class Starts:
    """Recorded in the coordination service, else in a directory of this machine."""

    def __init__(self, coordination: Coordination | None, node: str, directory: Path | None = None) -> None:
        self._coordination = coordination
        #: Not the process id: in a container it is the same after each restart, and the starts would be one.
        self._owner = f"{node}:{new_id()}"
        self._directory = directory
        self._serial = 0
        self._swept = False

    def record(self, job: Job) -> int:
        """Note that this job is about to start; how many starts of its message are on record, this one included."""
        return self._record("start", job)

    def begin(self, job: Job) -> None:
        """Note that a message which was delivered before starts beside others. On the thread that runs it."""
        self._record("begun", job)

    def begun(self, jobs: Sequence[Job]) -> list[bool]:
        """Which messages have begun before: on record, or the records cannot be read."""
        keys = [_key("begun", job) for job in jobs]
        here = [self._is_here(key) for key in keys]
        if self._coordination is None:
            return here
        try:
            sizes = self._coordination.tally([Tally(key, LOOK, REMEMBERED_FOR) for key in keys])
        except PortError as error:
            log.warning("%d redelivered tasks run one by one: whether they began is not known: %s", len(jobs), error)
            return [True] * len(jobs)
        return [size > 1 or is_here for size, is_here in zip(sizes, here, strict=True)]

    def _record(self, kind: str, job: Job) -> int:
        key, id_ = _key(kind, job), job.envelope.id
        self._serial += 1
        member = f"{self._owner}:{self._serial}"
        if self._coordination is not None:
            try:
                return self._coordination.tally([Tally(key, member, REMEMBERED_FOR)])[0]
            except PortError as error:
                log.warning("the start of suspect %s is recorded on this machine only: %s", id_, error)
        try:
            return self._record_here(key)
        except OSError as error:
            log.error("the start of suspect %s is not recorded, so that it may run too often: %s", id_, error)
            return 1

    def _is_here(self, key: str) -> bool:
        try:
            return (self._place() / _name(key)).exists()
        except OSError:
            return True

    def _place(self) -> Path:
        return self._directory or _own_directory()

    def _record_here(self, key: str) -> int:
        """One byte per start in a file of its own; `O_APPEND` makes that atomic between processes."""
        directory = self._place()
        if not self._swept:
            self._swept = True
            _sweep(directory)
        path = directory / _name(key)
        with open(path, "ab") as file:
            file.write(b".")
            file.flush()
            os.fsync(file.fileno())
            return file.tell()


def _key(kind: str, job: Job) -> str:
    envelope = job.envelope
    return f"{kind}:{envelope.id}:{envelope.generation}:{envelope.attempt}"


def _name(key: str) -> str:
    return sha256(key.encode()).hexdigest()[:32]


def _own_directory() -> Path:
    """Where this machine's user keeps starts; nobody else may write there."""
    user = getattr(os, "getuid", lambda: "user")()
    directory = Path(tempfile.gettempdir()) / f"kernel-starts-{user}"
    directory.mkdir(mode=0o700, exist_ok=True)
    if hasattr(os, "getuid") and directory.lstat().st_uid != user:
        raise PermissionError(f"{directory} belongs to somebody else")
    return directory


def _sweep(directory: Path) -> None:
    """Remove what is no longer remembered; once per process, so that the directory does not grow for ever."""
    before = time.time() - REMEMBERED_FOR
    for path in directory.iterdir():
        try:
            if path.stat().st_mtime < before:
                path.unlink()
        except FileNotFoundError:
            pass  # another process was quicker
