"""A directory tree as work to do, and what comes out of it, for `kernel demo`."""

from __future__ import annotations

import os
import stat
import sysconfig
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from kernel.cli.demo_tasks import Facts

#: Directories of the standard library that are no part of it, or that differ from run to run.
SKIPPED = frozenset(("site-packages", "__pycache__"))
#: What files without an extension are called in the table.
PLAIN = "(none)"


def standard_library() -> str:
    """The directory of the standard library of this Python."""
    return sysconfig.get_paths()["stdlib"]


@dataclass(slots=True)
class Tree:
    """The regular files below a directory when it was listed."""

    #: Path -> size and time of change in nanoseconds.
    files: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    #: Directories that could not be listed, with the reason.
    unlisted: list[tuple[str, str]] = field(default_factory=list)

    def changed(self, path: bytes) -> bool:
        """Whether the file is not what it was when it was listed."""
        try:
            now = os.stat(path, follow_symlinks=False)
        except OSError:
            return True
        return (now.st_size, now.st_mtime_ns) != self.files[path]


def listed(directory: str, skipped: frozenset[str] = frozenset()) -> Tree:
    """List a tree. Symbolic links are neither followed nor counted; an empty directory has nothing to do."""
    tree = Tree()

    def failed(error: OSError) -> None:
        tree.unlisted.append((os.fsdecode(error.filename or directory), error.strerror or "unreadable"))

    for root, folders, names in os.walk(os.fsencode(os.path.abspath(directory)), onerror=failed):
        folders[:] = sorted(folder for folder in folders if os.fsdecode(folder) not in skipped)
        for name in sorted(names):
            path = os.path.join(root, name)
            try:
                found = os.stat(path, follow_symlinks=False)
            except OSError:
                continue  # it vanished since the directory was read
            if stat.S_ISREG(found.st_mode):
                tree.files[path] = (found.st_size, found.st_mtime_ns)
    return tree


@dataclass(slots=True)
class Sum:
    """Totals of some files."""

    files: int = 0
    size: int = 0
    lines: int = 0

    def add(self, facts: Facts) -> None:
        """Count one file."""
        self.files += 1
        self.size += facts.size
        self.lines += facts.lines


@dataclass(slots=True)
class Totals:
    """Everything that was found out about a tree."""

    all: Sum
    by_type: dict[str, Sum]
    #: Path -> reason.
    unreadable: dict[bytes, str]
    #: SHA-256 over all paths and digests, in the order of the paths.
    digest: str


def totals(found: Mapping[bytes, Facts], left_out: Iterable[bytes] = ()) -> Totals:
    """Add up; files in `left_out` do not count."""
    skipped = frozenset(left_out)
    result = Totals(Sum(), {}, {}, "")
    digest = sha256()
    for path in sorted(found.keys() - skipped):
        facts = found[path]
        if facts.error:
            result.unreadable[path] = facts.error
            continue
        result.all.add(facts)
        result.by_type.setdefault(file_type(path), Sum()).add(facts)
        digest.update(path + b"\0" + facts.sha256.encode() + b"\n")
    result.digest = digest.hexdigest()
    return result


def file_type(path: bytes) -> str:
    """The extension in lower case."""
    return os.fsdecode(os.path.splitext(path)[1]).lower() or PLAIN
