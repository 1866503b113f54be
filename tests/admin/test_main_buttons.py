"""Each page has at most one button in the colour of the main action."""

import re
from typing import Any

import pytest
from django.test import Client

from orderhooks.models import Delivery, Subscription
from tests.admin.visits import page, run
from tests.factories import (
    make_backfill,
    make_delivery,
    make_erasure,
    make_event,
    make_failed_event,
    make_order,
    make_replay,
    make_subscription,
)
from tests.receivers import Answer

pytestmark = pytest.mark.django_db

TAG = re.compile(r"<(?:button|a|input)\b[^>]*>")
# What Django's style sheets colour as the main action, and what they draw in another way although it is a button.
COLOURED = re.compile(r'<input type="submit"|class="[^"]*(?<![\w-])button(?![\w-])')
DJANGOS_OTHERS = re.compile(r'name="(?:_addanother|_continue|index)"|class="[^"]*(?:cancel-|close|delete)link')
IN_THE_SEARCH = re.compile(r'<form id="changelist-search".*?</form>', re.DOTALL)


def main_buttons(text: str) -> list[str]:
    """Those in the colour of the main action."""
    _navigation, _id, content = text.partition('id="content"')
    tags = TAG.findall(IN_THE_SEARCH.sub("", content))
    return [
        tag
        for tag in tags
        if COLOURED.search(tag)
        and not DJANGOS_OTHERS.search(tag)
        and not ("orderhooks-button" in tag and "orderhooks-main" not in tag)
    ]


def press(client: Client, subscription: Subscription, button: str, **fields: str) -> str:
    response = client.post(f"/admin/orderhooks/subscription/{subscription.pk}/{button}/", fields)
    assert response.status_code == 200
    return response.content.decode()


@pytest.mark.parametrize(
    ("address", "count"),
    [
        ("dashboard/", 1),
        ("dashboard/order/?number={event.order_number}", 1),
        ("subscription/", 0),
        ("subscription/add/", 1),
        ("subscription/{subscription.pk}/change/", 1),
        ("subscription/{subscription.pk}/delete/", 1),
        ("subscription/{subscription.pk}/history/", 0),
        ("subscription/{subscription.pk}/preview/", 1),
        ("subscription/{subscription.pk}/code-samples/", 0),
        ("subscription/topics/", 0),
        ("delivery/", 0),
        ("delivery/{delivery.pk}/change/", 1),
        ("event/", 0),
        ("event/{event.pk}/change/", 0),
        ("event/{failed_event.pk}/change/", 1),
        ("order/", 0),
        ("order/add/", 1),
        ("order/{order.pk}/change/", 1),
        ("replay/", 0),
        ("replay/{replay.pk}/change/", 0),
        ("replay/add/", 1),
        ("backfill/", 0),
        ("backfill/{backfill.pk}/change/", 0),
        ("backfill/add/", 1),
        ("erasure/", 0),
        ("erasure/{erasure.pk}/change/", 0),
        ("erasure/add/", 1),
    ],
)
def test_a_page_has_one_main_button(operator: Client, address: str, count: int) -> None:
    event, subscription = make_event(), make_subscription(state="paused")
    records = {
        "event": event,
        "failed_event": make_failed_event(),
        "subscription": subscription,
        "delivery": make_delivery(event=event, subscription=subscription, state="failed"),
        "replay": make_replay(subscription=subscription),
        "backfill": make_backfill(subscription=subscription),
        "erasure": make_erasure(),
        "order": make_order(),
    }
    found = main_buttons(page(operator, address.format(**records)))
    assert len(found) == count, found


@pytest.mark.parametrize("button", ["rotate", "revoke", "resume", "reveal"])
def test_a_confirmation_has_one_main_button(operator: Client, button: str) -> None:
    subscription = make_subscription(state="paused")
    press(operator, subscription, "rotate", confirmed="1", hours="1")
    assert len(main_buttons(press(operator, subscription, button))) == 1


def test_many_deliveries_are_redelivered_by_one_main_button(operator: Client) -> None:
    make_delivery(state="failed")
    [tag] = main_buttons(run(operator, "delivery", "redeliver", *Delivery.objects.all()))
    assert "orderhooks-main" in tag


def test_a_replay_is_started_by_one_main_button(operator: Client) -> None:
    delivery = make_delivery(state="failed")
    fields = {"subscription": delivery.subscription.pk, "since": "2000-01-01T00:00", "only": "failed"}
    [tag] = main_buttons(operator.post("/admin/orderhooks/replay/add/", fields).content.decode())
    assert 'name="confirm"' in tag


@pytest.mark.parametrize(("status", "main"), [(200, "<a "), (500, "<button ")])
def test_after_a_test_that_arrived_going_back_is_the_main_button(
    operator: Client, receiver: Any, status: int, main: str
) -> None:
    receiver.answer = lambda _count: Answer(status)
    [tag] = main_buttons(press(operator, make_subscription(url=receiver.url), "test"))
    assert tag.startswith(main)


def test_after_adding_a_subscription_the_test_is_the_main_button(operator: Client) -> None:
    fields = {"name": "CRM", "store": "", "url": "https://crm.example/", "topics": "*"}
    fields |= {"format": "standard", "signature": "standard"}
    text = operator.post("/admin/orderhooks/subscription/add/", fields).content.decode()
    [tag] = main_buttons(text)
    assert tag.startswith("<button")
    assert "send a test" in text
    assert "only users who may reveal secrets can see it again" in text


def test_a_harmful_button_looks_different_and_is_not_the_main_one(operator: Client) -> None:
    delivery = make_delivery(state="failed")
    text = page(operator, f"delivery/{delivery.pk}/change/")
    [danger] = [tag for tag in TAG.findall(text) if "orderhooks-danger" in tag]
    assert "/skip/" in danger
    assert "orderhooks-main" not in danger
