"""Savepoints that are set before the first statement of a store's code."""

import contextlib
from collections.abc import Callable

import pytest
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext

from orderhooks.db.savepoints import undone_if_it_fails
from orderhooks.models import Order

pytestmark = pytest.mark.django_db(transaction=True)


def save(number: str) -> None:
    Order.objects.create(number=number)


def fail() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT no_such_column FROM orderhooks_order")


def saved() -> list[str]:
    return sorted(Order.objects.values_list("number", flat=True))


def test_code_without_a_statement_costs_none() -> None:
    with transaction.atomic():
        with CaptureQueriesContext(connection) as captured, undone_if_it_fails("default"):
            pass
        assert list(captured) == []


def test_outside_of_a_transaction_no_savepoint_is_set() -> None:
    with CaptureQueriesContext(connection) as captured, undone_if_it_fails("default"):
        saved()
    assert len(captured) == 1


def test_there_is_one_savepoint_and_it_is_released() -> None:
    with transaction.atomic():
        with CaptureQueriesContext(connection) as captured, undone_if_it_fails("default"):
            saved()
            saved()
        assert [query["sql"].split()[0] for query in captured] == ["SAVEPOINT", "SELECT", "SELECT", "RELEASE"]
        with pytest.raises(DatabaseError), connection.cursor() as cursor:
            cursor.execute(captured[-1]["sql"])


def in_a_block_without_savepoint() -> None:
    with transaction.atomic(savepoint=False):
        save("lost")
        fail()


def swallowed() -> None:
    with contextlib.suppress(DatabaseError):
        in_a_block_without_savepoint()


def raised_without_the_database() -> None:
    save("lost")
    raise ValueError("no such rate")


def spoilt_without_a_statement() -> None:
    with transaction.atomic(savepoint=False):
        raise KeyError("amount")


def spoilt_and_swallowed() -> None:
    with contextlib.suppress(KeyError):
        spoilt_without_a_statement()


def ends_the_process() -> None:
    save("lost")
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("code", "raised"),
    [
        (fail, DatabaseError),
        (in_a_block_without_savepoint, DatabaseError),
        (swallowed, None),
        (spoilt_without_a_statement, KeyError),
        (spoilt_and_swallowed, None),
        (raised_without_the_database, ValueError),
        (ends_the_process, KeyboardInterrupt),
    ],
)
def test_what_fails_is_undone_and_the_transaction_goes_on(
    code: Callable[[], None], raised: type[BaseException] | None
) -> None:
    with transaction.atomic():
        save("before")
        with pytest.raises(raised) if raised else contextlib.nullcontext(), undone_if_it_fails("default"):
            code()
        save("after")
    assert saved() == ["after", "before"]


def test_of_blocks_in_each_other_each_undoes_its_own() -> None:
    with transaction.atomic():
        with undone_if_it_fails("default"):
            save("outer")
            with pytest.raises(ValueError), undone_if_it_fails("default"):  # noqa: PT011
                raised_without_the_database()
            save("second")
        with pytest.raises(ValueError), undone_if_it_fails("default"):  # noqa: PT011
            save("lost too")
            with undone_if_it_fails("default"):
                save("lost with it")
            raise ValueError
    assert saved() == ["outer", "second"]


def test_a_cursor_of_the_server_may_come_first() -> None:
    save("1")
    with transaction.atomic(), undone_if_it_fails("default"):
        assert [order.number for order in Order.objects.iterator(chunk_size=1)] == ["1"]


def test_what_was_to_follow_the_commit_still_does() -> None:
    done: list[str] = []
    with transaction.atomic(), undone_if_it_fails("default"):
        saved()
        transaction.on_commit(lambda: done.append("done"))
    assert done == ["done"]


def test_what_was_to_follow_the_commit_of_something_undone_does_not() -> None:
    done: list[str] = []
    with transaction.atomic():
        transaction.on_commit(lambda: done.append("before"))
        with pytest.raises(ValueError, match="no such rate"), undone_if_it_fails("default"):
            transaction.on_commit(lambda: done.append("lost"))
            raised_without_the_database()
        with pytest.raises(ValueError, match="no rate"), undone_if_it_fails("default"):
            transaction.on_commit(lambda: done.append("lost without a statement"))
            raise ValueError("no rate")
    assert done == ["before"]


def test_an_error_that_the_code_hides_is_raised_where_it_has_spoilt_the_transaction() -> None:
    def hide() -> None:
        with undone_if_it_fails("default"), contextlib.suppress(DatabaseError):
            fail()

    with transaction.atomic():
        save("before")
        with pytest.raises(DatabaseError) if connection.vendor == "postgresql" else contextlib.nullcontext():
            hide()
        save("after")
    assert saved() == ["after", "before"]


def test_a_transaction_that_is_lost_is_not_committed() -> None:
    def lose() -> None:
        with transaction.atomic(), undone_if_it_fails("default"):
            save("lost")
            connection.close()
            raise ValueError("the connection is gone")

    with pytest.raises(ValueError, match="the connection is gone"):
        lose()
    assert saved() == []
