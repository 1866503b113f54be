"""OAuth2 client credentials: a real authorization server, and each way in which one fails."""

import base64
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from orderhooks import previews, sending
from orderhooks.encryption import Purpose, Sealed
from orderhooks.models import AccessToken, Attempt, Delivery, Subscription
from tests.authorization_server import CLIENT_ID, CLIENT_SECRET
from tests.factories import make_delivery, make_event, make_subscription, send_due
from tests.login_servers import AuthorizationServer, LoginEndpoint, authorization_server
from tests.receivers import Answer, RecordingReceiver
from tests.servers import free_port

pytest.importorskip("authlib")
pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


@pytest.fixture(scope="module")
def server() -> Iterator[AuthorizationServer]:
    with authorization_server() as running:
        yield running


@pytest.fixture
def endpoint(server: AuthorizationServer) -> Iterator[LoginEndpoint]:
    """Accepts every token that the server has granted."""
    server.set(lifetime=3600, methods="client_secret_basic client_secret_post")
    with LoginEndpoint() as running:
        running.accepts = lambda headers: headers.get("authorization", "").removeprefix("Bearer ") in server.tokens
        yield running


def login(token_url: str, **members: Any) -> dict[str, Any]:
    known = {"type": "oauth2", "token_url": token_url, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
    return {**known, **members}


def subscribe(url: str, token_url: str, **members: Any) -> Subscription:
    return make_subscription(url=url, authentication=login(token_url, **members))


def outcome_of(delivery: Delivery) -> tuple[str, int | None, str]:
    last = Attempt.objects.filter(delivery=delivery).latest("pk")
    return last.error, last.status_code, last.detail


def send_all(*senders: sending.Sender) -> None:
    """Claim and send until nothing is due or under way."""
    while sum(one.claim(now=timezone.now()) + one.under_way for one in senders):
        for one in senders:
            one.collect(wait_seconds=0.01)


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_a_delivery_arrives_with_a_token_of_the_authorization_server(server, endpoint, method):
    server.set(methods=method)
    before = len(server.seen["asked"])
    subscription = subscribe(endpoint.url, server.token_url, scope="webhooks orders", client_authentication=method)
    delivery = make_delivery(subscription=subscription)

    send_due()

    assert outcome_of(delivery)[:2] == ("", 200)
    assert endpoint.authorizations == [f"Bearer {server.tokens[-1]}"]
    [asked] = server.seen["asked"][before:]
    assert asked["form"]["grant_type"] == "client_credentials"
    assert asked["form"]["scope"] == "webhooks orders"
    assert ("client_secret" in asked["form"]) is (method == "client_secret_post")
    assert Attempt.objects.get().request_headers["authorization"] == "(redacted)"


def test_the_id_and_the_secret_are_form_encoded_in_the_header(server, endpoint):
    make_delivery(subscription=subscribe(endpoint.url, server.token_url))

    send_due()

    sent = base64.b64decode(server.seen["asked"][-1]["authorization"].removeprefix("Basic ")).decode()
    assert sent == "orderhooks%3A%20the%20shop:s3cr3t%2Bof%2Fthe%20client"


def test_many_deliveries_of_many_workers_make_one_request(server, endpoint):
    before = len(server.tokens)
    subscription = subscribe(endpoint.url, server.token_url)
    for _ in range(20):
        make_delivery(event=make_event(), subscription=subscription)
    with sending.Sender(threads=8) as one, sending.Sender(threads=8) as other:
        send_all(one, other)

    assert len(endpoint.requests) == 20
    assert len(server.tokens) == before + 1
    assert not Delivery.objects.exclude(state=Delivery.State.DELIVERED).exists()


def test_one_delivery_alone_asks_for_the_token_also_if_others_are_sent_by_hand(server, endpoint):
    subscription = subscribe(endpoint.url, server.token_url)
    for trigger in ("manual", "automatic", "automatic"):
        make_delivery(event=make_event(), subscription=subscription, trigger=trigger)
    with sending.Sender(threads=8) as sender:
        assert sender.claim(now=timezone.now()) == 1
        send_all(sender)
    assert len(endpoint.requests) == 3


def test_a_token_is_used_until_it_nearly_expires(server, endpoint):
    server.set(lifetime=300)
    before = len(server.tokens)
    subscription = subscribe(endpoint.url, server.token_url)
    make_delivery(subscription=subscription)
    send_due()
    row = AccessToken.objects.get()
    assert row.renew_at
    assert timedelta(seconds=230) < row.renew_at - timezone.now() <= timedelta(seconds=240)

    make_delivery(subscription=subscription)
    send_due()
    assert len(server.tokens) == before + 1

    AccessToken.objects.update(renew_at=timezone.now())
    make_delivery(subscription=subscription)
    send_due()
    assert len(server.tokens) == before + 2


def test_another_secret_gets_another_token(server, endpoint):
    subscription = subscribe(endpoint.url, server.token_url)
    make_delivery(subscription=subscription)
    send_due()
    before = len(server.tokens)

    subscription.authentication = login(server.token_url, scope="orders")
    subscription.save()
    make_delivery(subscription=subscription)
    send_due()

    assert len(server.tokens) == before + 1
    assert endpoint.authorizations[-1] == f"Bearer {server.tokens[-1]}"


def test_a_refused_token_is_renewed_once_within_the_attempt(server, endpoint):
    subscription = subscribe(endpoint.url, server.token_url)
    make_delivery(subscription=subscription)
    send_due()
    revoked = server.tokens[-1]
    endpoint.accepts = lambda headers: revoked not in headers["authorization"]
    deliveries = [make_delivery(event=make_event(), subscription=subscription) for _ in range(6)]
    before = len(server.tokens)

    with sending.Sender(threads=8) as sender:
        send_all(sender)

    assert [outcome_of(one)[1] for one in deliveries] == [200] * 6
    assert len(server.tokens) == before + 1


def test_neither_the_refused_token_nor_the_new_one_is_kept_if_it_is_echoed(server, endpoint):
    subscription = subscribe(endpoint.url, server.token_url)
    make_delivery(subscription=subscription)
    send_due()
    revoked = server.tokens[-1]
    endpoint.accepts = lambda headers: revoked not in headers["authorization"]
    endpoint.body = f"refused {revoked}, now ECHO".encode()
    delivery = make_delivery(event=make_event(), subscription=subscription)
    send_due()

    attempt = delivery.attempts.get()
    assert attempt.status_code == 200
    assert "refused (redacted), now" in attempt.response_body
    assert server.tokens[-1] not in attempt.response_body


def test_an_endpoint_that_refuses_every_token_makes_no_loop(server, endpoint):
    endpoint.accepts = lambda headers: False
    subscription = subscribe(endpoint.url, server.token_url)
    deliveries = [make_delivery(event=make_event(), subscription=subscription) for _ in range(5)]
    before = len(server.tokens)

    with sending.Sender(threads=8) as sender:
        send_all(sender)

    assert [outcome_of(one)[:2] for one in deliveries] == [("status", 401)] * 5
    # The first token, and one after the first refusal.
    assert len(server.tokens) == before + 2
    assert len(endpoint.requests) <= 10


def test_a_test_of_an_endpoint_logs_in_too_and_a_preview_asks_nobody(server, endpoint):
    subscription = subscribe(endpoint.url, server.token_url)

    assert previews.send_test(subscription).state == Delivery.State.DELIVERED

    before = len(server.seen["asked"])
    AccessToken.objects.all().delete()
    delivery = Delivery(event=make_event(), subscription=subscription, attempts_made=1)
    request = sending.prepare(delivery, now=timezone.now(), authorization="(hidden)")
    assert request.headers["authorization"] == "(hidden)"
    assert len(server.seen["asked"]) == before


# What an authorization server does instead, and what the operator reads.
HOSTILE = {
    "nonsense": (Answer(200, b"<html>"), "not a valid token response"),
    "no token": (Answer(200, b'{"token_type": "Bearer"}'), "not a valid token response"),
    "a list": (Answer(200, b'["access_token"]'), "not a valid token response"),
    "deep": (Answer(200, b"[" * 60_000), "not a valid token response"),
    "a token of two lines": (Answer(200, b'{"access_token": "a\\r\\nX: y"}'), "not a valid token response"),
    "another type": (Answer(200, b'{"access_token": "abc", "token_type": "mac"}'), "not of the type Bearer"),
    "redirect": (Answer(302, b"", (("location", "http://169.254.169.254/"),)), "redirects are not followed"),
    "huge": (Answer(200, b'{"access_token": "' + b"x" * 500_000 + b'"}'), "not a valid token response"),
    "invalid_client": (
        Answer(401, b'{"error": "invalid_client", "error_description": "No <b>such</b> client\\u0000"}'),
        "It responded with 401: invalid_client. Check the client's id and secret",
    ),
    "invalid_scope": (Answer(400, b'{"error": "invalid_scope"}'), "Check the scope."),
    "echo": (
        Answer(400, b'{"error": "x", "error_description": "bad secret s3cr3t+of/the client"}'),
        "It responded with 400. Check",
    ),
    "broken": (Answer(503, b"busy"), "It responded with 503."),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_failure_of_the_authorization_server_holds_the_delivery_and_says_why(receiver, name):
    answer, text = HOSTILE[name]
    receiver.answer = lambda count: answer
    with LoginEndpoint() as endpoint:
        delivery = make_delivery(subscription=subscribe(endpoint.url, receiver.url))
        send_due()
        assert endpoint.requests == []
    error, status, detail = outcome_of(delivery)
    assert (error, status) == ("login", None)
    assert text in detail
    assert CLIENT_SECRET not in detail
    delivery.refresh_from_db()
    assert delivery.state == Delivery.State.PENDING
    assert delivery.subscription.state == Subscription.State.ACTIVE


@pytest.mark.parametrize(
    ("token_url", "text"),
    [("http://169.254.169.254/token", "169.254.169.254"), ("http://127.0.0.1:{}/", "Nothing listens")],
)
def test_the_token_url_is_under_the_address_guard_and_may_be_away(token_url, text):
    # As if the setting ALLOWED_NETWORKS had been narrowed since.
    token_url, secret = token_url.format(free_port()), Sealed.of(CLIENT_SECRET, Purpose.LOGIN)
    delivery = make_delivery(subscription=subscribe("http://127.0.0.1:9/", token_url, client_secret=secret))
    send_due()
    assert outcome_of(delivery)[0] == "login"
    assert text in outcome_of(delivery)[2]


def test_waiting_deliveries_make_one_request_and_honour_retry_after(receiver: RecordingReceiver):
    receiver.answer = lambda count: Answer(503, b"", (("retry-after", "120"),))
    subscription = subscribe("http://127.0.0.1:9/", receiver.url)
    deliveries = [make_delivery(event=make_event(), subscription=subscription) for _ in range(30)]
    send_due()
    AccessToken.objects.get()
    Subscription.objects.update(**Subscription.CLOSED)
    send_due(now=timezone.now())

    assert len(receiver.received) == 1
    for delivery in deliveries:
        delivery.refresh_from_db()
        if delivery.last_error:
            assert delivery.next_attempt_at
            assert delivery.next_attempt_at > timezone.now() + timedelta(seconds=100)
    failed_until = AccessToken.objects.get().failed_until
    assert failed_until
    assert failed_until > timezone.now() + timedelta(seconds=100)


def test_a_hanging_authorization_server_costs_other_endpoints_nothing(receiver):
    let_go = threading.Event()

    def hang(count: int) -> Answer:
        let_go.wait(20)
        return Answer(200)

    with RecordingReceiver() as hanging:
        hanging.answer = hang
        slow = subscribe(receiver.url, hanging.url)
        other = make_subscription(url=receiver.url)
        for _ in range(20):
            make_delivery(event=make_event(), subscription=slow)
        with sending.Sender(threads=8) as sender:
            sender.claim(now=timezone.now())
            while not hanging.received:
                sender.collect(wait_seconds=0.01)
            for _ in range(20):
                make_delivery(event=make_event(), subscription=other)
            while Delivery.objects.filter(subscription=other).exclude(state=Delivery.State.DELIVERED).exists():
                sender.claim(now=timezone.now())
                sender.collect(wait_seconds=0.01)
            # All of the other's have arrived while the authorization server still hangs.
            assert not AccessToken.objects.exclude(failure="").exists()
            assert len(hanging.received) == 1
            let_go.set()
    assert len(receiver.received) >= 20


def test_only_one_process_gets_the_lease_and_a_lost_one_writes_nothing():
    now = timezone.now()
    subscription = make_subscription()
    tokens = AccessToken.objects
    row, same = tokens.of(subscription), tokens.of(subscription)
    first = tokens.claim(row, now=now, lease_seconds=10)
    assert first
    assert tokens.claim(same, now=now, lease_seconds=10) is None
    assert tokens.claim(tokens.of(subscription), now=now, lease_seconds=10) is None
    later = now + timedelta(seconds=11)
    second = tokens.claim(tokens.of(subscription), now=later, lease_seconds=10)
    assert second
    assert not tokens.grant(first, "late", login="x", seconds=60, now=later, after_refusal=False)
    assert tokens.grant(second, "in time", login="x", seconds=60, now=later, after_refusal=False)
    assert tokens.of(subscription).text(login="x", now=later) == "in time"
    assert tokens.of(subscription).text(login="another", now=later) == ""


def test_a_stored_secret_goes_to_no_other_server_in_python_either() -> None:
    subscription = subscribe("https://crm.example.org/", "https://login.example.org/token")
    subscription.authentication = {**subscription.authentication, "token_url": "https://elsewhere.example/token"}
    with pytest.raises(ValidationError, match="give it again"):
        subscription.save()
