"""Transactions of a worker: it neither holds locks while it is stopped, nor waits for ever for those of others."""

import contextlib
from collections.abc import Iterator

from django.db import DatabaseError, connections, transaction

__all__ = ["brief_transaction", "is_lock_timeout"]

STOPPED_AFTER_MS = 10_000
WAIT_MS = 1_000
LOCK_NOT_AVAILABLE = "55P03"


@contextlib.contextmanager
def brief_transaction(using: str, *, durable: bool = True) -> Iterator[None]:
    """A transaction that PostgreSQL ends if this process says nothing for ten seconds: it was stopped, or hangs.

    A statement in it waits for a lock for a second; then it raises an error that `is_lock_timeout` knows. If it is not
    `durable`, its commit does not wait for the disk: a machine that stops may forget it, and what came after it.
    """
    with transaction.atomic(using=using):
        if connections[using].vendor == "postgresql":
            with connections[using].cursor() as cursor:
                cursor.execute(
                    f"SET LOCAL idle_in_transaction_session_timeout = {STOPPED_AFTER_MS}; "
                    f"SET LOCAL lock_timeout = {WAIT_MS}"
                    f"{'' if durable else '; SET LOCAL synchronous_commit = off'}"
                )
        yield


def is_lock_timeout(error: DatabaseError) -> bool:
    """Whether somebody else held a lock for too long."""
    return getattr(error.__cause__, "sqlstate", None) == LOCK_NOT_AVAILABLE
