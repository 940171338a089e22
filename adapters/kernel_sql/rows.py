"""Between rows of the port and values of statements."""

from __future__ import annotations

from typing import Any

from kernel.ports import Outgoing, Row


def values(row: Row) -> dict[str, Any]:
    """What `schema.INSERT` wants."""
    out = row.message
    return {
        "id": row.id,
        "queue": out.queue,
        "payload": out.payload,
        "priority": out.priority,
        "not_before": out.not_before,
        "expires_at": out.expires_at,
        "dedup_key": out.dedup_key,
        "order_key": out.order_key,
        "added_at": row.added_at,
    }


def row(found: Any) -> Row:
    """A row as `schema.FREE` selects it."""
    id, queue, payload, priority, not_before, expires_at, dedup_key, order_key, added_at = found
    message = Outgoing(queue, bytes(payload), priority, not_before, expires_at, dedup_key, order_key)
    return Row(id, message, added_at)
