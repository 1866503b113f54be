"""Receivers resume their own subscription by a signed request, and nothing that an operator decided."""

import json
import time
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.cache import cache
from django.db import connection
from django.utils import timezone
from rest_framework.test import APIClient

from orderhooks import operations, signing, tasks
from orderhooks.models import Receipt, Subscription, SubscriptionSecret
from orderhooks.receiver import ResumeRequest, resume_request
from tests.factories import make_delivery, make_subscription, make_user

pytestmark = pytest.mark.django_db

API = "http://testserver/api/"


@pytest.fixture(autouse=True)
def no_requests_before() -> None:
    cache.clear()


@pytest.fixture
def disabled() -> Subscription:
    return make_subscription(
        state="disabled", state_reason="The receiver asked.", consecutive_failures=9, owner=make_user()
    )


def signed(subscription: Subscription, **options: Any) -> ResumeRequest:
    return resume_request(API, subscription.public_id, subscription.new_secret, **options)


def send(
    request: ResumeRequest, *, body: bytes | None = None, url: str = "", address: str = "127.0.0.1", **headers: str
) -> Any:
    given = {**request.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
    kind = given.pop("content-type")
    sent = request.body if body is None else body
    client = APIClient(REMOTE_ADDR=address)
    return client.post(url or request.url, data=sent, content_type=kind, headers=given)


def signed_body(subscription: Subscription, body: bytes) -> Any:
    """Send this body, signed as the receiver signs."""
    request, now = signed(subscription), int(time.time())
    signature = signing.sign(subscription.new_secret, request.headers["webhook-id"], now, body)
    return send(request, body=body, webhook_signature=signature, webhook_timestamp=str(now))


def state_of(subscription: Subscription) -> tuple[str, str, int]:
    found = Subscription.objects.get(pk=subscription.pk)
    return found.state, found.state_reason, found.consecutive_failures


def test_a_receiver_resumes_what_was_disabled(disabled, monkeypatch, django_capture_on_commit_callbacks, caplog):
    woken = []
    monkeypatch.setattr(tasks, "wake", lambda: woken.append(True))
    later = timezone.now() + timedelta(hours=20)
    held = make_delivery(subscription=disabled, attempts_made=3, next_attempt_at=later)
    with caplog.at_level("INFO", "orderhooks"), django_capture_on_commit_callbacks(execute=True):
        response = send(signed(disabled))
    assert (response.status_code, response.data) == (200, {"state": "active", "resumed": True})
    assert state_of(disabled) == ("active", "", 0)
    # What was held is sent now, as when an operator resumes.
    held.refresh_from_db()
    assert held.next_attempt_at is not None
    assert held.next_attempt_at < later
    assert woken
    assert f"resumed by its receiver subscription={disabled.public_id}" in caplog.text
    entry = LogEntry.objects.get()
    assert (entry.user, entry.change_message) == (
        disabled.owner,
        "Its receiver asked for this, not the user: Resumed: it was disabled.",
    )


def test_without_an_owner_there_is_no_history_but_a_log(caplog):
    subscription = make_subscription(state="disabled")
    with caplog.at_level("INFO", "orderhooks"):
        assert send(signed(subscription)).status_code == 200
    assert not LogEntry.objects.exists()
    assert subscription.public_id in caplog.text


def test_a_receiver_ends_the_cooling_down_of_its_endpoint():
    later = timezone.now() + timedelta(minutes=4)
    subscription = make_subscription(circuit_open_until=later, circuit_openings=7)
    assert send(signed(subscription)).data == {"state": "active", "resumed": False}
    assert Subscription.objects.get().circuit_open_until is None
    assert not LogEntry.objects.exists()


def test_what_an_operator_paused_stays_paused(disabled):
    operations.pause(Subscription.objects.filter(pk=disabled.pk))
    Subscription.objects.update(circuit_open_until=timezone.now() + timedelta(minutes=4))
    response = send(signed(disabled))
    assert (response.status_code, response.data["code"]) == (409, "paused")
    assert "operator has paused" in response.data["detail"]
    assert state_of(disabled)[0] == "paused"
    assert Subscription.objects.get().circuit_open_until is not None


def test_an_operator_who_pauses_meanwhile_wins(disabled, monkeypatch):
    resume = operations.resume_by_receiver

    def pause_first(subscription: Subscription) -> bool | None:
        operations.pause(Subscription.objects.filter(pk=subscription.pk))
        return resume(subscription)

    monkeypatch.setattr(operations, "resume_by_receiver", pause_first)
    assert send(signed(disabled)).status_code == 409
    assert state_of(disabled)[0] == "paused"


def test_each_request_works_once(disabled):
    request = signed(disabled)
    assert send(request).status_code == 200
    Subscription.objects.update(state="disabled")
    again = send(request)
    assert (again.status_code, again.data["code"]) == (409, "webhook_id_used")
    assert state_of(disabled)[0] == "disabled"
    assert send(signed(disabled)).status_code == 200


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_atomic", [False, True])
def test_a_request_that_was_refused_cannot_be_sent_again_later(disabled, is_atomic):
    operations.pause(Subscription.objects.all())
    request = signed(disabled)
    connection.settings_dict["ATOMIC_REQUESTS"] = is_atomic
    try:
        assert send(request).data["code"] == "paused"
        Subscription.objects.update(state="disabled")
        assert send(request).data["code"] == "webhook_id_used"
    finally:
        connection.settings_dict["ATOMIC_REQUESTS"] = False
    assert state_of(disabled)[0] == "disabled"


def refusals(subscription: Subscription) -> dict[str, Any]:
    request, other = signed(subscription), make_subscription()
    now = time.time()
    unknown = "sub_01KAR5BBR0D4Y8H6S1V3PBN2WK"
    return {
        "another's secret": send(resume_request(API, subscription.public_id, other.new_secret)),
        "unknown": send(resume_request(API, unknown, subscription.new_secret)),
        "no id at all": send(request, url="/api/subscriptions/x/resume-by-receiver/"),
        "another body": send(request, body=request.body + b" "),
        "another id": send(request, webhook_id="msg_other"),
        "old": send(signed(subscription, now=now - 301)),
        "early": send(signed(subscription, now=now + 310)),
        "no signature": send(request, webhook_signature=""),
        "no time": send(request, webhook_timestamp="soon"),
    }


def test_an_unknown_subscription_and_a_wrong_signature_are_the_same_401(disabled):
    found = refusals(disabled)
    for name, response in found.items():
        assert response.status_code == 401, name
        assert response["WWW-Authenticate"] == "Webhook-Signature"
    [text] = {json.dumps(response.data) for response in found.values()}
    assert "five minutes" in text
    assert state_of(disabled)[0] == "disabled"
    assert not Receipt.objects.exists()


def test_a_former_secret_works_until_it_expires(disabled):
    former = disabled.new_secret
    operations.rotate(disabled)
    assert send(resume_request(API, disabled.public_id, former)).status_code == 200
    Subscription.objects.update(state="disabled")
    # One that has expired may be there until the next rotation.
    disabled.secrets.filter(expires_at__isnull=False).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert send(resume_request(API, disabled.public_id, former)).status_code == 401


def test_a_secret_that_cannot_be_decrypted_is_a_401_and_a_warning(disabled, caplog):
    SubscriptionSecret.objects.update(encrypted="broken")
    assert send(signed(disabled)).status_code == 401
    assert disabled.public_id in caplog.text


def test_a_public_key_signs_nothing():
    subscription = make_subscription(state="disabled", signature="ed25519")
    [public] = subscription.secrets.values_list("public_key", flat=True)
    for key in (public, subscription.new_secret):
        with pytest.raises(signing.InvalidSecretError, match="whsec_"):
            resume_request(API, subscription.public_id, key)
    # Not even with the sender's own key, which only a thief would have.
    request = resume_request(API, subscription.public_id, make_subscription().new_secret)
    now = int(time.time())
    stolen = signing.sign(subscription.new_secret, request.headers["webhook-id"], now, request.body)
    assert send(request, webhook_signature=stolen, webhook_timestamp=str(now)).status_code == 401


@pytest.mark.parametrize("profile", ["github", "stripe", "shopify", "woocommerce"])
def test_the_secret_of_another_profile_signs_by_standard_webhooks(profile):
    assert send(signed(make_subscription(state="disabled", signature=profile))).status_code == 200


@pytest.mark.parametrize(
    ("content", "status"),
    [
        ({"id": "evt_1", "type": "order.paid", "data": {}}, 400),
        ({"type": "subscription.resume"}, 400),
        ({"type": "subscription.pause", "subscription": "{id}"}, 400),
        ({"type": "subscription.resume", "subscription": "sub_01KAR5BBR0D4Y8H6S1V3PBN2WK"}, 422),
        ({"type": "subscription.resume", "subscription": "{id}", "data": {}}, 400),
        ([], 400),
    ],
)
def test_the_signature_of_something_else_does_not_resume(disabled, content, status):
    if isinstance(content, dict):
        content = {name: disabled.public_id if value == "{id}" else value for name, value in content.items()}
    assert signed_body(disabled, json.dumps(content).encode()).status_code == status
    assert state_of(disabled)[0] == "disabled"
    assert not Receipt.objects.exists()


@pytest.fixture
def two_an_hour(settings):
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "API_RATES": {"resume": "2/hour"}}


