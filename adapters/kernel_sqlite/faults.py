"""What an exception of the sqlite3 module means to the kernel."""

from __future__ import annotations

import sqlite3

from kernel.errors import ConfigError, KernelError, PortError, Rejected, Sent, Unavailable

#: Primary result codes of SQLite after which the same call can never work.
_FOR_GOOD = frozenset({sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_RANGE})

#: Primary result codes of a file that is not, or no longer, what it should be.
DAMAGED = frozenset({sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT})

#: What a value raises that cannot be bound to a statement at all: a lone surrogate, an integer beyond 64 bits.
UNFIT = (UnicodeEncodeError, OverflowError, sqlite3.InterfaceError, sqlite3.ProgrammingError)


def code_of(error: BaseException) -> int:
    """The primary result code, 0 where there is none."""
    return int(getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF


def translate(error: Exception, path: str, sent: Sent = "no") -> PortError:
    """The port's error for one that a statement raised."""
    if isinstance(error, UNFIT) or code_of(error) in _FOR_GOOD:
        return Rejected(f"SQLite refuses the value: {error}")
    if code_of(error) in DAMAGED:
        # Not for good: the messages are needed, and a restored copy is read again. But nobody waits this out.
        return Unavailable(f"{path}: the file is damaged ({error}); stop what uses it and restore it", sent=sent)
    if code_of(error) == sqlite3.SQLITE_BUSY:
        return Unavailable(f"{path}: another process has been writing for longer than the timeout", sent=sent)
    return Unavailable(f"{path}: {error}", sent=sent)


def translate_opening(error: sqlite3.Error, path: str) -> KernelError:
    """The error of `open`: most of what can go wrong there is for the operator to mend."""
    code = code_of(error)
    if code in DAMAGED:
        return ConfigError(f"{path}: not an SQLite database or damaged ({error}); restore it or name another file")
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
        return ConfigError(f"{path}: cannot be opened for writing ({error}); check the path and its permissions")
    return translate(error, path)
