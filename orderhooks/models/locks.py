"""Transactions that hold locks while this process computes: one that is stopped in the middle must not hold them."""

import contextlib
from collections.abc import Iterator

from django.db import connections, transaction

STOPPED_AFTER_MS = 10_000


@contextlib.contextmanager
def brief_transaction(using: str) -> Iterator[None]:
    """A transaction that PostgreSQL ends if this process says nothing for ten seconds: it was stopped, or hangs."""
    with transaction.atomic(using=using):
        if connections[using].vendor == "postgresql":
            with connections[using].cursor() as cursor:
                cursor.execute(f"SET LOCAL idle_in_transaction_session_timeout = {STOPPED_AFTER_MS}")
        yield
