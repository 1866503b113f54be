"""Nothing is sent while no worker runs: each page of something that waits says so first."""

import pytest
from django.utils import timezone

from orderhooks.models import Pump
from tests.admin.visits import page
from tests.factories import make_delivery, make_event, make_order, make_subscription

pytestmark = pytest.mark.django_db

MISSING = "No worker has ever been seen"


def order_page() -> tuple[str, str]:
    order = make_order()
    make_delivery(event=make_event(order_pk=str(order.pk), order_number=order.number))
    return f"order/{order.pk}/change/", "waiting for the next try"


def order_without_events() -> tuple[str, str]:
    return f"order/{make_order().pk}/change/", "There is no subscription"


def order_of_any_source() -> tuple[str, str]:
    make_delivery(event=make_event(order_number="1042"))
    return "dashboard/order/?number=1042", "waiting for the next try"


def dashboard() -> tuple[str, str]:
    make_delivery()
    return "dashboard/", "Waiting: 1"


def subscription_page() -> tuple[str, str]:
    return f"subscription/{make_subscription().pk}/change/", "Active;"


def waiting_delivery() -> tuple[str, str]:
    return f"delivery/{make_delivery().pk}/change/", "orderhooks-summary"


PAGES = [order_page, order_without_events, order_of_any_source, dashboard, subscription_page, waiting_delivery]


@pytest.mark.parametrize("make", PAGES)
def test_a_missing_worker_is_said_first(operator, make) -> None:
    address, next_words = make()
    text = page(operator, address)
    assert -1 < text.find(MISSING) < text.find(next_words)


@pytest.mark.parametrize("make", PAGES)
def test_nothing_is_said_of_a_worker_that_is_there(operator, make) -> None:
    address, _next_words = make()
    Pump.objects.create()
    assert "No worker has" not in page(operator, address)


def test_a_delivery_that_has_ended_needs_no_worker(operator) -> None:
    delivery = make_delivery(state="delivered", finished_at=timezone.now())
    assert MISSING not in page(operator, f"delivery/{delivery.pk}/change/")
