"""One database file: its connections, its transactions, its errors.

Connections are kept in a pool and lent for one transaction each. Rejected: one per thread, which leaks those of
ended threads, multiplies under greenlets and cannot be closed safely by another thread; and a single one, where a
reader would wait for another thread's commit to reach the disk. Writers of this process queue at a native lock,
since SQLite's own waiting is a sleep that grows.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from kernel.errors import ConfigError, Rejected, Unavailable
from kernel.native import allocate_lock, sleep
from kernel_sqlite.faults import UNFIT, code_of, translate, translate_opening
from kernel_sqlite.schema import is_prepared, prepare
from kernel_sqlite.url import Location

#: Pages of the log after which a commit copies it back into the file.
CHECKPOINT_PAGES = 2000
#: Bytes that the log file keeps after it was copied back; a longer one is started anew.
LOG_BYTES = 32 * 1024 * 1024
#: Commits between two looks at the length of the log.
COMMITS = 64
#: Seconds that starting the log anew waits for another process that copies it back, milliseconds that it waits for
#: those who read, and seconds before it is tried again where that was not enough.
ANEW_FOR = 0.5
ANEW_MS = 50
ANEW_AFTER = 1.0
#: Milliseconds that SQLite itself waits for another writer in one of our tries.
TRY_MS = 2
#: Seconds between two tries.
RETRY_FOR = 0.0005
#: The first release of SQLite with RETURNING.
OLDEST = (3, 35, 0)

#: Connections inherited by a forked child: kept, because closing them there is as forbidden as using them.
_inherited: list[sqlite3.Connection] = []


class Database:
    """A file that several threads and processes use at once. Every error that leaves it is kernel's."""

    def __init__(self, location: Location) -> None:
        self.location = location
        self.path = os.path.abspath(location.path)
        self._idle: list[sqlite3.Connection] = []
        self._writing = allocate_lock()
        self._state = "new"
        self._pid = 0
        #: Device and number of the file: one that was removed or replaced is not the one that was opened.
        self._identity: tuple[int, int] | None = None
        self._commits = 0
        self._anew_at = 0.0

    # -- lifecycle -------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Open the file and create what is missing. Idempotent; a closed one stays closed."""
        if self._state == "open":
            self._check()
            return
        if self._state == "closed":
            raise Unavailable(f"{self.path}: closed")
        if sqlite3.sqlite_version_info < OLDEST:
            raise ConfigError(f"SQLite {sqlite3.sqlite_version} is too old: kernel_sqlite needs 3.35 or later")
        if os.path.isdir(self.path):
            raise ConfigError(f"{self.path}: a directory; name a file in it")
        self._pid = os.getpid()
        try:
            connection = self._connect()
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
        except sqlite3.Error as error:
            raise translate_opening(error, self.path) from error
        self._idle.append(connection)
        self._identity = _identity_of(self.path)
        self._state = "open"

    def close(self) -> None:
        """Close what is idle now and what is lent when it comes back. Idempotent."""
        self._state = "closed"
        if self._pid and self._pid != os.getpid():
            self._disown()
            return
        while self._idle:
            self._idle.pop().close()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._state == "closed"

    # -- transactions ----------------------------------------------------------------------------------------------

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One write transaction, durable when the block is left; nothing happened when it raises.

        `Unavailable` says `sent="unknown"` in one case: the disk failed during the commit itself.
        """
        self._check()
        turn: list[bool] = []
        until = time.monotonic() + self.location.timeout
        try:
            # One step of the interpreter takes the lock and notes it. Were it two, a time limit that ends a task in
            # between (see kernel.pools) would leave the lock taken for ever.
            turn.extend(map(self._writing.acquire, (True,), (self.location.timeout,)))
            if not turn[0]:
                raise Unavailable(f"{self.path}: another thread has been writing for longer than the timeout")
            with self._lent() as connection:
                committing = False
                try:
                    self._begin(connection, max(0.0, until - time.monotonic()))
                    yield connection
                    committing = True
                    connection.execute("COMMIT")
                except BaseException as error:
                    with suppress(sqlite3.Error):
                        connection.execute("ROLLBACK")
                    if isinstance(error, (sqlite3.Error, *UNFIT)):
                        unknown = committing and code_of(error) not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL)
                        raise translate(error, self.path, "unknown" if unknown else "no") from error
                    raise
                self._commits += 1
                if not self._commits % COMMITS:
                    self._shorten_log(connection)
        finally:
            if turn and turn[0]:
                self._writing.release()

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A connection for reading; waits for no writer."""
        self._check()
        with self._lent() as connection:
            try:
                yield connection
            except (sqlite3.Error, *UNFIT) as error:
                raise translate(error, self.path) from error

    def _begin(self, connection: sqlite3.Connection, timeout: float) -> None:
        # SQLite's own waiting doubles up to 100 ms between tries, in which busy processes starve the others for
        # seconds. Short tries that begin anew are fair enough.
        connection.execute(f"PRAGMA busy_timeout = {TRY_MS}")
        _patiently(lambda: connection.execute("BEGIN IMMEDIATE"), timeout)
        connection.execute(f"PRAGMA busy_timeout = {int(self.location.timeout * 1000)}")

    def _shorten_log(self, connection: sqlite3.Connection) -> None:
        """Start a log anew that has grown long.

        SQLite does it by itself when a commit finds all of it copied back. Where processes commit without a pause
        there is always something new by then, and the log grew to most of a gigabyte. Waiting for whoever copies it
        holds the writers back, which is what they need.
        """
        now = time.monotonic()
        with suppress(OSError, sqlite3.Error):
            if now < self._anew_at or os.stat(f"{self.path}-wal").st_size <= LOG_BYTES:
                return
            # Writers wait meanwhile, so somebody who reads for long is not waited for.
            connection.execute(f"PRAGMA busy_timeout = {ANEW_MS}")
            while True:
                busy, pages, _ = connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
                if pages >= 0 or time.monotonic() > now + ANEW_FOR:
                    break
                sleep(RETRY_FOR)  # -1 pages: another process copies
            if busy:
                self._anew_at = time.monotonic() + ANEW_AFTER
            connection.execute(f"PRAGMA busy_timeout = {int(self.location.timeout * 1000)}")

    # -- connections -----------------------------------------------------------------------------------------------

    def _check(self) -> None:
        if self._state != "open":
            raise Unavailable(f"{self.path}: {'closed' if self._state == 'closed' else 'not open'}")
        if self._pid != os.getpid():
            self._disown()
            raise Rejected(f"{self.path}: opened before a fork; open a new adapter in the child")
        if _identity_of(self.path) != self._identity:
            # SQLite would go on with the file that has no name any more, and everything in it vanishes with the last
            # process that has it open.
            raise Unavailable(f"{self.path}: the file has gone, or is another one now: restart what uses it")

    def __del__(self) -> None:
        if self._pid and self._pid != os.getpid():
            self._disown()

    def _disown(self) -> None:
        while self._idle:
            _inherited.append(self._idle.pop())

    @contextmanager
    def _lent(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._reconnect()
        keep = False
        try:
            yield connection
            keep = True
        except (Unavailable, sqlite3.OperationalError, sqlite3.DatabaseError):
            # Whatever state it is in, the next call starts with a fresh one.
            raise
        except BaseException:
            keep = True
            raise
        finally:
            # One that is still in a transaction (something was raised while it was rolled back) holds up every writer.
            self._idle.append(connection) if keep and not connection.in_transaction else connection.close()
            if self._state == "closed":
                self.close()

    def _reconnect(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.Error as error:
            raise translate(error, self.path) from error

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=self.location.timeout, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute(f"PRAGMA synchronous = {self.location.synchronous}")
            connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
            connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
            connection.execute("PRAGMA temp_store = memory")
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        if is_prepared(connection):
            return  # without waiting for anybody who writes
        self._begin(connection, self.location.timeout)
        try:
            prepare(connection, self.path)
            connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise
        # Last, so that a foreign file is left as it was.
        _patiently(lambda: self._switch(connection), self.location.timeout)

    def _switch(self, connection: sqlite3.Connection) -> None:
        mode = connection.execute("PRAGMA journal_mode = wal").fetchone()[0]
        if mode != "wal":
            raise ConfigError(f"{self.path}: the file system cannot do write-ahead logging; use a local disk")


def _identity_of(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _patiently(action: Callable[[], object], timeout: float) -> None:
    """Try until no other process is in the way, or `timeout` seconds have passed."""
    until = time.monotonic() + timeout
    while True:
        try:
            action()
        except sqlite3.OperationalError as error:
            if code_of(error) != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            sleep(RETRY_FOR)
        else:
            return
