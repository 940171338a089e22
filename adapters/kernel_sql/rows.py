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
        "exchange": out.exchange,
        "routing_key": out.routing_key,
        "added_at": row.added_at,
    }


def row(found: Any) -> Row:
    """A row as `schema.FREE` selects it."""
    id, queue, payload, *attributes, added_at = found
    return Row(id, Outgoing(queue, bytes(payload), *attributes), added_at)
