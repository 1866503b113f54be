"""A person buys in Oscar's checkout, another ships and refunds in its dashboard: each step makes its events, once."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections
from oscar.core.loading import get_model
from playwright.sync_api import Browser, BrowserContext, Page, expect

from orderhooks.models import Event
from tests.browser.conftest import ON_A_FILE, chromium, database, migrated_file, server

__all__ = ["chromium", "database", "migrated_file", "server"]

pytestmark = [
    pytest.mark.slow,
    *([] if ON_A_FILE else [pytest.mark.django_db(transaction=True)]),
]
PAID = {"order.paid", "order.payment_created", "order.payment_event_created", "order.payment_source_created"}


@pytest.fixture
def shop(database: None) -> Iterator[None]:
    call_command("setup_oscar_demo", verbosity=0)
    yield
    get_model("order", "Order").objects.all().delete()


@pytest.fixture
def new_page(chromium: Browser, database: None, server: str) -> Iterator[Callable[..., Page]]:
    """Pages of new visitors. Oscar's own scripts complain on its page of an order, so complaints fail no test."""
    contexts: list[BrowserContext] = []

    def new() -> Page:
        contexts.append(chromium.new_context(base_url=server, locale="en-US"))
        return contexts[-1].new_page()

    yield new
    for context in contexts:
        context.close()


@pytest.fixture
def topics() -> Callable[[], list[str]]:
    """The topics of the events since it was last called, by name."""
    last = 0

    def since() -> list[str]:
        nonlocal last
        events = list(Event.objects.filter(sequence__gt=last).order_by("sequence"))
        last = max([event.sequence for event in events], default=last)
        return sorted(event.topic for event in events)

    return since


def order_in(topic: str) -> Any:
    """The order in the last event of a topic."""
    event: Any = Event.objects.filter(topic=topic).latest("sequence")
    return event.payload["order"]


def buy(page: Page) -> str:
    """Two blue mugs and a teapot, without an account. Returns the order's number."""
    for name in ("Blue mug", "Blue mug", "Teapot"):
        page.goto("/catalogue/")
        page.get_by_role("link", name=name, exact=True).first.click()
        page.get_by_role("button", name="Add to cart").first.click()
        expect(page.get_by_text("has been added to your")).to_be_visible()
    page.goto("/basket/")
    page.get_by_role("link", name="Proceed to checkout").first.click()
    page.get_by_label("My email address is").fill("ada@example.com")
    page.get_by_label("checkout as a guest").check()
    page.get_by_role("button", name="Continue").click()
    for label, text in {
        "First name": "Ada",
        "Last name": "Byron",
        "First line of address": "12 St James Square",
        "City": "London",
        "Post/Zip-code": "SW1Y 4JH",
    }.items():
        page.get_by_label(label, exact=False).first.fill(text)
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("link", name="Continue").click()
    page.get_by_role("button", name="Place order").click()
    expect(page).to_have_url("http://" + page.url.split("/")[2] + "/checkout/thank-you/")
    return str(get_model("order", "Order").objects.get().number)


def log_in(page: Page, number: str) -> None:
    page.goto(f"/dashboard/login/?next=/dashboard/orders/{number}/")
    page.get_by_label("Username").fill("admin@example.com")
    page.get_by_label("Password").fill("admin")
    page.get_by_role("button", name="Login").click()
    expect(page.get_by_role("heading", name=f"Order #{number}")).to_be_visible()


def act(page: Page, action: str, **chosen: str) -> None:
    """Do something with all lines of the order, in its form in the dashboard."""
    for line in page.locator("[name=selected_line]").all():
        line.check()
    page.locator(f"[name=line_action][value={action}]").check()
    for name, value in chosen.items():
        field = page.locator(f"#order_lines_form [name={name}]")
        if field.evaluate("one => one.tagName") == "SELECT":
            field.select_option(label=value)
        else:
            field.fill(value)
    page.get_by_role("button", name="Go!").click()


@pytest.mark.parametrize("atomic", [False, True], ids=["autocommit", "ATOMIC_REQUESTS"])
def test_what_people_do_with_an_order_is_what_receivers_get(atomic, monkeypatch, shop, new_page, topics) -> None:
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", atomic)
    number = buy(new_page())
    # The order and its payment are a transaction each, unless the request is one.
    assert topics() == sorted({"order.created", *PAID, *([] if atomic else ["order.updated"])})
    created = order_in("order.created")
    assert created["payment_status"] == ("paid" if atomic else "pending")
    assert [(line["sku"], line["quantity"]) for line in created["lines"]] == [("MUG-01", 2), ("POT-01", 1)]
    paid = order_in("order.paid")
    assert (paid["total"], [one["amount"] for one in paid["payments"]]) == ("64.00", ["64.00"])

    page = new_page()
    log_in(page, number)
    assert topics() == [], "the customer's last page and the operator's first one"
    act(page, "create_shipping_event", shipping_event_type="Shipped", reference="RM 1234")
    assert topics() == [
        "order.fulfilled",
        "order.fulfillment_created",
        "order.shipping_event_created",
        "order.updated",
    ]
    act(page, "create_payment_event", payment_event_type="Refunded", amount="9.00")
    assert topics() == [
        "order.partially_refunded",
        "order.payment_event_created",
        "order.refund_created",
        "order.updated",
    ]
    act(page, "change_line_statuses", new_status="Being processed")
    assert topics() == ["order.line_status_being_processed", "order.updated"]
    page.get_by_label("New order status").select_option("Cancelled")
    page.get_by_role("button", name="Change status").click()
    assert topics() == ["order.cancelled", "order.line_status_cancelled", "order.updated"]
    page.goto(f"/dashboard/orders/{number}/shipping-address/")
    page.get_by_label("First line of address").fill("13 St James Square")
    page.get_by_role("button", name="Update address").click()
    assert topics() == ["order.updated"]
    last = order_in("order.updated")
    assert last["shipping_address"]["line1"] == "13 St James Square"
    assert [one["amount"] for one in last["refunds"]] == ["9.00"]


def test_the_dashboard_shows_the_webhooks_of_an_order(shop, new_page, tmp_path: Path) -> None:
    number = buy(new_page())
    page = new_page()
    log_in(page, number)
    page.get_by_role("link", name="Webhooks of this order").click()
    expect(page.get_by_role("heading", name=f"Webhooks of order #{number}")).to_be_visible()
    expect(page.get_by_role("row", name="order.paid")).to_be_visible()
    page.screenshot(path=tmp_path / "webhooks.png", full_page=True)
    page.get_by_role("link", name="order.paid").click()
    expect(page.get_by_text("order.paid").first).to_be_visible()
    assert "/admin/orderhooks/event/" in page.url
