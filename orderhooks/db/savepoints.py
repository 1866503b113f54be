"""Savepoints set by hand: only before the first statement that runs, as most code of a store needs none."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import Error, connections

from orderhooks.db.drivers import is_psycopg3

__all__ = ["Savepoint", "undone_if_it_fails"]


@contextmanager
def undone_if_it_fails(using: str) -> Iterator[None]:
    """Inside a transaction: if what runs in the block raises an error, undo it, so that the transaction can go on.

    `transaction.atomic` does the same with two round trips to the database, also where no statement runs.
    """
    connection = connections[using]
    if not connection.in_atomic_block:
        yield
        return
    # A name of its own, as MariaDB forgets a savepoint when another one gets its name.
    savepoint = Savepoint(connection, f"orderhooks_{len(connection.execute_wrappers)}")
    hooks, was_lost = list(connection.run_on_commit), connection.needs_rollback
    try:
        with connection.execute_wrapper(savepoint):
            yield
        if connection.needs_rollback == was_lost:
            savepoint.release()
            return
    except BaseException:
        _undo(savepoint, hooks, was_lost)
        raise
    # An inner block of the store's code has failed, and the error went no further.
    _undo(savepoint, hooks, was_lost)


def _undo(savepoint: "Savepoint", hooks: list[Any], was_lost: bool) -> None:
    """As `transaction.atomic` does: what was to follow the commit is forgotten too. If it fails, the whole transaction
    will be undone.
    """
    connection = savepoint.connection
    if connection.closed_in_transaction:
        return
    # Without a statement there is nothing else to undo: Django lets an inner block that fails spoil the outer one.
    connection.needs_rollback, connection.run_on_commit = was_lost, hooks
    try:
        savepoint.roll_back()
        savepoint.release()
    except Error:
        connection.needs_rollback = True


class Savepoint:
    """A savepoint before the first statement that runs while it wraps a connection's statements.

    `at_once`: in the same round trip, if the driver sends several at once. Only for statements of ours: a cursor with a
    name, as of `iterator()`, takes one alone.
    """

    def __init__(self, connection: Any, name: str, *, at_once: bool = False) -> None:
        self.connection = connection
        self.name = name
        self.at_once = at_once and not connection.settings_dict["OPTIONS"].get("server_side_binding")
        self.is_set = False

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        if self.is_set:
            return execute(sql, params, many, context)
        self.is_set = True
        if many or not self.at_once:
            self._execute(f"SAVEPOINT {self.name}")
            return execute(sql, params, many, context)
        done = execute(f"SAVEPOINT {self.name}; {sql}", params, many, context)
        # psycopg 2 gives the last result, psycopg 3 the first one.
        if is_psycopg3(self.connection):
            context["cursor"].nextset()
        return done

    def release(self) -> None:
        if self.is_set:
            self._execute(f"RELEASE SAVEPOINT {self.name}")

    def roll_back(self) -> None:
        if self.is_set:
            self._execute(f"ROLLBACK TO SAVEPOINT {self.name}")

    def _execute(self, statement: str) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(statement)
