"""The database's clock: the one that all workers share, whatever their machines' clocks say."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.functions import Now
from django.db.models.sql.compiler import SQLCompiler

from orderhooks.db.primary import own_database

__all__ = ["DatabaseClock", "DatabaseNow"]


class DatabaseNow(Now):
    """The time at which the statement runs, by the database's clock."""

    def as_mysql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any) -> tuple[str, Any]:
        # CURRENT_TIMESTAMP is in the session's time zone; Django stores UTC.
        return self.as_sql(compiler, connection, template="UTC_TIMESTAMP(6)", **context)


class DatabaseClock:
    """The clock of the database that we write to.

    The database's time is read once; from then on this process's monotonic clock, which nobody sets, is added to it.
    """

    def __init__(self) -> None:
        self.look()

    def look(self) -> None:
        """Read the database's time again, because monotonic clocks drift."""
        connection = connections[own_database()]
        read_at = time.monotonic()
        with connection.cursor() as cursor:
            cursor.execute(SELECT_NOW.get(connection.vendor, SELECT_NOW["sqlite"]))
            [found] = cursor.fetchone()
        time_there: datetime = datetime.fromisoformat(found) if isinstance(found, str) else found
        self._time = time_there if time_there.tzinfo else time_there.replace(tzinfo=UTC)
        self._at = read_at

    def now(self) -> datetime:
        return self._time + timedelta(seconds=time.monotonic() - self._at)


SELECT_NOW = {
    "postgresql": "SELECT clock_timestamp()",
    "mysql": "SELECT UTC_TIMESTAMP(6)",
    "sqlite": "SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')",
}
