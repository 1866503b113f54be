"""An order number leads to the order's own page; to what is known of the number, where there is no such page."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from orderhooks.models import Event
from tests.admin.visits import page, staff
from tests.factories import make_delivery, make_event, make_order

pytestmark = pytest.mark.django_db

SEES = ("view_delivery", "view_event")
BY_NUMBER = '<a href="/admin/orderhooks/dashboard/order/?number={event.order_number}">{event.order_number}</a>'
OWN = '<a href="/admin/orderhooks/order/{event.order_pk}/change/">{event.order_number}</a>'


def known(**_fields: object) -> Event:
    order = make_order(number="1042")
    return make_event(order_pk=str(order.pk), order_number="1042")


def deleted() -> Event:
    return make_event(order_pk="999999", order_number="1042")


def of_another_source() -> Event:
    return make_event(source="shop", order_pk=str(make_order().pk), order_number="1042")


@pytest.mark.parametrize(
    ("make", "permissions", "link"),
    [
        (known, (*SEES, "view_order"), OWN),
        (known, (*SEES, "change_order"), OWN),
        (known, SEES, BY_NUMBER),
        (deleted, (*SEES, "view_order"), BY_NUMBER),
        (of_another_source, (*SEES, "view_order"), BY_NUMBER),
    ],
)
@pytest.mark.parametrize(
    "address", ["delivery/", "delivery/{delivery.pk}/change/", "event/", "event/{event.pk}/change/"]
)
def test_an_order_number_is_a_link(make, permissions, link, address) -> None:
    event = make()
    delivery = make_delivery(event=event)
    text = page(staff(*permissions), address.format(event=event, delivery=delivery))
    assert link.format(event=event) in text


def test_who_may_see_neither_order_nor_deliveries_gets_no_link() -> None:
    event = deleted()
    text = page(staff("view_event"), f"event/{event.pk}/change/")
    assert "1042" in text
    assert "number=1042" not in text


@pytest.mark.parametrize("address", ["delivery/", "event/"])
def test_links_cost_one_query_however_many_rows(operator, address) -> None:
    def queries() -> int:
        with CaptureQueriesContext(
            connection,
        ) as found:
            page(operator, address)
        return len(found)

    make_delivery(event=known())
    page(operator, address)
    few = queries()
    for number in range(9):
        order = make_order(number=f"B-{number}")
        make_delivery(event=make_event(order_pk=str(order.pk), order_number=order.number))
    assert queries() == few
