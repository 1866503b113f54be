"""Which subscriptions an event goes to."""

from datetime import timedelta

import pytest
from django.utils import timezone

from orderhooks import routing
from orderhooks.models import Delivery
from tests.factories import make_event, make_failed_event, make_subscription

pytestmark = pytest.mark.django_db


def route() -> list[str]:
    routing.route(now=timezone.now())
    return list(Delivery.objects.order_by("pk").values_list("subscription__name", flat=True))


@pytest.mark.parametrize(
    ("topics", "wanted"),
    [
        (["order.paid"], True),
        (["order.*"], True),
        (["*"], True),
        (["order.created", "order.paid"], True),
        (["order.created"], False),
        (["webhook.test"], False),
        ([], False),
    ],
)
def test_an_event_goes_to_those_that_want_its_topic(topics: list[str], wanted: bool) -> None:
    make_subscription(topics=topics)
    make_event(routed_at=None, topic="order.paid")
    assert bool(route()) is wanted


@pytest.mark.parametrize(("store", "wanted"), [("", True), ("north", True), ("south", False)])
def test_an_event_goes_to_its_own_store_and_to_those_of_all_stores(store: str, wanted: bool) -> None:
    make_subscription(store=store)
    make_event(routed_at=None, store="north")
    assert bool(route()) is wanted


@pytest.mark.parametrize("state", ["active", "paused", "disabled"])
def test_a_stopped_subscription_is_still_owed_its_events(state: str) -> None:
    make_subscription(state=state)
    make_event(routed_at=None)
    assert len(route()) == 1


def test_an_event_does_not_go_to_who_subscribed_after_it() -> None:
    make_subscription(created_at=timezone.now() + timedelta(minutes=1))
    make_event(routed_at=None)
    assert route() == []


def test_routing_twice_makes_no_delivery_twice() -> None:
    make_subscription()
    event = make_event(routed_at=None)
    route()
    event.routed_at = None
    event.save()
    assert len(route()) == 1


def test_an_event_without_a_payload_waits() -> None:
    make_subscription()
    make_failed_event()
    assert route() == []