def send_wrong(subscription: Subscription, *, address: str = "127.0.0.1", forwarded: str = "") -> int:
    request = signed(subscription)
    return send(request, address=address, webhook_signature="v1,x", x_forwarded_for=forwarded).status_code


@pytest.mark.usefixtures("two_an_hour")
def test_requests_are_limited_by_address_whatever_their_headers_say(disabled):
    statuses = [send_wrong(disabled, forwarded=f"198.51.100.{number}") for number in range(3)]
    assert statuses == [401, 401, 429]


@pytest.mark.usefixtures("two_an_hour")
@pytest.mark.parametrize(
    ("addresses", "statuses"),
    [
        pytest.param(["2001:db8:1::1", "2001:db8:1::ffff", "2001:db8:1:0:2::3"], [401, 401, 429], id="one network"),
        pytest.param(["2001:db8:1::1", "2001:db8:1:1::1", "2001:db8:2::1"], [401, 401, 401], id="three networks"),
        pytest.param(["::ffff:192.0.2.1", "192.0.2.1", "::ffff:192.0.2.1"], [401, 401, 429], id="IPv4 in IPv6"),
        pytest.param(
            ["::ffff:192.0.2.1", "::ffff:192.0.2.2", "::ffff:192.0.2.3"], [401, 401, 401], id="three of these"
        ),
        pytest.param(["", "", ""], [401, 401, 429], id="a socket of the machine's own"),
    ],
)
def test_an_address_of_ipv6_counts_for_its_network(disabled, addresses, statuses):
    assert [send_wrong(disabled, address=address) for address in addresses] == statuses


