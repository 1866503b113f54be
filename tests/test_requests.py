"""What goes out over the wire for a delivery, and what is kept of it."""

from datetime import timedelta

import pytest
from django.utils import timezone
from standardwebhooks import Webhook

import orderhooks
from orderhooks import sending
from orderhooks.models import Subscription
from tests.factories import make_delivery, make_event, make_subscription, send_due
from tests.receivers import RecordingReceiver

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_request_is_to_the_letter(receiver: RecordingReceiver) -> None:
    subscription, secret = Subscription.create_with_secret(name="w", url=receiver.url, topics=["*"])
    event = make_event(store="north", payload={"order": {"name": "Zoë ✓"}, "changes": {"status": ["open", "closed"]}})
    delivery = make_delivery(event=event, subscription=subscription)
    send_due()
    [got] = receiver.received
    assert got.headers["content-type"] == "application/json"
    assert got.headers["user-agent"] == f"orderhooks/{orderhooks.__version__}"
    assert got.headers["webhook-id"] == event.public_id
    assert got.headers["webhook-topic"] == "order.paid"
    assert got.headers["webhook-source"] == event.source
    assert got.headers["webhook-attempt"] == "1"
    assert got.headers["webhook-timestamp"].isdigit()
    assert got.body.startswith(b'{"id":"evt_')
    assert "Zoë ✓".encode() in got.body
    assert got.event == {
        "id": event.public_id,
        "type": "order.paid",
        "timestamp": event.occurred_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "api_version": "2026-11-01",
        "sequence": event.sequence,
        "source": event.source,
        "store": "north",
        "data": {"order": {"name": "Zoë ✓"}, "changes": {"status": ["open", "closed"]}},
    }
    Webhook(secret).verify(got.body, dict(got.headers))
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts_made, delivery.last_status_code) == ("delivered", 1, 200)


def test_every_live_secret_signs_the_newest_first_and_an_expired_one_does_not(receiver) -> None:
    subscription, first = Subscription.create_with_secret(name="w", url=receiver.url, topics=["*"])
    second = subscription.add_secret()
    make_delivery(subscription=subscription)
    send_due()
    [got] = receiver.received
    new, old = got.headers["webhook-signature"].split(" ")
    for secret, signature in ((second, new), (first, old)):
        Webhook(secret).verify(got.body, {**dict(got.headers), "webhook-signature": signature})
    subscription.secrets.filter(pk=subscription.secrets.earliest("pk").pk).update(
        expires_at=timezone.now() - timedelta(seconds=1)
    )
    make_delivery(subscription=subscription)
    send_due()
    assert len(receiver.received[1].headers["webhook-signature"].split(" ")) == 1


def test_a_missing_secret_or_key_is_an_outcome_and_no_unsigned_request(receiver, settings) -> None:
    without = make_delivery(subscription=make_subscription(url=receiver.url))
    without.subscription.secrets.all().delete()
    unreadable = make_delivery(subscription=make_subscription(url=receiver.url))
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "ENCRYPTION_KEYS": ["quite another key than before"]}
    send_due()
    assert receiver.received == []
    assert (without.attempts.get().error, unreadable.attempts.get().error) == ("secret", "key")
    assert "no signing secret" in without.attempts.get().detail
    assert "ENCRYPTION_KEYS" in unreadable.attempts.get().detail


def test_stored_requests_hold_no_signature(receiver: RecordingReceiver) -> None:
    delivery = make_delivery(subscription=make_subscription(url=receiver.url))
    send_due()
    headers = delivery.attempts.get().request_headers
    assert headers["webhook-signature"] == "(redacted)"
    assert headers["webhook-id"] == delivery.event.public_id


@pytest.mark.parametrize(
    ("path", "called"), [("/a b?ü", "/a%20b?%C3%BC"), ("/hook", "/hook")], ids=["to be encoded", "plain"]
)
def test_where_a_request_went_is_kept_also_if_the_subscription_has_moved_since(receiver, path, called) -> None:
    subscription = make_subscription(url=receiver.url.rstrip("/") + path.replace(" ", "%20"))
    delivery = make_delivery(subscription=subscription)
    send_due()
    subscription.url = "https://example.com/elsewhere"
    subscription.save()
    attempt = delivery.attempts.get()
    assert (attempt.method, attempt.url) == ("POST", receiver.url.rstrip("/") + called)
    delivery.refresh_from_db()
    assert f"--url {attempt.url}" in sending.curl_script(delivery, attempt).replace("'", "")
    assert "--url https://example.com/elsewhere" in sending.curl_script(delivery)


def test_a_url_that_is_refused_is_kept_as_it_is_written() -> None:
    delivery = make_delivery(subscription=make_subscription(url="http://user:pw@example.com/"))
    send_due()
    attempt = delivery.attempts.get()
    assert (attempt.error, attempt.url) == ("blocked", "http://user:pw@example.com/")
