"""The two tables and every statement on them, with `:name` for each value.

A row that nobody holds has `claimed_until` 0, one that is held the time at which that ends, and one that the transport
has refused for good a time that never comes. So one index serves all that a relay asks, however many rows are refused.
"""

from __future__ import annotations

from typing import Final

TABLE: Final = "kernel_outbox"
ONCE: Final = "kernel_once"
#: `claimed_until` of a refused row.
NEVER: Final = 1e18

_TYPES = {
    "sqlite": {"text": "TEXT", "bytes": "BLOB", "real": "REAL", "int": "INTEGER"},
    "postgresql": {"text": "TEXT", "bytes": "BYTEA", "real": "DOUBLE PRECISION", "int": "INTEGER"},
}
#: Databases for which there are statements.
DIALECTS: Final = tuple(_TYPES)

_MAKE = f"""\
CREATE TABLE IF NOT EXISTS {TABLE} (
    id {{text}} PRIMARY KEY,
    queue {{text}} NOT NULL,
    payload {{bytes}} NOT NULL,
    priority {{int}} NOT NULL,
    not_before {{real}} NOT NULL,
    expires_at {{real}} NOT NULL,
    dedup_key {{text}} NOT NULL,
    order_key {{text}} NOT NULL,
    exchange {{text}} NOT NULL,
    routing_key {{text}} NOT NULL,
    added_at {{real}} NOT NULL,
    claimed_by {{text}} NOT NULL,
    claimed_until {{real}} NOT NULL,
    refused {{text}} NOT NULL
);
CREATE INDEX IF NOT EXISTS {TABLE}_claimed ON {TABLE} (claimed_until, id);
CREATE TABLE IF NOT EXISTS {ONCE} (
    name {{text}} PRIMARY KEY,
    noted_at {{real}} NOT NULL
);
"""

_COLUMNS = "id, queue, payload, priority, not_before, expires_at, dedup_key, order_key, exchange, routing_key, added_at"
#: In the order of `_COLUMNS`.
INSERT: Final = f"""\
INSERT INTO {TABLE} ({_COLUMNS}, claimed_by, claimed_until, refused) VALUES (:id, :queue, :payload, :priority, \
:not_before, :expires_at, :dedup_key, :order_key, :exchange, :routing_key, :added_at, '', 0, '')"""
ADD: Final = f"{INSERT} ON CONFLICT (id) DO NOTHING"
NOTE: Final = f"INSERT INTO {ONCE} (name, noted_at) VALUES (:name, :noted_at) ON CONFLICT (name) DO NOTHING"

LOOK: Final = f"SELECT 1 FROM {TABLE} WHERE claimed_until <= :now LIMIT 1"
#: Claims that have run out, and rows that nobody has claimed.
LAPSED: Final = f"""\
SELECT {_COLUMNS} FROM {TABLE} WHERE claimed_until > 0 AND claimed_until <= :now \
ORDER BY claimed_until, id LIMIT :most"""
FREE: Final = f"SELECT {_COLUMNS} FROM {TABLE} WHERE claimed_until = 0 ORDER BY id LIMIT :most"
#: Two relays do not wait for each other, nor for a transaction that holds a row.
PASS_BY: Final = " FOR UPDATE SKIP LOCKED"
CLAIM: Final = f"UPDATE {TABLE} SET claimed_by = :owner, claimed_until = :until WHERE id = :id"
RELEASE: Final = f"UPDATE {TABLE} SET claimed_by = '', claimed_until = 0 WHERE claimed_by = :owner AND refused = ''"
DROP: Final = f"DELETE FROM {TABLE} WHERE id = :id AND claimed_by = :owner"
REFUSE: Final = f"""\
UPDATE {TABLE} SET claimed_by = '', claimed_until = {NEVER:g}, refused = :reason \
WHERE id = :id AND claimed_by = :owner"""

COUNT: Final = f"SELECT refused <> '', count(*), min(added_at) FROM {TABLE} GROUP BY refused <> ''"
SHOW: Final = f"""\
SELECT id, queue, payload, added_at, refused FROM {TABLE} WHERE (refused <> '') = :refused ORDER BY id LIMIT :most"""
RETRY: Final = f"UPDATE {TABLE} SET claimed_until = 0, refused = '' WHERE refused <> ''"
PURGE: Final = f"DELETE FROM {TABLE} WHERE refused <> ''"
ONE: Final = " AND id = :id"


def ddl(dialect: str) -> str:
    """The statements that make both tables."""
    return _MAKE.format(**_TYPES[dialect])


def statements(dialect: str) -> list[str]:
    """The same, one by one."""
    return [part.strip() for part in ddl(dialect).split(";") if part.strip()]
