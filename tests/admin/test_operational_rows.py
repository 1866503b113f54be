"""What belongs to operational subscriptions is on no page of users who may not manage all subscriptions."""

from typing import Any

import pytest
from django.test import Client

from orderhooks.models import Replay, Subscription
from tests.admin.visits import page, staff
from tests.factories import make_attempt, make_consumer, make_delivery, make_event, make_replay, make_subscription

pytestmark = pytest.mark.django_db

EACH = (
    "view_delivery",
    "view_event",
    "view_payload",
    "view_subscription",
    "change_subscription",
    "view_replay",
    "view_backfill",
    "view_feedconsumer",
    "redeliver_delivery",
)
NAME = "Night watch"


@pytest.fixture
def alarm() -> Any:
    subscription = make_subscription(
        name=NAME, operational=True, topics=["*"], objective_seconds=60, state=Subscription.State.DISABLED
    )
    event = make_event(topic="worker.missing", source="", order_pk="", order_number="")
    delivery = make_delivery(subscription=subscription, event=event, state="pending")
    make_attempt(delivery)
    make_replay(subscription=subscription)
    make_consumer(subscription=subscription)
    make_consumer(name="A program of all orders")
    return delivery


PAGES = {
    "dashboard": "dashboard/",
    "deliveries": "delivery/",
    "events": "event/",
    "subscriptions": "subscription/",
    "replays": "replay/",
    "consumers": "feedconsumer/",
    "new replay": "replay/add/",
    "new backfill": "backfill/add/",
}


@pytest.mark.parametrize("setting", [None, "tests.test_alarms.all_stores"], ids=["no setting", "all stores"])
def test_no_page_names_them(settings: Any, alarm: Any, setting: str | None) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "STORES_FOR_USER": setting}
    shopkeeper, manager = staff(*EACH), staff(*EACH, "manage_all_subscriptions")
    sees = {name: _shows(page(shopkeeper, path)) for name, path in PAGES.items()}
    assert sees == dict.fromkeys(sees, False)
    assert "A program of all orders" in page(shopkeeper, PAGES["consumers"])
    everything = {name: _shows(page(manager, path)) for name, path in PAGES.items()}
    # They get no orders.
    assert everything == {**dict.fromkeys(everything, True), "new backfill": False}


def _shows(text: str) -> bool:
    return NAME in text or "worker.missing" in text


def test_their_rows_are_not_there(alarm: Any) -> None:
    shopkeeper = staff(*EACH)
    for path in (
        f"delivery/{alarm.pk}/change/",
        f"event/{alarm.event_id}/change/",
        f"subscription/{alarm.subscription_id}/change/",
        f"replay/{Replay.objects.get().pk}/change/",
    ):
        assert "doesn’t exist" in shopkeeper.get(f"/admin/orderhooks/{path}", follow=True).content.decode(), path


def test_an_alarm_can_be_neither_skipped_nor_sent_again_nor_replayed(alarm: Any) -> None:
    shopkeeper = staff(*EACH)
    for button in ("skip", "redeliver"):
        shopkeeper.post(f"/admin/orderhooks/delivery/{alarm.pk}/{button}/", {"confirm": "yes"})
    alarm.refresh_from_db()
    assert alarm.state == "pending"
    form = {"subscription": alarm.subscription_id, "since": "2026-01-01T00:00", "only": "all", "confirm": "yes"}
    assert "valid choice" in shopkeeper.post("/admin/orderhooks/replay/add/", form).content.decode()
    assert Replay.objects.count() == 1


def test_too_large_an_objective_is_an_error_of_the_form(admin_client: Client) -> None:
    subscription = make_subscription(objective_seconds=60)
    path = f"/admin/orderhooks/subscription/{subscription.pk}/change/"
    for typed in ("604801", "99999999999999", "9223372036854775808"):
        text = admin_client.post(path, {"objective_seconds": typed, "name": "New"}).content.decode()
        assert "604800" in text
        assert "within 60 s" in text.replace("\xa0", " ") or "within 1 min" in text.replace("\xa0", " ")
