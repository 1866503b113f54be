"""A database that fails for a while when an order is read: the event is made later, and no person is needed."""

import sqlite3
from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest
from django.db import (
    DataError,
    InterfaceError,
    InternalError,
    OperationalError,
    ProgrammingError,
    connection,
    transaction,
)
from django.utils import timezone

from orderhooks import outbox
from orderhooks.db.transient_errors import is_transient
from orderhooks.models import Change, Event, Order
from orderhooks.outbox import coalescing, left_behind
from orderhooks.sources import BuiltInOrders
from tests.factories import make_order, make_subscription


def wrapped(error: Exception, cause: BaseException | None = None) -> Exception:
    error.__cause__ = cause
    return error


def lite(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("something")
    error.sqlite_errorcode = code
    return error


PASSES = {
    "statement_timeout": wrapped(OperationalError(), psycopg.errors.QueryCanceled()),
    "lock_timeout": wrapped(OperationalError(), psycopg.errors.LockNotAvailable()),
    "deadlock": wrapped(OperationalError(), psycopg.errors.DeadlockDetected()),
    "serialization": wrapped(OperationalError(), psycopg.errors.SerializationFailure()),
    "too many connections": wrapped(OperationalError(), psycopg.errors.TooManyConnections()),
    "shutdown": wrapped(OperationalError(), psycopg.errors.AdminShutdown()),
    "idle too long": wrapped(InternalError(), psycopg.errors.IdleInTransactionSessionTimeout()),
    "read-only": wrapped(InternalError(), psycopg.errors.ReadOnlySqlTransaction()),
    "lost": wrapped(OperationalError("the connection is lost"), psycopg.OperationalError("the connection is lost")),
    "closed": wrapped(InterfaceError("connection already closed")),
    "the driver's own": psycopg.errors.QueryCanceled(),
    "SQLite: locked": wrapped(OperationalError("database is locked"), lite(5)),
    "SQLite: locked, extended": wrapped(OperationalError("database is locked"), lite(5 | 2 << 8)),
    "MariaDB: lock": OperationalError(1205, "Lock wait timeout exceeded"),
    "MariaDB: gone": OperationalError(2006, "Server has gone away"),
    "raised from one": wrapped(ValueError("no tax"), wrapped(OperationalError(), psycopg.errors.QueryCanceled())),
}
STAYS = {
    "the store's": ValueError("no such tax"),
    "no table": wrapped(ProgrammingError(), psycopg.errors.UndefinedTable()),
    "after another error": wrapped(InternalError(), psycopg.errors.InFailedSqlTransaction()),
    "SQLite: no table": wrapped(OperationalError("no such table: x"), lite(1)),
    "MariaDB: no column": OperationalError(1054, "Unknown column"),
    "data": DataError("value too long"),
}


@pytest.mark.parametrize("error", PASSES.values(), ids=PASSES)
def test_an_error_that_passes_by_itself_is_known(error: Exception) -> None:
    assert is_transient(error)


@pytest.mark.parametrize("error", STAYS.values(), ids=STAYS)
def test_an_error_that_stays_is_known(error: Exception) -> None:
    assert not is_transient(error)


@pytest.fixture
def order() -> Order:
    make_subscription()
    order = make_order(lines=[])
    Event.objects.all().delete()
    return order


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The database refuses to read orders until `refused.undo()`."""

    def refuse(*_args: object, **_options: object) -> None:
        raise OperationalError("canceling statement due to statement timeout")

    with monkeypatch.context() as patch:
        patch.setattr(BuiltInOrders, "payload", refuse)
        yield patch


def later(**past: float) -> list[Event]:
    return outbox.coalesce_left_behind(now=timezone.now() + timedelta(**past))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("in_one", [1, 2])
def test_an_order_that_can_not_be_read_for_a_while_is_published_later(order: Order, refused, in_one: int) -> None:
    with transaction.atomic():
        for one in [order, *(make_order(lines=[]) for _ in range(in_one - 1))]:
            one.note = "x"
            one.save()
    for minute in range(2 * outbox.MAX_COALESCE_ATTEMPTS):
        assert later(minutes=1 + minute) == []
    assert not Event.objects.exists()
    assert set(Change.objects.values_list("coalesce_attempts", flat=True)) == {0}
    refused.undo()
    assert later(minutes=minute) == [], "not tried again within a second"
    assert {event.error for event in later(minutes=minute + 2)} == {""}
    assert Event.objects.filter(published_at=None).count() == 0
    assert not Change.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_an_order_that_can_not_be_read_for_an_hour_needs_a_person(order: Order, refused) -> None:
    order.note = "x"
    order.save()
    assert later(hours=2) + later(hours=2, minutes=2) == []
    [event] = later(hours=2, minutes=4)
    assert event.error == "OperationalError: canceling statement due to statement timeout"
    assert event.published_at is None
    assert not Change.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_orders_that_can_not_be_read_do_not_hold_up_the_worker(order: Order, refused, caplog) -> None:
    for _ in range(coalescing.TRANSIENT_AT_ONCE + 3):
        make_order(lines=[])
    caplog.clear()
    assert later(minutes=1) == []
    assert caplog.text.count("can't be read now") == coalescing.TRANSIENT_AT_ONCE


@pytest.mark.by_hand
@pytest.mark.django_db(transaction=True)
def test_what_can_not_be_written_is_an_event_that_says_why(order: Order, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(outbox.transaction_batch, "coalesce", lambda *_args, **_options: [])
        order.note = "x"
        order.save()
    tries = []

    def fail(*_args: object, **_options: object) -> None:
        tries.append(1)
        raise DataError("value too long")

    monkeypatch.setattr(left_behind, "coalesce", fail)
    assert later(minutes=1) + later(minutes=1) + later(minutes=2) == []
    [event] = later(minutes=3)
    assert (event.topic, event.error) == ("order.updated", "DataError: value too long")
    assert len(tries) == outbox.MAX_COALESCE_ATTEMPTS


@pytest.mark.django_db(transaction=True)
def test_a_statement_timeout_of_postgresql_while_the_lines_are_locked(order: Order, in_a_thread) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("the run on PostgreSQL has this test")
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = '300ms'")
    try:
        with transaction.atomic():
            order.note = "x"
            order.save()
            transaction.on_commit(lambda: None)
            blocker = _lock_lines()
        assert not Event.objects.exists()
        blocker.close()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("RESET statement_timeout")
    assert [event.error for event in later(minutes=1)] == [""]


def _lock_lines() -> psycopg.Connection:
    """As a migration that alters the table does."""
    options = connection.settings_dict
    other = psycopg.connect(host=options["HOST"], user=options["USER"], dbname=options["NAME"])
    other.execute("LOCK TABLE orderhooks_orderline IN ACCESS EXCLUSIVE MODE")
    return other


@pytest.mark.django_db(transaction=True)
def test_a_hook_of_the_stores_own_that_raises_does_not_hold_up_the_event(order: Order) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        transaction.on_commit(lambda: 1 / 0)
        order.note = "x"
        order.save()
    assert Event.objects.get().topic == "order.updated"


@pytest.mark.django_db
def test_a_test_case_captures_the_hook_beside_those_that_were_there(django_capture_on_commit_callbacks) -> None:
    make_subscription()
    transaction.on_commit(lambda: 1 / 0)
    with django_capture_on_commit_callbacks(execute=True) as callbacks:
        make_order(lines=[])
    assert len(callbacks) == 1
    assert Event.objects.get().topic == "order.created"
