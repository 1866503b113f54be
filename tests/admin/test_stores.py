"""What users who are limited to stores see: each page of the admin, for each kind of user.

A page of another store's row is the same as one of a row that does not exist, and no page has a text of another store.
"""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.options import get_content_type_for_model
from django.test import Client
from django.urls import URLPattern, URLResolver, reverse

from orderhooks.models import Order
from tests.admin.shops import SETTING, Shops, make_shops, visitor
from tests.admin.visits import page, text_of
from tests.factories import make_event, make_subscription

pytestmark = pytest.mark.django_db

# Kinds of rows that nobody edits.
RECORDS = ("replay", "backfill", "feedconsumer", "erasure")
# The page of a row: the kind of row, and the status for a user who sees the row.
ROWS: dict[str, tuple[str, int]] = {
    **{f"orderhooks_{name}_change": (name, 200) for name in ("order", "subscription", "event", "delivery")},
    **{f"orderhooks_{name}_history": (name, 200) for name in ("order", "subscription", "event", "delivery")},
    **{f"orderhooks_{name}_delete": (name, 200) for name in ("order", "subscription")},
    **{f"orderhooks_{name}_delete": (name, 403) for name in ("event", "delivery", *RECORDS)},
    **{f"orderhooks_{name}_{page}": (name, 200) for name in RECORDS for page in ("change", "history")},
    "orderhooks_order_webhooks": ("order", 200),
    "orderhooks_subscription_preview": ("subscription", 200),
    "orderhooks_subscription_code_samples": ("subscription", 200),
    "orderhooks_subscription_try": ("subscription", 200),
    "orderhooks_subscription_versions": ("subscription", 200),
    "orderhooks_delivery_curl": ("delivery", 200),
    # Buttons: by GET they lead to the row's page.
    "orderhooks_order_redeliver_webhooks": ("order", 302),
    "orderhooks_delivery_redeliver": ("delivery", 302),
    "orderhooks_delivery_skip": ("delivery", 302),
    "orderhooks_event_publish": ("event", 302),
    "orderhooks_replay_cancel": ("replay", 302),
    "orderhooks_backfill_cancel": ("backfill", 302),
    **{
        f"orderhooks_subscription_{button}": ("subscription", 302)
        for button in ("test", "pause", "resume", "rotate", "revoke", "reveal", "move_version")
    },
}
# Other pages: the status, and the queries to visit them with. `{paris}` is a primary key, `{number}` a number of Paris.
PAGES: dict[str, tuple[int, list[str]]] = {
    "index": (200, [""]),
    "app_list": (200, [""]),
    "autocomplete": (
        200,
        [
            "?term=CRM&app_label=orderhooks&model_name=delivery&field_name=subscription",
            "?term={event}&app_label=orderhooks&model_name=delivery&field_name=event",
        ],
    ),
    "orderhooks_dashboard_changelist": (200, ["", "?store=berlin", "?store=paris"]),
    "orderhooks_dashboard_order": (200, ["", "?number=1001", "?number={number}", "?number=STORELESS-9"]),
    "orderhooks_order_changelist": (200, ["", "?q={number}", "?q=ada", "?store=paris", "?status__exact=open"]),
    "orderhooks_subscription_changelist": (200, ["", "?q=CRM", "?q=EVERYTHING", "?store=paris"]),
    "orderhooks_event_changelist": (
        200,
        ["", "?q={number}", "?q={event}", "?order_number__exact={number}", "?published=no", "?topic=order.paid"],
    ),
    "orderhooks_delivery_changelist": (
        200,
        [
            *("", "?q={number}", "?q=1001", "?q={event}", "?state__exact=failed", "?response=none", "?since=24h"),
            *("?topic=order.paid", "?subscription__id__exact={paris}", "?event__exact={event_key}"),
        ],
    ),
    "orderhooks_replay_changelist": (200, ["", "?subscription__id__exact={paris}"]),
    "orderhooks_backfill_changelist": (200, ["", "?subscription__id__exact={paris}"]),
    "orderhooks_feedconsumer_changelist": (200, ["", "?q=paris"]),
    "orderhooks_feedconsumer_add": (403, [""]),
    "orderhooks_replay_add": (200, ["", "?subscription={paris}"]),
    "orderhooks_backfill_add": (200, ["", "?subscription={paris}"]),
    "orderhooks_erasure_changelist": (200, ["", "?state__exact=finished", "?store=paris"]),
    "orderhooks_erasure_add": (200, ["", "?order={number}"]),
    "orderhooks_subscription_add": (200, ["", "?store=berlin"]),
    "orderhooks_subscription_topics": (200, [""]),
    "orderhooks_subscription_try_new": (200, [""]),
    "orderhooks_order_add": (200, [""]),
    "orderhooks_event_add": (403, [""]),
    "orderhooks_delivery_add": (403, [""]),
}
# What has nothing of a store.
OF_NO_STORE = re.compile("login|logout|password_change|password_change_done|jsi18n|(auth|django_q)_.*")
# Tested by itself.
ELSEWHERE = {"view_on_site"}


