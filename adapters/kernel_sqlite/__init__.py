"""All four ports in one SQLite file: the embedded default, for one host and no service to run."""

from kernel_sqlite.coordination import SqliteCoordination
from kernel_sqlite.results import SqliteResults
from kernel_sqlite.schedules import SqliteSchedules
from kernel_sqlite.transport import SqliteTransport

__all__ = ["SqliteCoordination", "SqliteResults", "SqliteSchedules", "SqliteTransport"]
