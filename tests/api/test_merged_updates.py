"""Updates that wait for an interval, and those that were merged, as the API shows them."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orderhooks import reporting, routing
from orderhooks.models import Event
from tests.factories import make_event, make_subscription

pytestmark = pytest.mark.django_db


@pytest.fixture
def events() -> list[Event]:
    """An update that is due, one that was merged, and one that carries its changes and waits."""
    make_subscription(name="CRM", update_interval_seconds=3600)
    made = []
    for _ in range(3):
        made.append(make_event(topic="order.updated", changes={"note": ["a", "b"]}, routed_at=None))
        routing.route(now=timezone.now())
        # As if it had been begun.
        made[0].deliveries.update(attempts_made=1)
    return made


def test_a_delivery_shows_what_it_was_merged_into(api: Any, events: list[Event]) -> None:
    first, merged, carrier = (event.deliveries.get().public_id for event in events)
    listed = {one["public_id"]: one["merged"] for one in api.get("/api/deliveries/").data["results"]}
    assert listed == {first: False, merged: True, carrier: False}
    shown = api.get(f"/api/deliveries/{merged}/").data
    assert (shown["state"], shown["merged_into"]) == ("skipped", events[2].public_id)
    assert f"into {events[2].public_id}, a later update of the order" in shown["summary"][0]
    waiting = api.get(f"/api/deliveries/{carrier}/").data
    assert waiting["merged_into"] is None
    assert waiting["summary"][0] == "It carries the changes of 1 earlier update of the order, too."
    assert "CRM gets at most one order.updated of an order in 1 h 0 min." in waiting["summary"][-1]


def test_an_orders_report_says_what_waits_and_what_was_merged(api: Any, events: list[Event]) -> None:
    [newest, merged, _first] = api.get("/api/orders/orderhooks/1001/webhooks/").data
    [outcome] = newest["subscriptions"]
    assert outcome["reason"] == "waiting"
    assert "Waits until" in outcome["text"]
    [outcome] = merged["subscriptions"]
    assert (outcome["reason"], outcome["text"]) == ("merged", f"merged into {events[2].public_id}")


def test_a_report_takes_one_query_more_for_merged_updates(events: list[Event]) -> None:
    with CaptureQueriesContext(connection) as captured:
        reporting.event_reports(events, at_most=10)
    assert len(captured) == 3


def test_what_was_merged_is_not_missed(api: Any, events: list[Event]) -> None:
    subscription = events[0].deliveries.get().subscription
    since = (timezone.now() - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    missed = api.get(f"/api/subscriptions/{subscription.public_id}/missed/?since={since}").data["results"]
    assert [one["public_id"] for one in missed] == [events[0].public_id, events[2].public_id]
