"""The admin in another theme's clothes (`make themes`): every page opens, shows its buttons, and they work."""

import os

import pytest
from django.test import Client

from orderhooks.models import Delivery, Subscription
from tests.admin.visits import client_of
from tests.factories import (
    make_attempt,
    make_delivery,
    make_event,
    make_failed_event,
    make_order,
    make_replay,
    make_subscription,
    make_user,
)

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif("TEST_ADMIN_THEME" not in os.environ, reason="no theme: `make themes` tests with each"),
]


@pytest.fixture
def client() -> Client:
    return client_of(make_user(is_staff=True, is_superuser=True))


def read(client: Client, path: str) -> str:
    response = client.get(f"/admin/orderhooks/{path}")
    assert response.status_code == 200
    return response.content.decode()


def press(client: Client, path: str, button: str, **data: str) -> str:
    """The page that follows a button of a record's page, which must show it."""
    address = f"/admin/orderhooks/{path}/{button}/"
    assert f'formaction="{address}"' in read(client, f"{path}/change/")
    response = client.post(address, data, follow=True)
    assert response.status_code == 200
    return response.content.decode()


def test_an_order_shows_what_became_of_its_webhooks(client: Client) -> None:
    order = make_order(lines=[], number="1042")
    event = make_event(order_number="1042", order_pk=str(order.pk))
    make_delivery(event=event, state="failed", subscription=make_subscription(name="Warehouse"))
    assert "1 failed" in read(client, "order/")
    text = press(client, f"order/{order.pk}", "webhooks/redeliver")
    assert "1 delivery is sent again." in text
    assert "Warehouse" in text


def test_the_log_is_filtered_and_a_delivery_sent_again(client: Client) -> None:
    delivery = make_delivery(event=make_event(order_number="1042"), state="failed")
    make_attempt(delivery, response_body="out of paper")
    text = read(client, "delivery/?state__exact=failed")
    assert "1042" in text
    assert "failed (1)" in text
    assert "Export as CSV" in text
    page = read(client, f"delivery/{delivery.pk}/change/")
    assert "out of paper" in page
    assert "WEBHOOK_SECRET" in page
    assert "1 delivery is sent again." in press(client, f"delivery/{delivery.pk}", "redeliver")
    chosen = {"action": "redeliver", "_selected_action": [delivery.pk]}
    confirmation = client.post("/admin/orderhooks/delivery/", chosen).content.decode()
    assert "is sent again now" in confirmation
    client.post("/admin/orderhooks/delivery/", {**chosen, "confirmed": "yes"})
    assert Delivery.objects.get().trigger == "manual"


def test_a_subscription_is_tested_paused_resumed_and_given_a_new_secret(client: Client, receiver) -> None:
    subscription = make_subscription(name="Warehouse", url=receiver.url)
    path = f"subscription/{subscription.pk}"
    assert "attempts succeeded" in read(client, "subscription/")
    assert "It arrived." in press(client, path, "test")
    assert "Paused: nothing is sent to it." in press(client, path, "pause")
    assert "what should happen to the held deliveries?" in press(client, path, "resume")
    press(client, path, "resume", confirmed="1", choice="all")
    assert Subscription.objects.get().state == "active"
    assert "Signing secret" in press(client, path, "rotate", confirmed="1", hours="24")
    assert "signs until" in read(client, f"{path}/change/")
    assert "Signing secret" in press(client, path, "reveal")


def test_a_replay_is_planned_and_cancelled(client: Client) -> None:
    subscription = make_subscription()
    assert "Count what would be sent" in read(client, f"replay/add/?subscription={subscription.pk}")
    replay = make_replay(subscription=subscription)
    assert "deliveries made due" in read(client, f"replay/{replay.pk}/change/")
    press(client, f"replay/{replay.pk}", "cancel")
    replay.refresh_from_db()
    assert replay.state == "cancelled"


def test_an_event_is_published_again(client: Client) -> None:
    order = make_order(lines=[])
    event = make_failed_event(order_pk=str(order.pk))
    read(client, "event/")
    press(client, f"event/{event.pk}", "publish")
    event.refresh_from_db()
    assert event.published_at


@pytest.mark.parametrize(
    "path",
    [
        "",
        "dashboard/",
        "dashboard/order/?number=1042",
        "replay/",
        "backfill/",
        "erasure/",
        "erasure/add/",
        "subscription/add/",
        "subscription/topics/",
        "subscription/{}/preview/",
        "subscription/{}/versions/",
        "subscription/{}/code-samples/",
        "subscription/{}/history/",
    ],
)
def test_a_page_opens(client: Client, path: str) -> None:
    read(client, path.format(make_subscription().pk))
