"""What all of the API keeps to: problem details, ETags, rates, filters, topics."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.core.signals import got_request_exception
from django.db import OperationalError
from django.http import HttpRequest
from django.urls import Resolver404, resolve
from django.utils import timezone
from rest_framework.test import APIClient

from orderhooks import operations
from orderhooks.models import Delivery
from tests.api.calls import EVERYTHING, client_with, errors_of, ids, patch, post
from tests.factories import (
    make_attempt,
    make_delivery,
    make_delivery_at,
    make_event_at,
    make_order,
    make_subscription,
    make_user,
)

pytestmark = pytest.mark.django_db

PROBLEMS: list[tuple[str, str, Any, int, str]] = [
    # method, path, body, status, code
    ("get", "/orders/ord_x/", None, 404, "not_found"),
    ("post", "/orders/", {"total": -1}, 400, "invalid"),
    ("put", "/orders/", {}, 405, "method_not_allowed"),
    ("get", "/deliveries/?state=lost", None, 400, "invalid"),
    ("post", "/deliveries/skip/", [], 400, "invalid"),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "code"), PROBLEMS)
def test_every_error_is_a_problem(api, method, path, body, status, code):
    response = getattr(api, method)(f"/api{path}", body, format=None if body is None else "json")
    problem = json.loads(response.content)
    assert (response.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert response["Content-Type"] == "application/problem+json"
    assert problem["type"] == "about:blank"
    assert problem["title"]
    assert problem["detail"]


def test_errors_before_a_view_begins_are_problems_too(api):
    for response, status in (
        (APIClient().get("/api/orders/"), 403),
        (client_with().get("/api/orders/"), 403),
        (api.post("/api/orders/", b"{", content_type="application/json"), 400),
        (api.post("/api/orders/", b"{}", content_type="text/plain"), 415),
        (api.get("/api/orders/", headers={"accept": "image/png"}), 406),
    ):
        assert (response.status_code, json.loads(response.content)["status"]) == (status, status)
        assert response["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    "path",
    ["orders/a/b/", "orders/a.b/", "events/%0A/x/", "subscriptions/ä/", "deliveries/" + "x" * 5000 + "/", "stats/x/"],
)
@pytest.mark.parametrize("method", ["get", "post", "trace"])
def test_an_address_that_leads_nowhere_is_a_problem(api, method, path):
    response = getattr(api, method)(f"/api/{path}")
    assert (response.status_code in (404, 405), response["Content-Type"]) == (True, "application/problem+json")


def test_other_addresses_under_the_same_prefix_are_left_to_the_store():
    for path in ("/api/carts/", "/api/orders", "/api/orders/x"):
        with pytest.raises(Resolver404):
            resolve(path)


def test_a_host_that_django_refuses_is_a_problem_without_common_middleware_too(api, settings, caplog):
    settings.MIDDLEWARE = [one for one in settings.MIDDLEWARE if "CommonMiddleware" not in one]
    settings.ALLOWED_HOSTS = ["shop.example"]
    make_order()
    make_order()
    response = api.get("/api/orders/?page_size=1", HTTP_HOST="evil.example")
    assert (response.status_code, response.data["code"]) == (400, "suspicious")
    assert "evil.example" not in str(response.data)
    assert [one.levelname for one in caplog.records if one.name == "django.security.DisallowedHost"] == ["ERROR"]


def test_a_body_that_is_too_large_is_a_problem(api, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
    response = api.post("/api/orders/", {"note": "x" * 200}, format="json", headers={"Idempotency-Key": "a"})
    assert (response.status_code, response.data["code"]) == (413, "too_large")


@pytest.mark.parametrize(
    ("error", "status", "code", "retry_after"),
    [
        (RuntimeError("s3cr3t"), 500, "internal", None),
        (OperationalError("s3cr3t: the database is locked"), 503, "unavailable", "5"),
    ],
)
def test_an_internal_error_is_in_the_log_and_not_in_the_problem(error, status, code, retry_after, monkeypatch, caplog):
    def fail(*_args, **_options):
        raise error

    monkeypatch.setattr(operations, "pause", fail)
    heard = []

    def keep(request: HttpRequest, **_given: object) -> None:
        heard.append(request.path)

    got_request_exception.connect(keep)
    client = client_with(*EVERYTHING)
    client.raise_request_exception = False
    path = f"/subscriptions/{make_subscription().public_id}/pause/"
    response = post(client, path, {})
    got_request_exception.disconnect(keep)
    assert (response.status_code, response.data["code"]) == (status, code)
    assert response.get("Retry-After") == retry_after
    assert "s3cr3t" not in response.content.decode()
    assert heard == [f"/api{path}"]
    assert "s3cr3t" in caplog.text


def test_an_order_is_changed_by_who_has_seen_it_as_it_is(api):
    path = f"/api/orders/{make_order().public_id}/"
    seen = api.get(path)
    assert api.get(path, headers={"If-None-Match": seen["ETag"]}).status_code == 304
    first = api.patch(path, {"note": "a"}, format="json", headers={"If-Match": seen["ETag"]})
    assert (first.status_code, first["ETag"]) == (200, api.get(path)["ETag"])
    assert first["ETag"] != seen["ETag"]
    for method in ("patch", "put", "delete"):
        late = getattr(api, method)(path, {"note": "b"}, format="json", headers={"If-Match": seen["ETag"]})
        assert (late.status_code, late.data["code"]) == (412, "precondition_failed")
    assert api.get(path).data["note"] == "a"
    assert api.get(path, headers={"If-None-Match": seen["ETag"]}).status_code == 200
    assert api.patch(path, {"note": "c"}, format="json", headers={"If-Match": "*"}).status_code == 200
    assert api.delete(path, headers={"If-Match": api.get(path)["ETag"]}).status_code == 204


def test_a_changed_line_changes_the_etag(api):
    order = make_order()
    before = api.get(f"/api/orders/{order.public_id}/")["ETag"]
    order.lines.update(fulfilled_quantity=1)
    assert api.get(f"/api/orders/{order.public_id}/")["ETag"] != before


@pytest.fixture
def no_rates() -> Iterator[None]:
    cache.clear()
    yield
    cache.clear()


@pytest.mark.usefixtures("no_rates")
def test_redelivery_has_a_rate_for_each_user(settings):
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "API_RATES": {"redeliver": "1/hour"}}
    delivery = make_delivery(state=Delivery.State.FAILED)
    first, second = client_with(*EVERYTHING), client_with(*EVERYTHING)
    path = f"/deliveries/{delivery.public_id}/redeliver/"
    assert post(first, path, {}).status_code == 202
    refused = post(first, path, {})
    assert (refused.status_code, refused.data["code"]) == (429, "throttled")
    assert int(refused["Retry-After"]) > 3000
    assert post(second, path, {}).status_code == 202
    assert first.get(f"/api/deliveries/{delivery.public_id}/").status_code == 200


@pytest.mark.usefixtures("no_rates")
def test_a_rate_can_be_taken_away(settings):
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "API_RATES": {"redeliver": None}}
    path = f"/deliveries/{make_delivery(state=Delivery.State.FAILED).public_id}/redeliver/"
    client = client_with(*EVERYTHING)
    assert {post(client, path, {}).status_code for _ in range(130)} == {202}


FILTERED = [
    ("orders", "number", "7"),
    ("orders", "store", "berlin"),
    ("orders", "payment_status", "paid"),
    ("subscriptions", "name", "CRM"),
    ("subscriptions", "state", "paused"),
    ("deliveries", "order_number", "7"),
    ("deliveries", "topic", "order.closed"),
    ("deliveries", "answered", "5"),
    ("events", "store", "berlin"),
]


@pytest.mark.parametrize(("path", "name", "value"), FILTERED)
def test_a_list_is_filtered(api, path, name, value):
    order = make_order(number="7", store="berlin", payment_status="paid", lines=[])
    make_order(lines=[])
    subscription = make_subscription(name="CRM", state="paused")
    delivery = make_delivery(subscription=subscription, last_error="status", last_status_code=500)
    type(delivery.event).objects.update(order_number="7", topic="order.closed", store="berlin")
    make_delivery()
    make_attempt(delivery)
    wanted: dict[str, Any] = {
        "orders": order,
        "subscriptions": subscription,
        "deliveries": delivery,
        "events": delivery.event,
    }
    assert ids(api.get(f"/api/{path}/", {name: value})) == [wanted[path].public_id]
    assert set(errors_of(api.get(f"/api/{path}/", {name: ""}))) == {f"?{name}"}


def test_the_log_is_filtered_by_time(api):
    now = timezone.now()
    old, young = make_delivery_at(now - timedelta(hours=2)), make_delivery_at(now - timedelta(minutes=1))
    an_hour_ago = (now - timedelta(hours=1)).isoformat()
    assert ids(api.get("/api/deliveries/", {"since": an_hour_ago})) == [young.public_id]
    event = make_event_at(now - timedelta(hours=3))
    found = api.get("/api/events/", {"since": (now - timedelta(hours=4)).isoformat(), "until": an_hour_ago})
    assert ids(found) == [event.public_id]
    assert "such as" in errors_of(api.get("/api/deliveries/?since=then"))["?since"]
    assert old.public_id not in ids(api.get("/api/deliveries/", {"since": an_hour_ago}))


@pytest.mark.parametrize("path", ["orders", "events", "subscriptions", "deliveries", "replays", "backfills", "stats"])
@pytest.mark.parametrize("name", ["secrets", "secret", "encrypted", "headers", "owner__password", "state__in", "limit"])
def test_a_parameter_that_is_unknown_is_an_error(api, path, name):
    # Nothing is filtered by a secret, and no mistyped filter shows everything.
    assert "Unknown parameter" in errors_of(api.get(f"/api/{path}/", {name: "x"}))[f"?{name}"]


@pytest.mark.parametrize("path", ["orders/?store=a&store=b", "stats/?hours=1&hours=2", "events/?after=0&after=1"])
def test_a_parameter_that_comes_twice_is_an_error(api, path):
    assert "Send this parameter only once." in errors_of(api.get(f"/api/{path}")).values()


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("since=2026-01-01", 400),
        ("since=2026-01-01T00:00:00", 400),
        ("since=2026-01-01T00:00:00%00Z", 400),
        ("since=0001-01-01T00:00:00%2B14:00", 422),
        ("topic=%20", 422),
        ("cursor=x", 422),
        ("since=0001-01-01T00:00:00Z", 200),
        ("until=9999-12-31T23:59:59-00:00", 200),
    ],
)
def test_a_filter_is_of_the_form_that_bodies_have(api, query, status):
    assert api.get(f"/api/events/?{query}").status_code == status


def test_a_wrong_choice_gets_the_list_of_choices(api):
    assert "paused" in errors_of(api.get("/api/subscriptions/?state=asleep"))["?state"]


def test_a_topic_is_read_by_itself_and_so_is_its_schema(api):
    topic = api.get("/api/topics/order.paid/").data
    schema = api.get("/api/topics/order.paid/schema/")
    assert schema["Content-Type"] == "application/schema+json"
    assert json.loads(schema.content) == topic["schema"]
    assert topic["example"]["type"] == "order.paid"
    assert api.get("/api/topics/order.pay/").status_code == 404


def test_options_describe_a_resource_to_users_who_are_logged_in():
    response = APIClient().options("/api/orders/")
    assert response.status_code == 403
    client = APIClient()
    client.force_login(make_user())
    assert client.options("/api/orders/").status_code == 200


def test_a_change_of_an_order_stands_in_the_history(api):
    from django.contrib.admin.models import LogEntry

    order = make_order()
    patch(api, f"/orders/{order.public_id}/", {"note": "x"})
    assert LogEntry.objects.get().change_message == "By the API: Changed note."
