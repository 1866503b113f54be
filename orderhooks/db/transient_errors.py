"""Which database errors pass by themselves, such as a lock, a time limit or a lost connection."""

from collections.abc import Iterator

from django.db import Error, InterfaceError, OperationalError

__all__ = ["is_transient"]

# PostgreSQL's SQLSTATE, whole or its class: connections; rolled back by a conflict; out of memory, disk or connections;
# cancelled, stopped or shutting down; system errors; a lock that was held too long; a server that only reads for now;
# a transaction that was idle or open too long.
SQLSTATES = ("08", "40", "53", "57", "58", "55P03", "25006", "25P03", "25P04")
# MySQL and MariaDB: connections, locks, deadlocks, time limits, shutdown, too many users, read-only.
MYSQL_ERRORS = frozenset(
    {1040, 1053, 1203, 1205, 1213, 1226, 1290, 1317, 1412, 1836, 1927, 1969, 2002, 2003, 2006, 2013, 2055, 3024, 4031}
)
# SQLite's primary codes: busy, locked, no memory, interrupted, I/O, full, can't open, locking protocol.
SQLITE_ERRORS = frozenset({5, 6, 7, 9, 10, 13, 14, 15})


def is_transient(error: BaseException) -> bool:
    """Whether the same may succeed a little later. Also true of an error that was raised `from` such an error."""
    return any(_passes(one) for one in _causes(error))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__


def _passes(error: BaseException) -> bool:
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    if state:
        return str(state).startswith(SQLSTATES)
    if (code := getattr(error, "sqlite_errorcode", None)) is not None:
        return code & 0xFF in SQLITE_ERRORS
    if not isinstance(error, Error):
        return False
    # Django's classes; their causes, the driver's, are looked at as well.
    if error.args and isinstance(error.args[0], int):
        return error.args[0] in MYSQL_ERRORS
    if isinstance(error, InterfaceError):
        return True  # the connection is closed
    return isinstance(error, OperationalError) and not _says_more(error.__cause__)


def _says_more(cause: BaseException | None) -> bool:
    """Whether the driver's error holds a code, which then decides."""
    codes = (getattr(cause, name, None) for name in ("sqlstate", "pgcode", "sqlite_errorcode"))
    return any(code is not None for code in codes)
