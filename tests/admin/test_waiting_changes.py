"""Pages do not hide that a change waits to become an event."""

import html
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from orderhooks.models import Order, Subscription
from orderhooks.outbox import coalesce_left_behind
from tests.admin.shops import SETTING, visitor
from tests.factories import make_order, make_subscription

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.by_hand]

WAITS = "A change of it is saved, and no worker has made an event of it yet."
NOTHING = "Nothing waits to be sent."


@pytest.fixture(autouse=True)
def _in_worker(settings: Any) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "COALESCE_IN_WORKER": True}
    make_subscription()


def text_of(client: Client, path: str) -> str:
    response = client.get(path)
    assert response.status_code == 200
    return html.unescape(response.content.decode())


def page_of(order: Order) -> str:
    return f"/admin/orderhooks/order/{order.pk}/change/"


def test_an_orders_page_says_so_beside_its_events(operator: Client) -> None:
    order = make_order(lines=[])
    assert WAITS in text_of(operator, page_of(order))
    coalesce_left_behind(now=timezone.now())
    shown = text_of(operator, page_of(order))
    assert "order.created" in shown
    assert WAITS not in shown
    order.status = "cancelled"
    order.save()
    shown = text_of(operator, page_of(order))
    assert "order.created" in shown
    assert WAITS in shown


def test_an_orders_page_says_so_when_nobody_subscribes_any_more(operator: Client) -> None:
    order = make_order(lines=[])
    Subscription.objects.all().delete()
    assert WAITS in text_of(operator, page_of(order))
    coalesce_left_behind(now=timezone.now())
    assert "order.created" in text_of(operator, page_of(order))


def test_the_page_by_number_says_so_too(operator: Client, settings: Any) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "STORES_FOR_USER": SETTING}
    order = make_order(lines=[], number="7", store="berlin")
    coalesce_left_behind(now=timezone.now())
    path = "/admin/orderhooks/dashboard/order/?number=7"
    assert WAITS not in text_of(operator, path)
    order.status = "cancelled"
    order.save()
    assert WAITS in text_of(operator, path)
    assert WAITS not in text_of(visitor("berlin"), path), "it may be in another store by now"


def test_an_order_that_is_deleted_before_its_first_event_is_found_by_its_number(
    operator: Client, settings: Any
) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "STORES_FOR_USER": SETTING}
    make_order(lines=[], number="7", store="berlin").delete()
    by_number = "/admin/orderhooks/dashboard/order/?number="
    assert "Order 7 was deleted, and no worker has made an event of it yet." in text_of(operator, f"{by_number}7")
    assert "No order 8 was found." in text_of(operator, f"{by_number}8")
    assert "Order 7 was deleted" in text_of(visitor("berlin"), f"{by_number}7")
    assert "No order 7 was found." in text_of(visitor("nobody"), f"{by_number}7")


@pytest.mark.parametrize("path", ["/admin/orderhooks/dashboard/", "/admin/orderhooks/dashboard/?store=berlin"])
def test_the_dashboard_does_not_say_that_nothing_waits(operator: Client, settings: Any, path: str) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "STORES_FOR_USER": SETTING}
    assert NOTHING in text_of(operator, path)
    make_order(lines=[], store="berlin")
    assert NOTHING not in text_of(operator, path)
