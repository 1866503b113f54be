"""Versions of the body: an operator sees what a move changes, moves a subscription on, and back."""

from typing import Any

from playwright.sync_api import expect

from orderhooks import catalogue, sources
from tests import versioned
from tests.browser.visiting import Visit
from tests.factories import make_delivery, make_event, make_subscription
from tests.versioned import FIRST, NESTED


def test_a_subscription_is_moved_on_and_back(operator: Visit, settings: Any) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, **versioned.SETTINGS}
    subscription = make_subscription(name="Warehouse", url="http://127.0.0.1:8/", api_version=FIRST)
    [source] = sources.configured().values()
    event = make_event(payload=catalogue.example("order.paid", source)["data"])
    make_delivery(subscription=subscription, event=event, state="delivered")
    operator.go("subscription/?api_version=behind")
    operator.follow("Warehouse")
    operator.reads(f"It gets the version {FIRST} of the body; {NESTED} is the newest.")
    operator.press("Move to another version…")
    operator.heading("Versions of the body for Warehouse")
    diff = operator.page.locator(".orderhooks-diff")
    expect(diff).to_contain_text('+      "customer_note"')
    expect(diff).to_contain_text('+        "amount": "')
    operator.press(f"Move to {NESTED}")
    expect(operator.page.get_by_text(f"Moved from version {FIRST} to {NESTED}.")).to_be_visible()
    operator.follow("Versions of the body")
    operator.page.get_by_label("Version:").select_option(FIRST)
    operator.press("Show what changes")
    operator.press(f"Move to {FIRST}")
    operator.reads(f"It gets the version {FIRST} of the body")
