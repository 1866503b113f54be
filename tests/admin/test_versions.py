"""Versions of the body in the admin: which subscriptions are behind, what a move changes, and the move."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from orderhooks import catalogue, sources
from orderhooks.models import Subscription
from tests import versioned
from tests.admin.visits import history_of, page, part, staff
from tests.factories import make_delivery, make_event, make_subscription
from tests.versioned import FIRST, NESTED, RENAMED

pytestmark = pytest.mark.django_db

MOVE = "Move to another version…"


@pytest.fixture
def three_versions(settings) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, **versioned.SETTINGS}


def only_berlin(_user: Any) -> list[str]:
    """The setting STORES_FOR_USER."""
    return ["berlin"]


def got(subscription: Subscription, note: str = "Ring twice.", **fields: Any) -> Any:
    [source] = sources.configured().values()
    data = catalogue.example("order.paid", source)["data"]
    data["order"]["customer_note"] = note
    return make_delivery(subscription=subscription, event=make_event(payload=data, **fields)).event


def move(client: Client, subscription: Subscription, **data: str) -> Any:
    return client.post(reverse("admin:orderhooks_subscription_move_version", args=[subscription.pk]), data, follow=True)


def test_with_one_version_nothing_is_shown_of_it(operator: Client) -> None:
    subscription = make_subscription()
    assert "api_version" not in page(operator, "subscription/")
    shown = page(operator, f"subscription/{subscription.pk}/change/")
    assert MOVE not in shown
    assert "is the newest" not in shown
    assert "What a move changes" not in page(operator, f"subscription/{subscription.pk}/versions/")
    assert "There is only one version" in move(operator, subscription, to=FIRST).content.decode()


def test_the_list_shows_and_filters_who_is_behind(operator: Client, three_versions) -> None:
    for name, version in (("old", FIRST), ("middle", RENAMED), ("new", NESTED), ("lost", "2027-01-16")):
        make_subscription(name=name, api_version=version)

    def names(query: str) -> set[str]:
        shown = operator.get(f"/admin/orderhooks/subscription/{query}").context["cl"].result_list
        return {one.name for one in shown}

    assert FIRST in part(r'<td class="field-api_version">.*?</td>', page(operator, "subscription/?q=old"))
    assert names("?api_version=%00") == set()
    assert names("?api_version=behind") == {"old", "middle", "lost"}
    assert names(f"?api_version={RENAMED}") == {"middle"}
    assert names("?api_version=2027-01-16") == {"lost"}
    assert "2027-01-16, not registered" in page(operator, "subscription/")


@pytest.mark.parametrize(
    ("version", "level", "words"),
    [
        (FIRST, "busy", "It gets the version 2026-11-01 of the body; 2027-06-01 is the newest."),
        ("2027-01-16", "stopped", "The version 2027-01-16 of the body is not registered: nothing can be sent."),
    ],
)
def test_a_banner_says_that_it_is_behind(operator: Client, three_versions, version, level, words) -> None:
    subscription = make_subscription(api_version=version)
    shown = page(operator, f"subscription/{subscription.pk}/change/")
    assert f'orderhooks-banner-{level}"><strong>{words}' in shown
    assert f'href="/admin/orderhooks/subscription/{subscription.pk}/versions/"' in shown


@pytest.mark.parametrize(
    ("dates", "level", "words"),
    [
        ({"deprecated_at": "2026-01-01", "sunset_at": "9999-01-01"}, "warning", "Deprecated: 2026-01-01. End: 9999-0"),
        ({"sunset_at": "2026-01-01"}, "warning", "Its version 2026-11-01 of the body ended on 2026-01-01."),
    ],
)
def test_a_banner_warns_of_the_end(operator: Client, settings, dates, level, words) -> None:
    given = {**versioned.API_VERSIONS, FIRST: dates}
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "API_VERSIONS": given}
    subscription = make_subscription(api_version=FIRST)
    shown = page(operator, f"subscription/{subscription.pk}/change/")
    assert words in part(rf'<div class="orderhooks-banner orderhooks-banner-{level}">.*?</div>', shown)


def test_the_page_shows_what_a_move_changes_on_a_real_event(operator: Client, three_versions) -> None:
    subscription = make_subscription(api_version=FIRST)
    event = got(subscription)
    shown = page(operator, f"subscription/{subscription.pk}/versions/")
    assert '<span class="orderhooks-line-old">-      &quot;note&quot;: &quot;Ring twice.&quot;,' in shown
    assert '<span class="orderhooks-line-new">+      &quot;customer_note&quot;: &quot;Ring twice.&quot;,' in shown
    assert f"/admin/orderhooks/event/{event.pk}/change/" in shown
    assert "`note` is called `customer_note`." in shown
    assert "2028-02-01" in shown
    assert f"Move to {NESTED}" in shown
    shown = page(operator, f"subscription/{subscription.pk}/versions/?to={RENAMED}")
    assert f"Move to {RENAMED}" in shown
    assert "Select a valid choice" in page(operator, f"subscription/{subscription.pk}/versions/?to=2020-01-01")


def test_users_who_may_not_see_payloads_get_an_example_and_viewers_no_button(three_versions) -> None:
    subscription = make_subscription(api_version=FIRST)
    got(subscription, note="secret note")
    path = f"subscription/{subscription.pk}/versions/"
    shown = page(staff("view_subscription", "change_subscription"), path)
    assert "secret note" not in shown
    assert "The example of order.created." in shown
    shown = page(staff("view_subscription", "view_payload", "view_event"), path)
    assert "secret note" in shown
    assert f"Move to {NESTED}" not in shown
    page(staff("view_event"), path, status=403)


def test_events_of_other_stores_are_not_shown(settings, three_versions) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "STORES_FOR_USER": "tests.admin.test_versions.only_berlin"}
    subscription = make_subscription(api_version=FIRST, store="berlin")
    got(subscription, note="of berlin", store="berlin")
    got(subscription, note="of bonn", store="bonn")  # before the subscription's store was changed
    viewer = staff("view_subscription", "view_payload")
    shown = page(viewer, f"subscription/{subscription.pk}/versions/")
    assert ("of berlin" in shown, "of bonn" in shown) == (True, False)


def test_a_move_there_and_back(operator: Client, three_versions) -> None:
    subscription = make_subscription(api_version=FIRST, url="http://127.0.0.1:8/")
    assert MOVE in page(operator, f"subscription/{subscription.pk}/change/")
    asked = move(operator, subscription)
    assert asked.redirect_chain[-1][0].endswith(f"/{subscription.pk}/versions/")
    assert f"Moved from version {FIRST} to {NESTED}." in move(operator, subscription, to=NESTED).content.decode()
    subscription.refresh_from_db()
    assert subscription.api_version == NESTED
    assert "It is a move back" in page(operator, f"subscription/{subscription.pk}/versions/?to={FIRST}")
    move(operator, subscription, to=FIRST)
    subscription.refresh_from_db()
    assert subscription.api_version == FIRST
    assert [text for _user, text in history_of(subscription)] == [
        f"Moved from version {FIRST} to {NESTED}.",
        f"Moved from version {NESTED} to {FIRST}.",
    ]
    viewer = staff("view_subscription")
    assert move(viewer, subscription, to=NESTED).status_code == 403


def test_a_move_that_the_filter_does_not_fit_says_so(operator: Client, three_versions) -> None:
    subscription = make_subscription(api_version=FIRST, filter="data.order.note == 'x'", url="http://127.0.0.1:8/")
    shown = move(operator, subscription, to=NESTED).content.decode()
    assert f"It stays on {FIRST}: its filter does not fit {NESTED}." in shown
    subscription.refresh_from_db()
    assert subscription.api_version == FIRST


def test_a_conversion_that_fails_is_shown_on_the_page(operator: Client, settings) -> None:
    entry = {"to_previous": "tests.versioned.raises", "description": "Something is new."}
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "API_VERSIONS": {RENAMED: entry}}
    subscription = make_subscription(api_version=FIRST)
    shown = page(operator, f"subscription/{subscription.pk}/versions/")
    assert "tests.versioned.raises raised KeyError" in part(r'<p class="errornote">.*?</p>', shown)
    assert f"Move to {RENAMED}" in shown


def test_the_form_offers_the_registered_ones_and_keeps_one_that_is_gone(operator: Client, three_versions) -> None:
    subscription = make_subscription(api_version="2027-01-16")
    shown = page(operator, f"subscription/{subscription.pk}/change/")
    chooser = part(r'<select name="api_version".*?</select>', shown)
    assert [version in chooser for version in (FIRST, RENAMED, NESTED)] == [True, True, True]
    assert '<option value="2027-01-16" selected>' in chooser
