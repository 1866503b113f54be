"""Versions of the body in the API: who is behind, what a move changes, and the move."""

from typing import Any

import pytest

from orderhooks import catalogue, sources
from orderhooks.models import Event, Subscription
from tests import versioned
from tests.admin.visits import history_of
from tests.api.calls import client_with, errors_of, ids, patch, post
from tests.factories import make_delivery, make_event, make_subscription
from tests.versioned import FIRST, NESTED, RENAMED

pytestmark = pytest.mark.django_db

DECLARED = {"url": "http://127.0.0.1:8/", "topics": ["*"]}


@pytest.fixture(autouse=True)
def three_versions(settings) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, **versioned.SETTINGS}


def example_event(**fields: Any) -> Event:
    [source] = sources.configured().values()
    data = catalogue.example("order.paid", source)["data"]
    data["order"].update(fields)
    return make_event(payload=data)


def test_a_subscription_says_its_version_and_whether_it_is_behind(api) -> None:
    old, new = make_subscription(api_version=FIRST), make_subscription()
    shown = {one["public_id"]: one for one in api.get("/api/subscriptions/").data["results"]}
    assert (shown[old.public_id]["api_version"], shown[old.public_id]["is_behind"]) == (FIRST, True)
    assert (shown[new.public_id]["api_version"], shown[new.public_id]["is_behind"]) == (NESTED, False)
    assert ids(api.get("/api/subscriptions/?is_behind=true")) == [old.public_id]
    assert ids(api.get("/api/subscriptions/?is_behind=false")) == [new.public_id]
    assert ids(api.get(f"/api/subscriptions/?api_version={FIRST}")) == [old.public_id]
    assert api.get("/api/subscriptions/?is_behind=perhaps").status_code == 400


def test_it_is_chosen_when_it_is_made_or_changed_and_the_history_has_it(api) -> None:
    created = post(api, "/subscriptions/", {"name": "CRM", **DECLARED, "api_version": RENAMED})
    assert created.data["api_version"] == RENAMED
    path = f"/subscriptions/{created.data['public_id']}/"
    assert "not registered" in errors_of(patch(api, path, {"api_version": "2027-01-16"}))["/api_version"]
    assert patch(api, path, {"api_version": NESTED}).data["api_version"] == NESTED
    subscription = Subscription.objects.get()
    assert f"The version was {RENAMED} and is {NESTED}." in history_of(subscription)[-1][1]


def test_a_declaration_without_a_version_keeps_the_one_that_it_has(api) -> None:
    make_subscription(name="CRM", api_version=FIRST, owner=None)
    response = api.put("/api/subscriptions/by-name/CRM/", DECLARED, format="json")
    assert (response.status_code, response.data["api_version"]) == (200, FIRST)
    response = api.put("/api/subscriptions/by-name/CRM/", {**DECLARED, "api_version": NESTED}, format="json")
    assert response.data["api_version"] == NESTED


def test_the_diff_is_of_the_newest_event_that_it_got(api) -> None:
    subscription = make_subscription(api_version=FIRST)
    event = example_event()
    make_delivery(subscription=subscription, event=event)
    make_delivery(subscription=subscription, event=make_event(api_version=FIRST))
    make_delivery(event=example_event())
    got = api.get(f"/api/subscriptions/{subscription.public_id}/version-diff/").data
    assert (got["old"], got["new"], got["event"], got["topic"], got["error"]) == (
        FIRST,
        NESTED,
        event.public_id,
        "order.paid",
        "",
    )
    assert [one["name"] for one in got["versions"]] == [RENAMED, NESTED]
    assert got["versions"][0]["description"] == "`note` is called `customer_note`."
    lines = got["diff"].split("\n")
    assert lines[:2] == [f"--- {FIRST}", f"+++ {NESTED}"]
    assert '-      "note": "",' in lines
    assert '+      "customer_note": "",' in lines
    got = api.get(f"/api/subscriptions/{subscription.public_id}/version-diff/?to={RENAMED}").data
    assert (got["new"], "currency" in got["diff"], "customer_note" in got["diff"]) == (RENAMED, False, True)


