"""Each format at its receivers: the usual libraries verify the signature, our kit reads the event, curl sends it."""

import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs

import pytest
import stripe
from django.test import Client
from django.urls import path
from standardwebhooks import Webhook, WebhookVerificationError

from orderhooks import formats, sending, shaping, signing
from orderhooks.management.dev_receiver import Arrival
from orderhooks.models import Delivery
from orderhooks.receiver import (
    DatabaseSequenceGuard,
    InvalidWebhookError,
    ReceivedEvent,
    UnknownOrderShapeError,
    verify,
    webhook,
)
from orderhooks.testing import SignedRequest, signed_request
from tests.factories import make_delivery, make_event, make_subscription, send_due
from tests.receivers import Answer, RecordingReceiver
from tests.store_formats import BYTES
from tests.test_curl import HOSTILE, run  # noqa: F401 - a fixture

ALLOWED = Answer(200, headers=(("WebHook-Allowed-Origin", "*"),))
SECRET = signing.generate_secret()
# Slack and Teams read no signature, and no event.
OF_PROGRAMS = [name for name in formats.BUILT_IN if name not in ("slack", "teams")]
got: list[ReceivedEvent] = []


@webhook(SECRET, binary_mode=True)
def hooks(request: Any, event: ReceivedEvent) -> None:
    got.append(event)


@webhook(SECRET, skip_stale=DatabaseSequenceGuard("copy"), binary_mode=True)
def copy(request: Any, event: ReceivedEvent) -> None:
    got.append(event)


urlpatterns = [path("hooks/", hooks), path("copy/", copy)]


def sent(receiver: RecordingReceiver, format: str, **fields: Any) -> tuple[Delivery, str]:
    """A delivery that a worker has sent, and its secret."""
    receiver.permission = lambda _count: ALLOWED
    subscription = make_subscription(url=receiver.url, format=format, **fields)
    event = make_event(payload={"order": HOSTILE, "changes": {}}, topic="order.paid", store="it's")
    delivery = make_delivery(subscription=subscription, event=event)
    [secret] = [row.reveal() for row in subscription.secrets.all()]
    send_due()
    delivery.refresh_from_db()
    assert delivery.state == "delivered"
    return delivery, secret


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("format", OF_PROGRAMS)
def test_the_libraries_of_the_receivers_verify_each_format(receiver: RecordingReceiver, format: str) -> None:
    _delivery, secret = sent(receiver, format, signature="stripe")
    [one] = receiver.received
    library = Webhook(secret)
    headers = dict(one.headers.items())
    library.verify(one.body, headers, json_parse=False)
    with pytest.raises(WebhookVerificationError):
        library.verify(one.body + b" ", headers, json_parse=False)
    signature = one.headers["stripe-signature"]
    assert stripe.WebhookSignature.verify_header(one.body.decode(), signature, secret, tolerance=300)
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.WebhookSignature.verify_header(one.body.decode() + " ", signature, secret, tolerance=300)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("format", OF_PROGRAMS)
def test_the_script_sends_what_a_delivery_sends(
    run: Callable[..., Any],  # noqa: F811
    receiver: RecordingReceiver,
    format: str,
) -> None:
    delivery, secret = sent(receiver, format)
    assert run(sending.curl_script(delivery), WEBHOOK_SECRET=secret).stderr == ""
    by_worker, by_script = receiver.received
    assert by_script.body == by_worker.body
    changing = {"webhook-timestamp", "webhook-signature", "accept", "accept-encoding", "host", "connection"}
    first, second = (
        {name.lower(): value for name, value in one.headers.items() if name.lower() not in changing}
        for one in (by_worker, by_script)
    )
    assert first == second
    assert verify(by_script.body, dict(by_script.headers), secret, binary_mode=True).id == delivery.event.public_id


@pytest.mark.django_db(transaction=True)
def test_the_script_sends_bytes_that_are_no_text(
    run: Callable[..., Any],  # noqa: F811
    receiver: RecordingReceiver,
    settings: Any,
) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "FORMATS": {"bytes": BYTES}}
    delivery, secret = sent(receiver, "bytes")
    assert run(sending.curl_script(delivery), WEBHOOK_SECRET=secret).stderr == ""
    by_worker, by_script = receiver.received
    assert by_script.body == by_worker.body == b"\x00\xff\xfe'$(touch here)\n1001"
    assert signing.verify(
        [secret],
        by_script.headers["webhook-signature"],
        delivery.event.public_id,
        int(by_script.headers["webhook-timestamp"]),
        by_script.body,
    )


@pytest.mark.urls("tests.test_format_receivers")
@pytest.mark.parametrize("format", OF_PROGRAMS)
def test_a_view_gets_the_event_of_each_format(client: Client, format: str) -> None:
    got.clear()
    request = signed_request(SECRET, "order.paid", order={"number": "A-7"}, sequence=5, store="köln", format=format)
    response = client.post("/hooks/", **request.for_client())
    assert response.status_code == 204
    [event] = got
    assert (event.id, event.topic, event.sequence, event.store) == (request.event["id"], "order.paid", 5, "köln")
    assert (event.source, event.api_version) == ("orderhooks", request.event["api_version"])
    assert event.data["order"]["number"] == "A-7"
    if format == "thin":
        with pytest.raises(UnknownOrderShapeError):
            _ = event.order
        return
    order = event.order
    assert (order.total, order.is_test, order.paid_at) == (Decimal("24.80"), True, None)
    assert (order.lines[0].quantity, order.metadata, order.shipping_address["city"]) == (2, {}, "London")
    assert event.changes["payment_status"].new == "paid"


