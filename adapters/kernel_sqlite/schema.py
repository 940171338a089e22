"""The tables of all ports, and the check that a file is ours.

A message lives in one of three tables and is moved between them: `ready`, `leased`, `delayed`. Its key carries
queue, priority and sequence, so that a scan of `ready` by key *is* the order of delivery and neither sending nor
claiming touches a secondary index. Measured against one table with a lease column and partial indexes, the move was
an eighth cheaper per message life with the same acks: there every change of state rewrites index entries.

Results have a number of their own as the key, so that values are appended and only the narrow index is written at
random places. Clustered by their random keys they cost up to twice as much over the first 50,000 records.
"""

from __future__ import annotations

import sqlite3

from kernel.errors import ConfigError

#: "krnl", in the header of the file (`PRAGMA application_id`).
APPLICATION_ID = 0x6B726E6C
#: Version of the tables below (`PRAGMA user_version`).
VERSION = 1

_TABLES = """
CREATE TABLE queue (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE counter (id INTEGER PRIMARY KEY, value INTEGER NOT NULL);
INSERT INTO counter VALUES (1, 0);
CREATE TABLE ready (
    id INTEGER PRIMARY KEY, redelivered INTEGER NOT NULL, ready_at REAL NOT NULL, payload BLOB NOT NULL);
CREATE TABLE leased (
    id INTEGER PRIMARY KEY, queue INTEGER NOT NULL, until REAL NOT NULL, token INTEGER NOT NULL,
    redelivered INTEGER NOT NULL, payload BLOB NOT NULL);
CREATE INDEX leased_until ON leased (queue, until);
CREATE TABLE delayed (
    queue INTEGER NOT NULL, due_at REAL NOT NULL, id INTEGER NOT NULL, payload BLOB NOT NULL,
    PRIMARY KEY (queue, due_at, id)) WITHOUT ROWID;
CREATE TABLE notice (
    id INTEGER PRIMARY KEY AUTOINCREMENT, channel TEXT NOT NULL, at REAL NOT NULL, payload BLOB NOT NULL);
CREATE INDEX notice_channel ON notice (channel, id);
CREATE INDEX notice_at ON notice (at);

CREATE TABLE result (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, value BLOB NOT NULL, final INTEGER NOT NULL,
    generation INTEGER NOT NULL, attempt INTEGER NOT NULL, fence INTEGER NOT NULL, expires_at REAL);
CREATE INDEX result_expiry ON result (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE claim (key TEXT PRIMARY KEY, owner TEXT NOT NULL, expires_at REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX claim_expiry ON claim (expires_at);
CREATE TABLE tally (key TEXT PRIMARY KEY, size INTEGER NOT NULL, expires_at REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX tally_expiry ON tally (expires_at);
CREATE TABLE member (key TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (key, name)) WITHOUT ROWID;
CREATE TABLE bucket (
    key TEXT PRIMARY KEY, tokens REAL NOT NULL, filled_at REAL NOT NULL, expires_at REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX bucket_expiry ON bucket (expires_at);
CREATE TABLE slot (
    key TEXT NOT NULL, owner TEXT NOT NULL, expires_at REAL NOT NULL, PRIMARY KEY (key, owner)) WITHOUT ROWID;
CREATE INDEX slot_expiry ON slot (expires_at);

CREATE TABLE parked (
    space TEXT NOT NULL, key TEXT NOT NULL, due_at REAL NOT NULL, held_until REAL, payload BLOB NOT NULL,
    PRIMARY KEY (space, key)) WITHOUT ROWID;
CREATE INDEX parked_due ON parked (space, due_at) WHERE held_until IS NULL;
CREATE INDEX parked_held ON parked (space, held_until) WHERE held_until IS NOT NULL;
"""


def is_prepared(connection: sqlite3.Connection) -> bool:
    """Whether nothing is left to do for `prepare`, and the write-ahead log is on."""
    # The first one reads the header; only then the mode is known.
    values = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
    return values == [APPLICATION_ID, VERSION] and connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


def prepare(connection: sqlite3.Connection, path: str) -> None:
    """Inside of a write transaction: create the tables in an empty file, or check that they are the known ones."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application == APPLICATION_ID and version == VERSION:
        return
    if application == APPLICATION_ID and version > VERSION:
        raise ConfigError(f"{path}: written by a newer release (schema {version}, known is {VERSION}); upgrade kernelq")
    if application or version or connection.execute("SELECT EXISTS (SELECT 1 FROM sqlite_master)").fetchone()[0]:
        raise ConfigError(f"{path}: an SQLite database of another program; name a file of its own for kernel")
    for statement in _TABLES.split(";\n"):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {VERSION}")
