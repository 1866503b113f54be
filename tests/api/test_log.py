"""Deliveries, events and topics in the API."""

import json

import pytest

from orderhooks.models import Delivery
from tests.api.calls import client_with, has_key, ids, post
from tests.factories import make_attempt, make_delivery, make_event, make_failed_event, make_order, make_subscription

pytestmark = pytest.mark.django_db


def test_a_delivery_shows_its_attempts_and_no_primary_key(api):
    delivery = make_delivery(state=Delivery.State.FAILED, attempts_made=1)
    make_attempt(delivery, status_code=500, response_body="<script>")
    data = json.loads(api.get(f"/api/deliveries/{delivery.public_id}/").content)
    assert data["event"] == delivery.event.public_id
    assert data["subscription"] == delivery.subscription.public_id
    assert [one["status_code"] for one in data["attempts"]] == [500]
    assert not has_key(data, "id")


def test_requests_and_responses_take_the_permission_to_see_payloads():
    delivery = make_delivery()
    make_attempt(delivery, response_body="out of stock")
    for permissions, confidential in ((["view_payload"], True), ([], False)):
        client = client_with("view_delivery", "view_event", "manage_all_subscriptions", *permissions)
        [attempt] = client.get(f"/api/deliveries/{delivery.public_id}/").data["attempts"]
        event = client.get(f"/api/events/{delivery.event.public_id}/").data
        for record, names in (
            (attempt, ("request_headers", "response_headers", "response_body")),
            (event, ("payload", "changes", "error")),
        ):
            assert [name in record for name in names] == [confidential] * len(names)


def test_an_error_which_may_quote_the_order_is_shown_to_who_sees_payloads():
    order = make_order()
    event = make_failed_event(
        source="orderhooks", order_pk=str(order.pk), order_number=order.number, error="KeyError: 'ada@example.com'"
    )
    gone = make_failed_event(source="orderhooks", order_pk="0", error="KeyError: 'ada@example.com'")
    view = ("view_order", "view_delivery", "view_event", "redeliver_delivery", "manage_all_subscriptions")
    for permissions, shown in ((["view_payload"], True), ([], False)):
        client = client_with(*view, *permissions)
        for address in (f"events/{event.public_id}/", "events/", f"orders/{order.public_id}/webhooks/"):
            assert ("ada@example.com" in str(client.get(f"/api/{address}").data)) == shown, address
        answer = post(client, f"/events/{gone.public_id}/republish/", None)
        assert answer.status_code == 409
        assert ("can't be built: " in answer.data["detail"]) == shown


def test_redelivery_sets_the_delivery_to_be_sent_now(api):
    delivery = make_delivery(state=Delivery.State.FAILED)
    response = post(api, f"/deliveries/{delivery.public_id}/redeliver/", None)
    assert response.status_code == 202
    assert (response.data["state"], response.data["trigger"], response.data["held"]) == ("pending", "manual", False)
    delivery.refresh_from_db()
    assert response.data["requested_by"] == delivery.requested_by != ""


def test_a_delivery_of_a_paused_subscription_is_shown_as_held(api):
    delivery = make_delivery(state=Delivery.State.FAILED, subscription=make_subscription(state="paused"))
    response = post(api, f"/deliveries/{delivery.public_id}/redeliver/", None)
    assert (response.status_code, response.data["held"]) == (202, True)


def test_a_delivery_that_is_being_sent_is_left_alone(api):
    delivery = make_delivery(state=Delivery.State.SENDING)
    assert post(api, f"/deliveries/{delivery.public_id}/redeliver/", None).status_code == 409
    delivery.refresh_from_db()
    assert delivery.state == Delivery.State.SENDING


def test_deliveries_are_filtered(api):
    failed, waiting = make_delivery(state=Delivery.State.FAILED), make_delivery()
    assert ids(api.get("/api/deliveries/")) == [waiting.public_id, failed.public_id]
    assert ids(api.get("/api/deliveries/?state=failed")) == [failed.public_id]
    assert ids(api.get(f"/api/deliveries/?event={waiting.event.public_id}")) == [waiting.public_id]
    assert ids(api.get(f"/api/deliveries/?subscription={failed.subscription.public_id}")) == [failed.public_id]
    assert api.get("/api/deliveries/?state=lost").status_code == 400


def test_events_are_filtered_and_show_their_payload(api):
    paid, other = make_event(), make_event(topic="order.closed", order_number="2")
    assert ids(api.get("/api/events/")) == [other.public_id, paid.public_id]
    assert ids(api.get("/api/events/?topic=order.paid")) == [paid.public_id]
    assert ids(api.get("/api/events/?order_number=2")) == [other.public_id]
    assert ids(api.get("/api/events/?order_number=2&topic=order.paid")) == []
    assert api.get(f"/api/events/{paid.public_id}/").data["payload"] == paid.payload


@pytest.mark.parametrize(
    "path",
    ["/events/?topic=%00", "/events/?order_number=a%00", *(f"/deliveries/?{name}=%00" for name in ("event", "state"))],
)
def test_a_nul_in_the_query_is_a_400(api, path):
    assert api.get(f"/api{path}").status_code == 400


@pytest.mark.parametrize("public_id", ["1", "ord_" + "0" * 26, "evt_" + "0" * 26])
def test_an_id_that_is_none_is_a_404(api, public_id):
    make_order()
    assert api.get(f"/api/orders/{public_id}/").status_code == 404


def test_topics_are_the_catalogue(api, settings):
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "TOPICS": {"order.wrapped": "As a present."}}
    data = api.get("/api/topics/").data
    [wrapped] = [topic for topic in data if topic["name"] == "order.wrapped"]
    assert wrapped["description"] == "As a present."
    assert wrapped["schema"]["properties"]["type"] == {"const": "order.wrapped"}
    assert wrapped["example"]["type"] == "order.wrapped"
    assert "order.paid" in [one["name"] for one in data]


def test_a_test_is_not_redelivered(api):
    delivery = make_delivery(state="failed", trigger="test")
    response = post(api, f"/deliveries/{delivery.public_id}/redeliver/", None)
    assert response.status_code == 409
    assert "A test can't be redelivered" in response.data["detail"]
    delivery.refresh_from_db()
    assert delivery.state == "failed"