def test_without_the_permission_for_payloads_the_diff_is_of_an_example() -> None:
    subscription = make_subscription(api_version=FIRST, topics=["order.cancelled"])
    event = example_event(customer_note="secret note")
    make_delivery(subscription=subscription, event=event)
    reader = client_with("view_subscription", "manage_all_subscriptions")
    got = reader.get(f"/api/subscriptions/{subscription.public_id}/version-diff/").data
    assert (got["event"], got["topic"], "secret" in got["diff"]) == ("", "order.cancelled", False)
    assert '+      "customer_note"' in got["diff"]


def test_the_diff_is_of_what_the_projection_leaves(api) -> None:
    subscription = make_subscription(api_version=FIRST, projection="{number: data.order.number}")
    got = api.get(f"/api/subscriptions/{subscription.public_id}/version-diff/").data
    assert '"customer_note"' not in got["diff"]
    assert '+  "api_version": "2027-06-01",' in got["diff"]
    subscription = make_subscription(api_version=FIRST, projection="data.order.note")
    got = api.get(f"/api/subscriptions/{subscription.public_id}/version-diff/").data
    assert (got["diff"], "The projection fails" in got["error"]) == ("", True)


def test_a_long_body_is_not_compared(api) -> None:
    subscription = make_subscription(api_version=FIRST)
    event = example_event(metadata={str(number): number for number in range(3000)})
    make_delivery(subscription=subscription, event=event)
    got = api.get(f"/api/subscriptions/{subscription.public_id}/version-diff/").data
    assert (got["event"], '+      "customer_note"' in got["diff"]) == ("", True)


def test_a_move_is_written_into_the_history_and_can_be_undone(api) -> None:
    subscription = make_subscription(api_version=FIRST, url="http://127.0.0.1:8/")
    path = f"/subscriptions/{subscription.public_id}/move-version/"
    assert post(api, path, {}).data["api_version"] == NESTED
    assert post(api, path, {"to": FIRST}).data["api_version"] == FIRST
    assert post(api, path, {"to": FIRST}).status_code == 200
    assert [message for _user, message in history_of(subscription)] == [
        f"By the API: Moved from version {FIRST} to {NESTED}.",
        f"By the API: Moved from version {NESTED} to {FIRST}.",
    ]
    assert "not registered" in errors_of(post(api, path, {"to": "2027-01-16"}))["/to"]
    assert "Did you mean to?" in errors_of(post(api, path, {"too": FIRST}))["/too"]


def test_a_move_that_the_filter_does_not_fit_is_refused(api) -> None:
    subscription = make_subscription(api_version=FIRST, filter="data.order.note == 'x'", url="http://127.0.0.1:8/")
    path = f"/subscriptions/{subscription.public_id}/"
    assert "The filter does not fit this version." in errors_of(post(api, f"{path}move-version/", {}))["/to"]
    assert list(errors_of(patch(api, path, {"api_version": NESTED}))) == ["/filter"]
    both = {"api_version": NESTED, "filter": "data.order.customer_note == 'x'"}
    assert patch(api, path, both).data["api_version"] == NESTED


def test_a_topic_shows_its_example_in_an_older_version(api, settings) -> None:
    assert "customer_note" in api.get("/api/topics/order.paid/").data["example"]["data"]["order"]
    example = api.get(f"/api/topics/order.paid/?api_version={FIRST}").data["example"]
    assert (example["api_version"], "note" in example["data"]["order"]) == (FIRST, True)
    response = api.get("/api/topics/order.paid/?api_version=2020-01-01")
    assert (response.status_code, "?api_version" in errors_of(response)) == (422, True)
    entry = {"to_previous": "tests.versioned.raises", "description": "New."}
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "API_VERSIONS": {RENAMED: entry}}
    assert api.get(f"/api/topics/order.paid/?api_version={FIRST}").status_code == 409