@pytest.fixture
def shops(settings) -> Shops:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "STORES_FOR_USER": SETTING}
    return make_shops()


def names(patterns: Any) -> Iterator[str]:
    """Of all pages of the admin. Those without a name lead to one with a name."""
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from names(pattern.url_patterns)
        elif isinstance(pattern, URLPattern) and pattern.name:
            yield pattern.name


def test_the_tables_have_each_page_of_the_admin() -> None:
    there = {name for name in names(admin.site.get_urls()) if not OF_NO_STORE.fullmatch(name)}
    assert there == {*ROWS, *PAGES, *ELSEWHERE}, "a new page: add it to ROWS or PAGES"


def read(client: Client, url: str) -> tuple[int, str, str]:
    """The status, where it leads to, and the text with that of the page that it leads to."""
    response = client.get(url)
    text = text_of(response)
    if response.status_code == 302:
        text += client.get(response["location"], follow=True).content.decode()
    return response.status_code, response.get("location", ""), text


def hidden(text: str, texts: list[str]) -> list[str]:
    """Which of the texts the page has."""
    return [one for one in texts if one in text]


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("kind", ["unlimited", "berlin", "nobody"])
def test_the_page_of_a_row(shops, kind, name) -> None:
    model, status = ROWS[name]
    client = visitor(kind)

    def visit(key: object) -> tuple[int, str, str]:
        return read(client, reverse(f"admin:{name}", args=[key]))

    absent, leads_to, _text = visit(999999)
    for shop, sees in ((shops.berlin, kind != "nobody"), (shops.paris, kind == "unlimited")):
        key = shop.row(model).pk
        found, location, text = visit(key)
        if sees:
            assert found == status
            continue
        assert (found, re.sub(rf"(?<=/){key}(?=/)", "999999", location)) == (absent, leads_to)
        assert hidden(text, shop.texts) == []
    if kind == "berlin":
        text = visit(shops.berlin.row(model).pk)[2]
        assert hidden(text, shops.texts) == []


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("kind", ["unlimited", "berlin", "nobody"])
def test_another_page(shops, kind, name) -> None:
    status, queries = PAGES[name]
    client, paris = visitor(kind), shops.paris
    values = {
        "paris": paris.subscription.pk,
        "number": paris.order.number,
        "event": paris.event.public_id,
        "event_key": paris.event.pk,
    }
    url = reverse(f"admin:{name}", args=["orderhooks"] if name == "app_list" else [])
    for query in queries:
        filled = query.format(**values)
        found, _location, text = read(client, url + filled)
        # Who sees one store alone has no filter of stores.
        no_filter = kind != "unlimited" and "store=" in query and name.endswith("list") and "dashboard" not in name
        assert found == (400 if no_filter else status), filled
        if kind == "unlimited":
            continue
        # A page repeats what was typed, and the links of its filters too.
        typed = [part for part in re.split("[=&?]", filled) if part]
        seen = [one for one in hidden(text, shops.texts) if not any(one in part for part in typed)]
        assert seen == [], filled
        if kind == "nobody":
            assert [one for one in hidden(text, shops.berlin.texts) if not any(one in part for part in typed)] == []


def test_an_unlimited_user_sees_both_shops(shops) -> None:
    client = visitor("unlimited")
    for record in ("order", "subscription", "event", "delivery", *RECORDS, "dashboard"):
        text = page(client, f"{record}/")
        for shop in (shops.berlin, shops.paris):
            assert hidden(text, shop.texts), record


def test_no_setting_limits_nobody(shops, settings) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "STORES_FOR_USER": ""}
    assert shops.paris.order.number in visitor("nobody").get("/admin/orderhooks/order/").content.decode()


def test_the_link_to_the_site_leads_nowhere(shops) -> None:
    kind = get_content_type_for_model(Order).pk
    for client in (visitor("berlin"), visitor("nobody")):
        assert client.get(f"/admin/r/{kind}/{shops.paris.order.pk}/").status_code == 404


def test_what_other_stores_alone_have_adds_no_choice(settings):
    """Neither a topic that is no longer made nor an old version of a subscription of theirs."""
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "STORES_FOR_USER": SETTING}
    make_event(topic="order.engraved", store="paris")
    make_subscription(store="paris", api_version="2020-01-01")
    for kind, is_there in (("berlin", False), ("unlimited", True)):
        client = visitor(kind)
        for path in ("event/", "replay/add/"):
            assert ("order.engraved" in page(client, path)) is is_there, (kind, path)
        assert ("api_version" in page(client, "subscription/")) is is_there, kind
