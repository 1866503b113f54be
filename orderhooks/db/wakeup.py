"""A wake-up for a waiting pump: from its own threads, and on PostgreSQL from publishing processes (LISTEN/NOTIFY)."""

import contextlib
import selectors
import socket
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from django.db import connections

from orderhooks.db.drivers import is_psycopg3
from orderhooks.db.primary import own_database

__all__ = ["CHANNEL", "Wakeup", "notify_pumps"]

CHANNEL = "orderhooks"
# Equals `PumpQuerySet.fresh`, asked whether there is one. Written out, because each save asks it.
NOTIFY = """
SELECT pg_notify(%s, '') FROM orderhooks_pump
WHERE NOT ended AND beat_at > clock_timestamp() - make_interval(secs => %s) LIMIT 1
"""


def notify_pumps(*, fresh: timedelta, using: str) -> bool:
    """Whether a pump has beaten within this time; if so, each that listens is woken. For PostgreSQL alone."""
    with connections[using].cursor() as cursor:
        cursor.execute(NOTIFY, [CHANNEL, fresh.total_seconds()])
        return cursor.fetchone() is not None


class Wakeup:
    """`wait` ends when somebody calls `notify`, or after the time. Inside `with` it listens to the database as well."""

    def __init__(self) -> None:
        self._read_end, self._write_end = socket.socketpair()
        self._read_end.setblocking(False)
        self._notified = False
        self._wants_to_listen = False
        # The database connection that listens; another one than Django's after a reconnect.
        self._listening: Any = None

    def __enter__(self) -> Self:
        # psycopg 2 has no wait for notifications; with it a pump looks by itself.
        self._wants_to_listen = is_psycopg3(self._connection)
        return self

    @property
    def _connection(self) -> Any:
        return connections[own_database()]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        listening = self._listening_now()
        if kind is None and listening is not None:
            with self._connection.cursor() as cursor:
                cursor.execute(f"UNLISTEN {CHANNEL}")
        self.close()

    def close(self) -> None:
        self._read_end.close()
        self._write_end.close()

    @property
    def listens(self) -> bool:
        """Whether processes that publish can wake it."""
        return self._listening is not None

    def listen(self) -> None:
        """Listen to the database's notifications, again if the connection is a new one."""
        if self._wants_to_listen and (self._listening is None or self._listening is not self._connection.connection):
            with self._connection.cursor() as cursor:
                cursor.execute(f"LISTEN {CHANNEL}")
            self._listening = self._connection.connection

    def notify(self) -> None:
        """Wake the pump, now or at its next `wait`. Any thread may."""
        if not self._notified:
            self._notified = True
            # A thread may outlive the pump, whose sockets are closed then.
            with contextlib.suppress(OSError):
                self._write_end.send(b"!")

    def wait(self, seconds: float) -> bool:
        """Wait for a wake-up, at most `seconds`. Returns whether one came.

        Raises Django's OperationalError if the connection that listens is lost.
        """
        # The driver is asked directly, whose errors are others than Django's.
        with self._connection.wrap_database_errors:
            listening = self._listening_now()
            if listening is not None and _notifications(listening):
                return True  # one that came with the result of another statement
            # Not select(): it takes no descriptor above 1023, and a worker may have more open.
            with selectors.DefaultSelector() as selector:
                selector.register(self._read_end, selectors.EVENT_READ)
                if listening is not None:
                    selector.register(listening, selectors.EVENT_READ)
                ready = [key.fileobj for key, _events in selector.select(max(0.0, seconds))]
            if self._read_end in ready:
                self._read_end.recv(64)
                self._notified = False
            if listening in ready:
                _notifications(listening)
            return bool(ready)

    def _listening_now(self) -> Any:
        return self._listening if self._listening is self._connection.connection else None


def _notifications(listening: Any) -> int:
    return sum(1 for _notification in listening.notifies(timeout=0))
