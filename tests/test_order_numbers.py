"""Numbers of new orders where the save opens its own transaction: each try is one, and nothing else is needed."""

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models.signals import post_save
from django.test.utils import CaptureQueriesContext

from orderhooks.models import Event, Order
from orderhooks.models.orders import FIRST_NUMBER
from tests.factories import make_subscription

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_number_that_is_taken_is_passed_over_and_the_order_is_published_once() -> None:
    make_subscription(topics=["*"])
    first = Order.objects.create()
    Order.objects.filter(pk=first.pk).update(number=str(FIRST_NUMBER + first.pk))
    Event.objects.all().delete()
    order = Order.objects.create(customer_name="Ada")
    assert order.number == str(FIRST_NUMBER + first.pk + 1)
    assert [(one.topic, one.order_number) for one in Event.objects.all()] == [("order.created", order.number)]


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

    post_save.connect(handler, sender=Order)
    try:
        order = Order()
        with pytest.raises(IntegrityError, match="of the store's own"):
            order.save()
    finally:
        post_save.disconnect(handler, sender=Order)
    assert list(Order.objects.values_list("number", flat=True)) == [order.number] == [str(FIRST_NUMBER)]
