"""Transactions of a worker: it neither holds locks while it is stopped, nor waits for ever for those of others."""

import contextlib
import hashlib
from collections.abc import Iterator
from typing import Any, TypeVar

from django.db import DatabaseError, DataError, IntegrityError, OperationalError, connections, models, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

__all__ = [
    "brief_reading",
    "brief_transaction",
    "is_about_content",
    "is_lock_timeout",
    "locked",
    "locked_if_free",
    "one_at_a_time",
]

Rows = TypeVar("Rows", bound="models.QuerySet[Any]")
STOPPED_AFTER_MS = 10_000
WAIT_SECONDS = 1
NAMED_LOCK_SECONDS = 10
# PostgreSQL's SQLSTATE; MariaDB's and MySQL's numbers for a wait that was too long, and for a deadlock.
LOCK_NOT_AVAILABLE = ("55P03", 1205, 1213)
# MariaDB's and MySQL's numbers for values that are out of range, too long or not of the column's characters, which the
# driver reports as operational errors.
CONTENT_REFUSED = (1264, 1265, 1292, 1366, 1406)


@contextlib.contextmanager
def brief_transaction(using: str, *, durable: bool = True, may_be_silent: bool = False) -> Iterator[None]:
    """A transaction that PostgreSQL ends if this process says nothing for ten seconds: it was stopped, or hangs.

    A statement in it waits for a lock for a second; then it raises an error for which `is_lock_timeout` is true. If not
    `durable`, its commit does not wait for the disk: a machine that stops may forget it, and what came after it.
    If it `may_be_silent`, it is not ended: the store's own code runs in it. To read alone: `brief_reading`.

    On MariaDB its statements see what was committed before them, also in a store with REPEATABLE READ: there a locking
    read returns rows that the reads after it would not see.
    """
    connection = connections[using]
    with contextlib.ExitStack() as stack:
        if connection.vendor == "mysql":
            stack.enter_context(_waiting_briefly(connection))
        stack.enter_context(transaction.atomic(using=using))
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute(_settings(durable=durable, may_be_silent=may_be_silent))
        yield


@contextlib.contextmanager
def brief_reading(using: str) -> Iterator[bool]:
    """A brief transaction in which the store's own code reads orders. Gives whether it is one.

    On SQLite it is none: no time can be set there, and it would keep all others from writing until that code is done.
    What writes inside has a transaction of its own.
    """
    is_one = connections[using].vendor != "sqlite"
    with brief_transaction(using, may_be_silent=True) if is_one else contextlib.nullcontext():
        yield is_one


def _settings(*, durable: bool, may_be_silent: bool) -> str:
    """One statement for all: where a store has its driver prepare statements, several at once are refused."""
    values = {
        "lock_timeout": f"{WAIT_SECONDS}s",
        **({} if may_be_silent else {"idle_in_transaction_session_timeout": str(STOPPED_AFTER_MS)}),
        **({} if durable else {"synchronous_commit": "off"}),
    }
    return "SELECT " + ", ".join(f"set_config('{name}', '{value}', true)" for name, value in values.items())


@contextlib.contextmanager
def _waiting_briefly(connection: BaseDatabaseWrapper) -> Iterator[None]:
    # MariaDB has no limit for one transaction, and waits for 50 seconds by default.
    with connection.cursor() as cursor:
        cursor.execute(f"SET innodb_lock_wait_timeout = {WAIT_SECONDS}")
        if not connection.in_atomic_block:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")  # of the next one alone
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SET innodb_lock_wait_timeout = DEFAULT")


@contextlib.contextmanager
def one_at_a_time(using: str, *names: str) -> Iterator[None]:
    """A transaction that waits for others of the same name to end; of several names, for those that share one.

    SQLite has only one writer: there it is enough that transactions begin with the write lock, as a check requires.
    """
    connection = connections[using]
    # In order, so that two don't wait for each other in a circle.
    numbers = sorted({int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True) for name in names})
    with contextlib.ExitStack() as stack:
        if connection.vendor == "mysql":
            for number in numbers:
                stack.enter_context(_locked_by_name(connection, f"orderhooks {number}"))
        stack.enter_context(transaction.atomic(using=using))
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                for number in numbers:
                    cursor.execute("SELECT pg_advisory_xact_lock(%s)", [number])
        yield


@contextlib.contextmanager
def _locked_by_name(connection: BaseDatabaseWrapper, name: str) -> Iterator[None]:
    # Held by the connection, not by its transaction: given back once that has ended.
    with connection.cursor() as cursor:
        cursor.execute("SELECT GET_LOCK(%s, %s)", [name, NAMED_LOCK_SECONDS])
        [is_mine] = cursor.fetchone()
        if not is_mine:
            raise OperationalError(1205, f"Another process holds the lock {name!r}.")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT RELEASE_LOCK(%s)", [name])


def locked(rows: "models.QuerySet[Any]") -> "models.QuerySet[Any]":
    """The rows, locked when they are read, and those of the tables of their parent models. Not the rows joined to them,
    as far as the database can tell them apart.

    SQLite has only one writer: nothing is locked there.
    """
    features = connections[rows.db].features
    if not features.has_select_for_update:
        return rows
    # PostgreSQL takes no name of a table with its schema after OF, as in db_table = '"shop"."orders"'. So OF stands
    # only where a query joins tables; that of a parent model is locked in any case.
    joins = bool(rows.query.select_related) or len(rows.query.alias_map) > 1
    return rows.select_for_update(of=("self",) if joins and features.has_select_for_update_of else ())


def locked_if_free(rows: Rows, *, no_key: bool = False) -> Rows:
    """Those of the rows that no other session has locked, locked when they are read. `no_key`: others may still
    refer to them. As far as the database can: MariaDB locks their keys too, and SQLite nothing.
    """
    features = connections[rows.db].features
    return rows.select_for_update(
        skip_locked=features.has_select_for_update_skip_locked,
        no_key=no_key and features.has_select_for_no_key_update,
    )


def is_about_content(error: DatabaseError) -> bool:
    """Whether the database refused the values. It would refuse the same ones again, and accept others."""
    if isinstance(error, DataError | IntegrityError):
        return True
    return any(code in CONTENT_REFUSED for code in error.args[:1])


def is_lock_timeout(error: DatabaseError) -> bool:
    """Whether somebody else held a lock for too long."""
    codes = (getattr(error.__cause__, "sqlstate", None), *error.args[:1])
    return any(code in LOCK_NOT_AVAILABLE for code in codes)