@pytest.mark.usefixtures("two_an_hour")
def test_behind_a_proxy_the_address_is_what_the_proxy_has_added(disabled, settings):
    settings.REST_FRAMEWORK = {"NUM_PROXIES": 1}
    sent = [f"203.0.113.{number}, 198.51.100.7" for number in range(3)]
    assert [send_wrong(disabled, forwarded=value) for value in sent] == [401, 401, 429]
    assert send_wrong(disabled, forwarded="198.51.100.7, 198.51.100.8") == 401


@pytest.mark.usefixtures("two_an_hour")
def test_a_receiver_is_limited_over_all_its_addresses(disabled):
    statuses = [send(signed(disabled), address=f"198.51.100.{number}").status_code for number in range(3)]
    assert statuses == [200, 200, 429]
    assert send(signed(make_subscription()), address="198.51.100.9").status_code == 200


@pytest.mark.usefixtures("two_an_hour")
def test_strangers_do_not_use_up_the_limit_of_a_subscription(disabled):
    assert {send_wrong(disabled, address=f"198.51.100.{number}") for number in range(9)} == {401}
    assert send(signed(disabled), address="203.0.113.1").status_code == 200


def test_a_header_of_idempotency_keys_has_no_meaning_here(disabled):
    assert send(signed(disabled), idempotency_key="once").status_code == 200


def test_the_request_goes_to_the_api_wherever_it_is():
    for url in ("https://shop.example.com/api", "https://shop.example.com/api/"):
        request = resume_request(url, "sub_1", signing.generate_secret(), now=1764000000.9)
        assert request.url == "https://shop.example.com/api/subscriptions/sub_1/resume-by-receiver/"
        assert request.headers["webhook-timestamp"] == "1764000000"
