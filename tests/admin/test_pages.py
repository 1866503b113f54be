"""Every page of the admin: who sees it, and what it costs."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from orderhooks.models import Delivery, Event, Order, Subscription
from tests.admin.visits import page, staff
from tests.factories import (
    make_attempt,
    make_delivery,
    make_failed_event,
    make_order,
)

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("record", ["order", "event", "subscription", "delivery"])
def test_a_list_takes_the_same_queries_however_long(operator, record):
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            page(operator, f"{record}/")
        return len(captured)

    def grow() -> None:
        make_order(lines=[{}, {"sku": "B"}])
        make_attempt(make_delivery())
        make_failed_event()

    grow()
    grow()
    queries()  # the content types and the like are cached by now
    few = queries()
    for _ in range(5):
        grow()
    assert queries() == few


def test_a_delivery_page_takes_the_same_queries_however_many_attempts(operator):
    delivery = make_delivery()

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            page(operator, f"delivery/{delivery.pk}/change/")
        return len(captured)

    make_attempt(delivery)
    queries()
    few = queries()
    for _ in range(5):
        make_attempt(delivery)
    assert queries() == few


@pytest.mark.parametrize("action", ["pause", "resume"])
def test_an_action_on_subscriptions_takes_the_permission_to_change(action):
    make_delivery()
    offered = f'<option value="{action}">'
    assert offered not in page(staff("view_subscription"), "subscription/")
    assert offered in page(staff("view_subscription", "change_subscription"), "subscription/")


@pytest.mark.parametrize("record", ["change", "pump", "receipt", "subscriptionsecret", "attempt"])
def test_inner_records_have_no_page(operator, record):
    page(operator, f"{record}/", status=404)


@pytest.mark.parametrize("record", ["order", "event", "subscription", "delivery"])
def test_every_page_opens_for_users_who_may_view(operator, record):
    make_order()
    make_delivery()
    records: dict[str, Any] = {"order": Order, "event": Event, "subscription": Subscription, "delivery": Delivery}
    rows = records[record].objects.all()
    for client in (operator, staff(f"view_{record}")):
        page(client, f"{record}/")
        page(client, f"{record}/{rows[0].pk}/change/")
        page(client, f"{record}/{rows[0].pk}/history/")
    page(staff(), f"{record}/", status=403)
