"""Which subscriptions an event goes to."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orderhooks import outbox, reporting, routing
from orderhooks.models import Delivery, Event, Subscription
from tests.factories import make_delivery, make_event, make_failed_event, make_order, make_subscription

pytestmark = pytest.mark.django_db

NOW = timezone.now()


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
def test_a_stopped_subscription_still_gets_deliveries_to_hold(state: str) -> None:
    make_subscription(state=state)
    make_event(routed_at=None)
    assert len(route()) == 1


def test_an_event_does_not_go_to_who_subscribed_after_it() -> None:
    make_subscription(created_at=timezone.now() + timedelta(minutes=1))
    make_event(routed_at=None)
    assert route() == []


@pytest.mark.parametrize("wrong", [timedelta(hours=-1), timedelta(hours=1)])
@pytest.mark.parametrize("whose", ["order", "subscription"])
def test_a_machine_whose_clock_is_wrong_loses_no_event(monkeypatch, wrong: timedelta, whose: str) -> None:
    class WrongDatetime(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + wrong

    with monkeypatch.context() as patch:
        if whose == "subscription":
            patch.setattr(timezone, "datetime", WrongDatetime)
        Subscription.create_with_secret(name="Inventory", url="http://127.0.0.1:9009/", topics=["order.created"])
    with monkeypatch.context() as patch:
        if whose == "order":
            patch.setattr(timezone, "datetime", WrongDatetime)
        # As if the process died between the commit and coalescing.
        patch.setattr(outbox.transaction_batch, "coalesce", lambda *_args, **_kwargs: [])
        make_order(lines=[])
    now = timezone.now() + 2 * outbox.LEFT_BEHIND_AFTER
    assert len(outbox.coalesce_left_behind(now=now)) == 1
    assert route() == ["Inventory"]


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


@pytest.mark.parametrize(
    ("event", "subscription", "delivery", "reason"),
    [
        ({}, {}, {"state": "delivered"}, "delivered"),
        ({}, {}, {"state": "sending"}, "sending"),
        ({}, {}, {"state": "failed"}, "failed"),
        ({}, {}, {"state": "skipped"}, "skipped"),
        ({}, {}, {"state": "skipped", "merges_from": 1}, "merged"),
        ({}, {}, {"state": "skipped", "merges_from": 1, "merged_changes": {}}, "skipped"),
        ({}, {}, {"state": "pending"}, "waiting"),
        ({}, {"state": "paused"}, {"state": "pending"}, "paused"),
        ({}, {"state": "disabled"}, {"state": "pending"}, "disabled"),
        ({}, {"state": "paused"}, {"state": "delivered"}, "delivered"),
        ({}, {"topics": ["order.created"]}, {"state": "delivered"}, "delivered"),  # it has wanted it then
        ({}, {"topics": ["order.created"]}, None, "topic"),
        ({"store": "north"}, {"store": "south"}, None, "other_store"),
        ({"only_for": 0, "store": "north"}, {"store": "south"}, None, "one_only"),
        ({"store": "north"}, {"store": "north"}, None, "not_then"),
        ({}, {"created_at": NOW + timedelta(hours=1)}, None, "too_early"),
        ({}, {"created_at": NOW + timedelta(seconds=4)}, None, "not_then"),  # clocks differ
        ({"routed_at": None}, {}, None, "not_routed"),
        ({"routed_at": None}, {"topics": ["order.created"]}, None, "topic"),
        ({"published_at": None, "routed_at": None}, {}, None, "no_payload"),
        ({}, {}, None, "not_then"),
    ],
)
def test_why_an_event_went_or_did_not_go(
    event: dict[str, Any], subscription: dict[str, Any], delivery: dict[str, Any] | None, reason: str
) -> None:
    told = reporting.explain(
        Event(**{"topic": "order.paid", "occurred_at": NOW, "published_at": NOW, "routed_at": NOW, **event}),
        Subscription(**{"topics": ["order.paid"], "created_at": NOW, **subscription}),
        Delivery(**delivery) if delivery is not None else None,
    )
    assert told == reason
    assert told.label


@pytest.mark.parametrize(
    ("ordered", "state", "reason"),
    [(True, "active", "behind"), (False, "active", "waiting"), (True, "paused", "paused")],
)
def test_what_is_behind_another_of_its_order_waits_for_it(ordered: bool, state: str, reason: str) -> None:
    subscription = Subscription(ordered=ordered, state=state)
    assert reporting.explain(Event(), subscription, Delivery(), is_behind=True) == reason


def test_what_is_said_of_an_event_is_what_routing_does() -> None:
    went, other = make_subscription(), make_subscription(topics=["order.created"])
    event = make_event(routed_at=None)
    assert reporting.explain(event, went, None) == "not_routed"
    route()
    event.refresh_from_db()
    assert reporting.explain(event, went, Delivery.objects.get()) == "waiting"
    assert reporting.explain(event, other, None) == "topic"


def test_a_report_has_each_event_and_subscription_newest_first() -> None:
    ordered = make_subscription(name="b", ordered=True)
    other = make_subscription(name="a", topics=["order.created"])
    paid, shipped, of_another = (make_event(order_pk=order) for order in ("1", "1", "2"))
    make_delivery(event=paid, subscription=ordered, state="failed")
    for event in (shipped, of_another):
        make_delivery(event=event, subscription=ordered)
    with CaptureQueriesContext(connection) as captured:
        reports = reporting.event_reports([paid, of_another, shipped], at_most=10)
    assert len(captured) == 2
    assert [report.event for report in reports] == [of_another, shipped, paid]
    told = [[(one.subscription, one.reason.value) for one in report.outcomes] for report in reports]
    assert told == [[(other, "topic"), (ordered, reason)] for reason in ("waiting", "behind", "failed")]
    [[only], *_rest] = [report.outcomes for report in reporting.event_reports([paid], at_most=1)]
    assert only.subscription == other


def test_a_turn_that_takes_long_leaves_the_rest_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    make_subscription()
    for _ in range(3):
        make_event(routed_at=None)
    monkeypatch.setattr("orderhooks.routing.batches.ROUTE_SECONDS", -1.0)
    assert [routing.route(now=timezone.now()) for _ in range(4)] == [1, 1, 1, 0]
    assert Delivery.objects.count() == 3


def test_more_deliveries_than_a_statement_takes_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(5):
        make_subscription()
    for _ in range(5):
        make_event(routed_at=None)
    monkeypatch.setattr("orderhooks.routing.batches.CREATE_AT_ONCE", 7)
    routing.route(now=timezone.now())
    assert Delivery.objects.count() == 25
