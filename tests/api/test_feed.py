"""The feed: everything that was published behind a sequence, once and in sequence."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from orderhooks.db import public_ids
from tests import versioned
from tests.api.calls import client_with, errors_of
from tests.factories import make_event, make_event_at, make_failed_event, make_subscription, make_user

pytestmark = pytest.mark.django_db


def sequences(response: Any) -> list[int]:
    assert response.status_code == 200, response.data
    return [one["sequence"] for one in response.data["results"]]


@pytest.fixture
def old() -> datetime:
    return timezone.now() - timedelta(minutes=5)


def test_the_feed_goes_on_page_by_page_and_stays_where_it_ends(api, old):
    made = [make_event_at(old).sequence for _ in range(5)]
    first = api.get("/api/events/?after=0&page_size=2")
    assert sequences(first) == made[:2]
    second = api.get(first.data["next"])
    third = api.get(second.data["next"])
    assert [*sequences(second), *sequences(third)] == made[2:]
    assert (third.data["next"], third.data["after"]) == (None, made[-1])
    later = api.get(f"/api/events/?after={made[-1]}")
    assert (sequences(later), later.data["after"], later.data["next"]) == ([], made[-1], None)
    new = make_event_at(old)
    assert sequences(api.get(f"/api/events/?after={made[-1]}")) == [new.sequence]


def test_the_feed_waits_where_an_earlier_event_may_yet_be_committed(api, old):
    # Sequences are given out before they are seen: one that is young may come before one that is not there yet.
    settled = make_event_at(old)
    make_event()
    make_event_at(old)
    response = api.get("/api/events/?after=0")
    assert (sequences(response), response.data["next"]) == ([settled.sequence], None)


def test_the_feed_waits_behind_one_that_could_not_be_published_too(api, old):
    settled = make_event_at(old)
    make_failed_event()
    for path in ("/api/events/?after=0", f"/api/events/?after={settled.sequence}&wait=0"):
        assert api.get(path).data["after"] == settled.sequence


def test_the_feed_leaves_out_tests_of_endpoints_and_what_has_no_payload(api, old):
    make_event_at(old, topic="webhook.test")
    failed = make_failed_event(public_id=public_ids.earliest_at("evt_", old))
    told = make_event_at(old)
    response = api.get("/api/events/?after=0")
    assert sequences(response) == [told.sequence]
    assert failed.sequence < told.sequence


def test_the_feed_of_a_subscription_is_what_it_wants(api, old):
    subscription = make_subscription(topics=["order.paid"], store="berlin")
    wanted = make_event_at(old, store="berlin")
    make_event_at(old, store="paris")
    make_event_at(old, store="berlin", topic="order.closed")
    assert sequences(api.get(f"/api/events/?after=0&subscription={subscription.public_id}")) == [wanted.sequence]


def test_the_feed_of_a_subscription_is_in_its_version(api, old, settings):
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "API_VERSIONS": versioned.API_VERSIONS}
    subscription = make_subscription(api_version=versioned.FIRST, created_at=old - timedelta(hours=1))
    total = {"amount": "24.80", "currency": "EUR"}
    good = make_event_at(old, payload={"order": {"total": total, "customer_note": "x"}, "changes": {}})
    # One that can't be converted has no body.
    bad = make_event_at(old + timedelta(minutes=1), payload={"order": {"number": "1"}, "changes": {}})

    def shown(path: str) -> list[tuple[str, Any]]:
        results = {one["public_id"]: one for one in api.get(path).data["results"]}
        found = [results[one.public_id] for one in (good, bad)]
        return [(one["api_version"], one["payload"] and one["payload"]["order"]) for one in found]

    made = [(versioned.NESTED, {"total": total, "customer_note": "x"}), (versioned.NESTED, {"number": "1"})]
    assert shown("/api/events/?after=0") == made
    in_its_version = [(versioned.FIRST, {"total": "24.80", "note": "x"}), (versioned.NESTED, None)]
    assert shown(f"/api/events/?after=0&subscription={subscription.public_id}") == in_its_version
    since = (old - timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert shown(f"/api/subscriptions/{subscription.public_id}/missed/?since={since}") == in_its_version


def test_what_cannot_be_converted_for_a_subscription_has_an_error_and_no_body(api, old, settings):
    entry = {"to_previous": "tests.versioned.raises", "description": "New."}
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "API_VERSIONS": {versioned.RENAMED: entry}}
    subscription = make_subscription(api_version=versioned.FIRST, created_at=old - timedelta(hours=1))
    data = {"order": {"number": "1"}, "changes": {"note": ["a", "b"]}}
    make_event_at(old, payload=data, changes=data["changes"], api_version=versioned.RENAMED)
    [shown] = api.get(f"/api/events/?after=0&subscription={subscription.public_id}").data["results"]
    assert (shown["payload"], shown["changes"]) == (None, {})
    assert "tests.versioned.raises raised KeyError" in shown["error"]
    [shown] = api.get("/api/events/?after=0").data["results"]
    assert (shown["payload"], shown["error"]) == (data, "")


def test_changes_in_the_feed_are_in_the_subscriptions_version_too(api, old, settings):
    entry = {"to_previous": "tests.versioned.with_changes_renamed", "description": "New."}
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "API_VERSIONS": {versioned.RENAMED: entry}}
    subscription = make_subscription(api_version=versioned.FIRST, created_at=old - timedelta(hours=1))
    changes = {"customer_note": ["a", "b"]}
    make_event_at(old, payload={"order": {}, "changes": changes}, changes=changes, api_version=versioned.RENAMED)
    [shown] = api.get(f"/api/events/?after=0&subscription={subscription.public_id}").data["results"]
    assert (shown["changes"], shown["api_version"]) == ({"note": ["a", "b"]}, versioned.FIRST)


def test_the_feed_of_somebody_elses_subscription_is_an_error(old):
    subscription = make_subscription(owner=make_user())
    client = client_with("view_event", "view_payload")
    for public_id in (subscription.public_id, "sub_x"):
        response = client.get(f"/api/events/?after=0&subscription={public_id}")
        assert "no subscription" in errors_of(response)["?subscription"]


@pytest.mark.parametrize("after", ["-1", "x", "", "²", "1.5", "9" * 30, "9223372036854775808"])
def test_a_place_in_the_feed_is_a_sequence(api, after):
    assert "sequence" in errors_of(api.get("/api/events/", {"after": after}))["?after"]


def test_the_feed_takes_no_other_parameters(api):
    errors = errors_of(api.get("/api/events/?after=0&topic=order.paid"))
    assert "after, consumer, page_size, subscription, wait" in errors["?topic"]


def test_a_feed_without_the_permission_to_see_payloads_has_none(old):
    make_event_at(old)
    client = client_with("view_event", "manage_all_subscriptions")
    [event] = client.get("/api/events/?after=0").data["results"]
    assert "payload" not in event
