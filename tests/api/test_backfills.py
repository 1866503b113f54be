"""Backfills in the API: counted, begun, followed, cancelled; and refused where they make no sense."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.cache import cache

from orderhooks.models import Backfill
from tests.api.calls import EVERYTHING, client_with, errors_of, post
from tests.factories import make_backfill, make_order, make_subscription

pytestmark = pytest.mark.django_db


def ids(response: Any) -> list[str]:
    return [one["public_id"] for one in response.data["results"]]


def test_one_is_counted_begun_followed_and_cancelled(api) -> None:
    make_order()
    make_order()
    subscription = make_subscription()
    path = f"/subscriptions/{subscription.public_id}/backfill/"
    counted = post(api, path, {"dry_run": True})
    assert (counted.status_code, counted.data) == (200, {"count": 2})
    assert not Backfill.objects.exists()
    begun = post(api, path, {"topic": "order.created", "since": "2020-01-01T00:00:00Z", "rate": 7})
    assert begun.status_code == 202
    assert (begun.data["state"], begun.data["progress"], begun.data["total"]) == ("running", 0.0, 2)
    assert (begun.data["topic"], begun.data["source"], begun.data["rate"]) == ("order.created", "orderhooks", 7)
    assert begun.data["subscription"] == subscription.public_id
    assert Backfill.objects.get().requested_by == begun.data["requested_by"] != ""
    address = f"/backfills/{begun.data['public_id']}/"
    assert api.get(f"/api{address}").data["since"] == "2020-01-01T00:00:00Z"
    assert ids(api.get("/api/backfills/?state=running")) == [begun.data["public_id"]]
    assert ids(api.get(f"/api/backfills/?subscription={subscription.public_id}")) == [begun.data["public_id"]]
    assert post(api, f"{address}cancel/", {}).data["state"] == "cancelled"
    assert post(api, f"{address}cancel/", {}).status_code == 409
    assert ids(api.get("/api/backfills/?state=running")) == []
    messages = set(LogEntry.objects.values_list("change_message", flat=True))
    assert messages == {f"By the API: Backfill {begun.data['public_id']}.", "By the API: Cancelled."}


def test_a_repeated_request_starts_one_only(api) -> None:
    plan = {"subscription": make_subscription().public_id}
    responses = [api.post("/api/backfills/", plan, format="json", headers={"Idempotency-Key": "one"}) for _ in range(2)]
    assert [response.status_code for response in responses] == [202, 202]
    assert responses[1]["Idempotent-Replayed"] == "true"
    assert Backfill.objects.count() == 1


def test_a_second_one_is_a_conflict(api) -> None:
    running = make_backfill()
    response = post(api, "/backfills/", {"subscription": running.subscription.public_id})
    assert response.status_code == 409
    assert running.public_id in response.data["detail"]


@pytest.mark.parametrize(
    ("plan", "status", "place", "words"),
    [
        ({"since": "yesterday"}, 400, "/since", "such as"),
        ({"since": "2999-01-01T00:00:00Z"}, 422, "/since", "before now"),
        ({"topic": "order.pade"}, 422, "/topic", "Did you mean"),
        ({"topic": "order.paid"}, 422, "/topic", "does not want order.paid"),
        ({"source": "shop"}, 422, "/source", "Choose one of: orderhooks"),
        ({"rate": 0}, 400, "/rate", "1"),
        ({"rate": 1001}, 400, "/rate", "1000"),
        ({"subscription": "sub_" + "0" * 26}, 422, "/subscription", "no subscription"),
    ],
)
def test_what_makes_no_sense_is_refused_where_it_is_wrong(api, plan, status: int, place: str, words: str) -> None:
    subscription = make_subscription(topics=["order.updated"])
    response = post(api, "/backfills/", {"subscription": subscription.public_id, **plan})
    assert response.status_code == status
    [(found, text)] = errors_of(response).items()
    assert (found, words in text) == (place, True), text
    assert not Backfill.objects.exists()


def test_the_first_error_needs_the_permission_for_payloads() -> None:
    backfill = make_backfill(first_error="Order 7: ValueError: ada@example.com")
    plain = client_with("view_backfill", "manage_all_subscriptions")
    path = f"/api/backfills/{backfill.public_id}/"
    assert "first_error" not in plain.get(path).data
    assert client_with(*EVERYTHING).get(path).data["first_error"].startswith("Order 7")


@pytest.fixture
def _no_requests_yet() -> Iterator[None]:
    cache.clear()
    yield
    cache.clear()


@pytest.mark.usefixtures("_no_requests_yet")
def test_they_are_limited_with_replays(settings, api) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "API_RATES": {"replay": "1/hour"}}
    plan = {"subscription": make_subscription().public_id, "dry_run": True}
    assert post(api, "/backfills/", plan).status_code == 200
    assert post(api, "/backfills/", plan).status_code == 429