@pytest.mark.django_db
@pytest.mark.urls("tests.test_format_receivers")
@pytest.mark.parametrize("format", OF_PROGRAMS)
def test_a_stale_event_is_passed_over_in_each_format(client: Client, format: str) -> None:
    statuses = [
        client.post("/copy/", **signed_request(SECRET, sequence=sequence, format=format).for_client()).status_code
        for sequence in (5, 4, 6)
    ]
    assert statuses == [204, 200, 204]


FORGED = {"ce-specversion": "1.0", "ce-type": "order.cancelled", "ce-sequence": "99", "ce-store": "other"}


def forged(format: str, **changes: str) -> SignedRequest:
    """A genuine request to which somebody on the way has added headers that are not signed."""
    request = signed_request(SECRET, "order.paid", sequence=5, store="berlin", format=format)
    of_event = {"ce-id": request.event["id"], "ce-time": "2026-11-23T10:00:00Z", "ce-apiversion": "2026-11-01"}
    return replace(request, headers={**request.headers, **FORGED, **of_event, **changes})


@pytest.mark.parametrize("binary_mode", [False, True])
@pytest.mark.parametrize("format", ["standard", "thin"])
def test_headers_that_nobody_signed_do_not_replace_what_is_signed(format: str, binary_mode: bool) -> None:
    request = forged(format)
    event = verify(request.body, request.headers, SECRET, binary_mode=binary_mode)
    assert (event.topic, event.sequence, event.store) == ("order.paid", 5, "berlin")


@pytest.mark.parametrize("binary_mode", [False, True])
def test_a_structured_event_is_not_taken_for_the_data_of_a_binary_one(binary_mode: bool) -> None:
    request = forged("cloudevents", **{"content-type": "application/json"})
    with pytest.raises(InvalidWebhookError, match="not an event of orderhooks"):
        verify(request.body, request.headers, SECRET, binary_mode=binary_mode)


def test_binary_mode_has_to_be_asked_for_and_its_id_is_the_signed_one() -> None:
    request = signed_request(SECRET, format="cloudevents_binary")
    with pytest.raises(InvalidWebhookError, match="binary_mode=True"):
        verify(request.body, request.headers, SECRET)
    other = {**request.headers, "ce-id": "evt_other"}
    with pytest.raises(InvalidWebhookError, match="not an event of orderhooks"):
        verify(request.body, other, SECRET, binary_mode=True)
    assert verify(request.body, request.headers, SECRET, binary_mode=True).id == request.event["id"]


@pytest.mark.parametrize("format", OF_PROGRAMS)
def test_an_altered_body_is_refused_in_each_format(format: str) -> None:
    request = signed_request(SECRET, format=format)
    with pytest.raises(InvalidWebhookError, match="No signature matches"):
        verify(request.body.replace(b"orders", b"other") + b" ", request.headers, SECRET)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/x-www-form-urlencoded", b"a=1&b=2"),
        ("application/x-www-form-urlencoded; charset=utf-8", b"id=1&sequence=x"),
        ("application/cloudevents+json", b'{"specversion":"0.3","id":"1"}'),
        ("application/cloudevents+json", b"[1]"),
        ("application/json", b"[1]"),
        ("application/xml", b"<a/>"),
    ],
)
def test_a_genuine_body_of_another_kind_is_named_so(content_type: str, body: bytes) -> None:
    request = signed_request(SECRET)
    timestamp = int(request.headers["webhook-timestamp"])
    signature = signing.signature_header([SECRET], request.event["id"], timestamp, body)
    headers = {**request.headers, "content-type": content_type, "webhook-signature": signature}
    with pytest.raises(InvalidWebhookError, match="not an event of orderhooks"):
        verify(body, headers, SECRET)


@pytest.mark.urls("tests.test_format_receivers")
def test_a_view_allows_what_asks_for_consent_and_no_other_options(client: Client) -> None:
    response = client.options("/hooks/", headers={"WebHook-Request-Origin": "shop.example.com"})
    assert (response.status_code, response["WebHook-Allowed-Origin"], response["Allow"]) == (200, "*", "POST")
    assert client.options("/hooks/").status_code == 405


def test_a_form_is_shown_in_lines_and_not_with_percent_signs() -> None:
    request = signed_request(SECRET, order={"note": "two\nlines & more"}, format="form")
    shown = Arrival(None, "", 204, request.headers, request.body).pretty()
    assert "data[order][note] = two\nlines & more\n" in shown
    assert formats.readable_form("no form at all") == "no form at all"


@pytest.mark.django_db
def test_a_form_is_what_others_read_too() -> None:
    event = make_event(payload={"order": {"lines": [{"sku": "A"}, {"sku": "B"}], "a[b]": "c"}, "changes": {}})
    fields = parse_qs(shaping.shape(event, make_subscription(format="form")).body.decode())
    assert fields["data[order][lines][1][sku]"] == ["B"]
    assert fields["data[order][a%5Bb%5D]"] == ["c"]
    assert json.loads(fields["sequence"][0]) == event.sequence


def test_changes_in_a_form_have_the_types_of_json() -> None:
    changes = {
        "is_test": [False, True],
        "paid_at": [None, "2026-11-23T10:00:00.000000Z"],
        "total": ["1.00", "2.00"],
        "metadata": [{}, {"0": "a", "1": "b"}],
        "lines": [[], [{"id": 7, "sku": "TEA", "quantity": 2}]],
        "fulfillment_lines": [[{"id": 1, "line": 7, "quantity": 1}], []],
        "fulfillments": [[], [{"id": 3, "shipped_at": None, "lines": [{"id": 4, "line": 7, "quantity": 1}]}]],
    }
    in_form, in_json = (
        verify(request.body, request.headers, SECRET).changes
        for request in (signed_request(SECRET, changes=changes, format=format) for format in ("form", "standard"))
    )
    assert in_form == in_json
    assert type(in_form["is_test"].new) is bool
