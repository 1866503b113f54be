"""Numbers of new orders where the save opens its own transaction: each try is one, and nothing else is needed."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models.signals import post_init, post_save
from django.dispatch import Signal
from django.test.utils import CaptureQueriesContext

from orderhooks.models import Event, Order, orders
from orderhooks.models.orders import FIRST_NUMBER, NUMBER_TRIES
from tests.factories import make_subscription

pytestmark = pytest.mark.django_db(transaction=True)


@contextlib.contextmanager
def _listening(signal: Signal, handler: Callable[..., None]) -> Iterator[None]:
    signal.connect(handler, sender=Order)
    try:
        yield
    finally:
        signal.disconnect(handler, sender=Order)


def test_a_number_that_is_taken_is_passed_over_and_the_order_is_published_once() -> None:
    make_subscription(topics=["*"])
    first = Order.objects.create()
    Order.objects.filter(pk=first.pk).update(number=str(FIRST_NUMBER + first.pk))
    Event.objects.all().delete()
    order = Order.objects.create(customer_name="Ada")
    assert order.number == str(FIRST_NUMBER + first.pk + 1)
    assert [(one.topic, one.order_number) for one in Event.objects.all()] == [("order.created", order.number)]


def test_no_query_asks_who_has_a_number_that_is_taken() -> None:
    """A query that joins the table of a child model, or sees the past, would not find the other order."""
    first = Order.objects.create()
    Order.objects.filter(pk=first.pk).update(number=str(FIRST_NUMBER + first.pk))
    with CaptureQueriesContext(connection) as captured:
        Order.objects.create()
    assert [
        one["sql"] for one in captured if "WHERE" in one["sql"] and '"number" =' in one["sql"].replace("`", '"')
    ] == []


def test_another_clash_rises_with_nothing_saved_and_leaves_the_number_blank() -> None:
    first = Order.objects.create()
    second = Order(public_id=first.public_id)
    with pytest.raises(IntegrityError):
        second.save()
    assert second.number == ""
    assert Order.objects.count() == 1


def test_a_new_order_takes_no_savepoint_of_its_own() -> None:
    with CaptureQueriesContext(connection) as captured:
        Order.objects.create()
    assert [one["sql"] for one in captured if "SAVEPOINT" in one["sql"] and " orderhooks" not in one["sql"]] == []


def test_what_the_stores_own_code_raises_after_the_commit_is_no_clash_of_numbers() -> None:
    def hook() -> None:
        raise IntegrityError("of the store's own")

    def handler(**_kwargs: object) -> None:
        transaction.on_commit(hook)

    order = Order()
    with _listening(post_save, handler), pytest.raises(IntegrityError, match="of the store's own"):
        order.save()
    assert list(Order.objects.values_list("number", flat=True)) == [order.number] == [str(FIRST_NUMBER)]


def test_a_handler_that_looks_at_each_order_sees_none_but_the_new_one() -> None:
    seen: list[Order] = []

    def handler(instance: Order, **_rest: object) -> None:
        seen.append(instance)
        assert instance.payment_status == "pending"

    Order.objects.create()
    with _listening(post_init, handler):
        order = Order.objects.create()
    assert seen == [order]


def test_many_numbers_that_are_taken_meanwhile_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """As by other processes that save orders while this one waits for its turn."""
    look = orders.LAST.values

    def be_overtaken(using: str) -> list[Any]:
        found = look(using=using)
        if not found:
            for number in range(NUMBER_TRIES + 5):
                Order.objects.create(number=str(FIRST_NUMBER + number))
        return found

    monkeypatch.setattr(orders.LAST, "values", be_overtaken)
    order = Order.objects.create()
    assert int(order.number) >= FIRST_NUMBER + NUMBER_TRIES + 5
