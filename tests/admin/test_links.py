"""Links between our pages: each leads to a page that its reader may open."""

import re
from collections.abc import Iterator
from html import unescape
from typing import Any
from urllib.parse import urljoin

import pytest
from django.contrib import admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from orderhooks import permissions
from orderhooks.models import Delivery, Event
from tests.admin.visits import page, part, staff
from tests.factories import (
    make_attempt,
    make_attempt_stats,
    make_backfill,
    make_consumer,
    make_delivery,
    make_erasure,
    make_event,
    make_failed_event,
    make_fulfillment,
    make_order,
    make_payment,
    make_refund,
    make_replay,
    make_subscription,
    make_user,
)

pytestmark = pytest.mark.django_db

OURS = {model: one for model, one in admin.site._registry.items() if model._meta.app_label == "orderhooks"}
EACH = {name.removeprefix("orderhooks.") for name in vars(permissions).values() if str(name).startswith("orderhooks.")}
EACH |= {f"{verb}_{model._meta.model_name}" for model in OURS for verb in model._meta.default_permissions}
TOGETHER = [
    ("view_order", "view_delivery"),
    ("view_order", "delete_order"),
    ("view_order", "view_event"),
    ("view_subscription", "redeliver_delivery"),
    ("view_delivery", "redeliver_delivery"),
    ("view_subscription", "view_delivery"),
    ("view_subscription", "view_replay"),
    ("change_subscription", "redeliver_delivery", "view_backfill"),
    ("view_event", "view_delivery"),
]


def make_store() -> dict[str, Any]:
    """A row of each record, with everything on its page that can lead to another page."""
    order = make_order(number="77")
    make_fulfillment(order)
    make_payment(order)
    make_refund(order)
    failing = make_subscription(
        name="Failing", last_failure_at=timezone.now(), last_failure="500", failing_since=timezone.now()
    )
    make_attempt_stats(failing, 3, outcome="broken")
    of_order = {"order_pk": str(order.pk), "order_number": order.number}
    event = make_event(**of_order)
    for _ in range(50):
        make_event(**of_order)
    delivery = make_delivery(event=Event.objects.latest("sequence"), subscription=failing)
    make_attempt(delivery)
    make_delivery(event=event, subscription=failing, state=Delivery.State.FAILED)
    make_failed_event()
    rows = {
        "order": order,
        "event": event,
        "delivery": delivery,
        "subscription": failing,
        "replay": make_replay(subscription=failing),
        "backfill": make_backfill(subscription=failing),
        "feedconsumer": make_consumer(subscription=failing),
        "erasure": make_erasure(),
    }
    author = make_user()
    for row in rows.values():
        LogEntry.objects.log_actions(author.pk, [row], CHANGE, "Changed.")
    return rows


def pages_of(rows: dict[str, Any]) -> Iterator[str]:
    """Every page of ours, by the routes of our admins."""
    yield reverse("admin:app_list", args=["orderhooks"])
    yield reverse("admin:orderhooks_dashboard_order") + "?number=77"
    for model, model_admin in OURS.items():
        for pattern in model_admin.get_urls():
            if pattern.name is None:
                continue
            keys = [rows[str(model._meta.model_name)].pk] if "object_id" in pattern.pattern.converters else []
            yield reverse(f"admin:{pattern.name}", args=keys)


def links_of(client: Client, url: str) -> set[str]:
    """Where a page leads to within ours; nowhere, if its user may not open it."""
    response = client.get(url)
    if response.status_code != 200 or not response["content-type"].startswith("text/html"):
        return set()
    found = {
        urljoin(url, unescape(href)) for href in re.findall(r'<a\b[^>]*\bhref="([^"]*)"', response.content.decode())
    }
    own = url.partition("?")[0]
    return {one for one in found if one.startswith("/admin/orderhooks/") and re.split("[?#]", one)[0] != own}


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("held", [*((one,) for one in sorted(EACH)), *TOGETHER], ids=" ".join)
def test_no_page_leads_to_one_that_its_reader_may_not_open(held: tuple[str, ...]) -> None:
    rows = make_store()
    client = staff(*held)
    opened: dict[str, int] = {}
    refused = []
    for url in pages_of(rows):
        for link in links_of(client, url):
            if link not in opened:
                opened[link] = client.get(link).status_code
            if opened[link] != 200:
                refused.append((url, link, opened[link]))
    assert refused == []


LINKS = [
    ("dashboard/", "Failing", ["view_delivery"], "view_subscription"),
    ("dashboard/order/?number=77", "order.paid", ["view_delivery"], "view_event"),
    ("dashboard/order/?number=77", "Failing", ["view_delivery"], "view_subscription"),
    ("order/{order.pk}/webhooks/", "order.paid", ["view_delivery", "view_order"], "view_event"),
    ("order/{order.pk}/change/", "Failing", ["view_delivery", "view_order"], "change_subscription"),
    ("subscription/", "1", ["view_subscription"], "view_delivery"),
    ("replay/{replay.pk}/change/", "Failing", ["view_replay"], "view_subscription"),
    ("backfill/{backfill.pk}/change/", "Failing", ["view_backfill"], "view_subscription"),
    ("delivery/{delivery.pk}/change/", "Failing", ["view_delivery"], "change_subscription"),
]


@pytest.mark.parametrize(("address", "text", "held", "more"), LINKS)
def test_what_a_user_may_not_open_is_text_and_for_others_a_link(
    address: str, text: str, held: list[str], more: str
) -> None:
    rows = make_store()
    address = address.format(**rows)
    link = rf'<a href="[^"]*">{re.escape(text)}</a>'
    without = page(staff(*held), address)
    assert not re.search(link, without)
    assert text in without
    part(link, page(staff(*held, more), address))


NOTHING_BUT_A_LINK = [
    ("dashboard/order/?number=77", "Older events", ["view_delivery"], "view_event"),
    ("order/{order.pk}/change/", "What happened to this order", ["view_order"], "view_event"),
    ("subscription/{subscription.pk}/change/", "What was sent to it", ["view_subscription"], "view_delivery"),
    ("replay/{replay.pk}/change/", "its deliveries", ["view_replay"], "view_delivery"),
    ("backfill/{backfill.pk}/change/", "its deliveries", ["view_backfill"], "view_delivery"),
    ("replay/add/", "Replays", ["view_subscription", "redeliver_delivery"], "view_replay"),
    ("erasure/add/", "Erasures of personal data", ["erase_personal_data"], "view_erasure"),
    ("backfill/add/", "Order backfills", ["view_subscription", "redeliver_delivery"], "view_backfill"),
]


@pytest.mark.parametrize(("address", "text", "held", "more"), NOTHING_BUT_A_LINK)
def test_what_only_leads_to_another_page_is_left_out_for_users_who_may_not_open_it(
    address: str, text: str, held: list[str], more: str
) -> None:
    rows = make_store()
    address = address.format(**rows)
    link = rf'<a href="[^"]*">{text}</a>'
    assert not re.search(link, page(staff(*held), address))
    part(link, page(staff(*held, more), address))


def test_who_may_add_a_subscription_can_read_what_each_topic_brings() -> None:
    client = staff("add_subscription")
    assert "/admin/orderhooks/subscription/topics/" in page(client, "subscription/add/")
    assert "order.paid" in page(client, "subscription/topics/")
    page(staff("view_order"), "subscription/topics/", status=403)
