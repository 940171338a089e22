"""Outboxes in SQL databases: a file of their own, or a table beside those of an application.

SQLite needs nothing but the standard library, PostgreSQL needs SQLAlchemy and a driver for the relay, and whatever
driver the application has for its own transactions.
"""

from kernel_sql.outbox import SqlOutbox
from kernel_sql.transaction import transaction_of

__all__ = ["SqlOutbox", "transaction_of"]
