"""Each page has at most one button in the colour of the main action."""

import re
from typing import Any

import pytest

from tests.admin.visits import page
from tests.factories import make_delivery, make_event, make_order, make_replay, make_subscription

pytestmark = pytest.mark.django_db

BUTTON = re.compile(r"<(?:button|a|input)\b[^>]*>")
OURS_AS_MAIN = re.compile(r"orderhooks-main|class=\"default\"")


def main_buttons(text: str) -> list[str]:
    return [tag for tag in BUTTON.findall(text) if OURS_AS_MAIN.search(tag)]


def as_main(text: str) -> list[str]:
    """Buttons that have the look of the main action: those marked, and ours that are not told apart from them."""
    ours = [tag for tag in BUTTON.findall(text) if re.search(r'class="[^"]*\bbutton\b', tag)]
    return [*main_buttons(text), *(tag for tag in ours if "orderhooks-button" not in tag and 'value="Show"' not in tag)]


@pytest.mark.parametrize(
    ("address", "count"),
    [
        ("subscription/add/", 1),
        ("subscription/{subscription.pk}/change/", 1),
        ("delivery/{delivery.pk}/change/", 1),
        ("event/{event.pk}/change/", 0),
        ("order/{order.pk}/change/", 1),
        ("replay/{replay.pk}/change/", 0),
        ("replay/add/", 1),
        ("subscription/{subscription.pk}/preview/", 1),
    ],
)
def test_a_page_has_one_main_button(operator: Any, address: str, count: int) -> None:
    event, subscription = make_event(), make_subscription(state="paused")
    records = {
        "event": event,
        "subscription": subscription,
        "delivery": make_delivery(event=event, subscription=subscription, state="failed"),
        "replay": make_replay(subscription=subscription),
        "order": make_order(),
    }
    text = page(operator, address.format(**records))
    assert len(as_main(text)) == count, as_main(text)


@pytest.mark.parametrize(("button", "count"), [("rotate", 1), ("resume", 1), ("reveal", 1)])
def test_a_question_and_its_answer_have_one_main_button(operator: Any, button: str, count: int) -> None:
    subscription = make_subscription(state="paused")
    text = operator.post(f"/admin/orderhooks/subscription/{subscription.pk}/{button}/").content.decode()
    assert len(as_main(text)) == count, as_main(text)


def test_after_adding_a_subscription_the_test_is_the_main_button(operator: Any) -> None:
    fields = {"name": "CRM", "store": "", "url": "https://crm.example/", "topics": "*", "signature": "standard"}
    text = operator.post("/admin/orderhooks/subscription/add/", fields).content.decode()
    [tag] = as_main(text)
    assert tag.startswith("<button")
    assert "send a test" in text
    assert "only those who may reveal secrets can see it again" in text


def test_what_harms_is_told_apart_and_is_not_the_main_button(operator: Any) -> None:
    delivery = make_delivery(state="failed")
    text = page(operator, f"delivery/{delivery.pk}/change/")
    [danger] = [tag for tag in BUTTON.findall(text) if "orderhooks-danger" in tag]
    assert "/skip/" in danger
    assert "orderhooks-main" not in danger
