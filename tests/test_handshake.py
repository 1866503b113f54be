"""The handshake of CloudEvents for webhooks: no request before the endpoint allows it, and no faster than it allows."""

import base64
import socket
import threading
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from orderhooks import operations, previews, sending
from orderhooks.models import Attempt, Delivery, Subscription
from orderhooks.sending import claiming
from tests.authorization_server import CLIENT_ID, CLIENT_SECRET
from tests.factories import claim, due_at, make_delivery, make_subscription, send_due
from tests.login_servers import authorization_server
from tests.receivers import Answer, RecordingReceiver

pytestmark = pytest.mark.django_db(transaction=True)

ORIGIN = "shop.example.com"


def allowing(origin: str | None = "*", rate: str | None = "*", status: int = 200) -> Answer:
    headers = [("WebHook-Allowed-Origin", origin), ("WebHook-Allowed-Rate", rate)]
    return Answer(status, headers=tuple((name, value) for name, value in headers if value is not None))


@pytest.fixture(autouse=True)
def _store(settings: Any) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "REQUEST_ORIGIN": ORIGIN}


def endpoint(receiver: RecordingReceiver, count: int = 1, **fields: Any) -> tuple[Subscription, list[Delivery]]:
    subscription = make_subscription(**{"url": receiver.url, "format": "cloudevents", **fields})
    return subscription, [make_delivery(subscription=subscription) for _ in range(count)]


@pytest.mark.parametrize("format", ["cloudevents", "cloudevents_binary"])
@pytest.mark.parametrize("origin", ["*", ORIGIN, "Shop.Example.COM"])
def test_an_endpoint_is_asked_once_and_then_gets_everything(
    receiver: RecordingReceiver, format: str, origin: str
) -> None:
    receiver.permission = lambda _count: allowing(origin)
    subscription, _deliveries = endpoint(receiver, 3, format=format)
    send_due()
    send_due()
    assert len(receiver.asked) == 1
    assert len(receiver.received) == 3
    assert receiver.asked[0].headers["WebHook-Request-Origin"] == ORIGIN
    assert {one.headers["WebHook-Request-Origin"] for one in receiver.received} == {ORIGIN}
    subscription.refresh_from_db()
    assert (subscription.consented_url, subscription.consented_origin) == (receiver.url, ORIGIN)
    assert subscription.max_per_minute is None
    assert set(Attempt.objects.values_list("method", "error")) == {("POST", "")}
    assert set(Delivery.objects.values_list("state", flat=True)) == {"delivered"}


def test_the_status_of_the_response_says_nothing(receiver: RecordingReceiver) -> None:
    receiver.permission = lambda _count: allowing(status=405)
    endpoint(receiver)
    send_due()
    assert len(receiver.received) == 1


@pytest.mark.parametrize("format", ["standard", "thin", "form"])
def test_other_formats_ask_nothing(receiver: RecordingReceiver, format: str) -> None:
    endpoint(receiver, format=format)
    send_due()
    assert (len(receiver.asked), len(receiver.received)) == (0, 1)
    assert "WebHook-Request-Origin" not in receiver.received[0].headers


@pytest.mark.parametrize(
    ("permission", "says"),
    [
        (Answer(200), "names no origin"),
        (Answer(405), "(405) names no origin"),
        (allowing("other.example.com"), "from another origin, not from shop.example.com"),
        (allowing(rate="0"), "neither a number above zero nor *"),
        (allowing(rate="1e3"), "neither a number above zero nor *"),
        (allowing(rate="-5"), "neither a number above zero nor *"),
        (allowing(rate="often"), "neither a number above zero nor *"),
        (allowing(rate="³"), "neither a number above zero nor *"),
    ],
)
def test_a_refusal_holds_the_delivery_with_its_reason_and_remedy(
    receiver: RecordingReceiver, permission: Answer, says: str
) -> None:
    receiver.permission = lambda _count: permission
    subscription, [delivery] = endpoint(receiver)
    send_due()
    assert receiver.received == []
    delivery.refresh_from_db()
    assert (delivery.state, delivery.last_error) == ("pending", "handshake")
    assert says in delivery.last_detail
    # People who may not see responses read it.
    assert "other.example.com" not in delivery.last_detail
    is_about_rate = "Rate" in says or "number" in says
    remedy = "correct the rate" if is_about_rate else f"with WebHook-Allowed-Origin: {ORIGIN}"
    assert remedy in delivery.last_detail
    assert 3 < (due_at(delivery) - timezone.now()).total_seconds() < 6.1
    attempt = delivery.attempts.get()
    assert (attempt.method, attempt.status_code) == ("OPTIONS", permission.status)
    assert attempt.request_headers["webhook-request-origin"] == ORIGIN
    subscription.refresh_from_db()
    assert subscription.consented_url == ""
    receiver.permission = lambda _count: allowing()
    send_due(now=delivery.next_attempt_at)
    delivery.refresh_from_db()
    assert (delivery.state, len(receiver.asked)) == ("delivered", 2)


def test_deliveries_that_wait_do_not_ask_one_after_the_other(receiver: RecordingReceiver) -> None:
    subscription, _deliveries = endpoint(receiver, 5)
    for _turn in range(4):
        send_due()
    assert len(receiver.asked) == 1
    subscription.refresh_from_db()
    assert subscription.is_circuit_open(at=timezone.now())


def test_no_two_workers_ask_at_the_same_time(receiver: RecordingReceiver) -> None:
    endpoint(receiver, 5)
    assert len(claim(5)) == 1, "the first worker asks with the first delivery"
    assert claim(5) == [], "another one has to wait"


def test_a_hand_sent_delivery_does_not_pass_the_one_that_asks(receiver: RecordingReceiver) -> None:
    _subscription, [_first, second] = endpoint(receiver, 2)
    assert len(claim(5)) == 1
    operations.redeliver(Delivery.objects.filter(pk=second.pk))
    assert claim(5) == []


def test_another_url_another_origin_and_another_format_ask_again(receiver: RecordingReceiver, settings: Any) -> None:
    receiver.permission = lambda _count: allowing()
    subscription, _deliveries = endpoint(receiver)
    send_due()
    subscription.refresh_from_db()
    subscription.url = f"{receiver.url}/other"
    subscription.save()
    make_delivery(subscription=subscription)
    send_due()
    assert len(receiver.asked) == 2
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "REQUEST_ORIGIN": "new.example.com"}
    make_delivery(subscription=subscription)
    send_due()
    assert receiver.asked[2].headers["WebHook-Request-Origin"] == "new.example.com"
    assert receiver.received[2].headers["WebHook-Request-Origin"] == "new.example.com"


@pytest.mark.parametrize("again", ["a day later", "429", "a test"])
def test_an_endpoint_is_asked_again_and_may_allow_a_higher_rate(receiver: RecordingReceiver, again: str) -> None:
    receiver.permission = lambda _count: allowing(rate="30")
    subscription, _deliveries = endpoint(receiver)
    send_due()
    receiver.permission = lambda _count: allowing(rate="600")
    now = timezone.now()
    match again:
        case "a day later":
            Subscription.objects.update(consented_at=now - timedelta(days=1))
        case "429":
            fields = {"last_failure_status": 429, "last_failure_at": now + timedelta(seconds=1)}
            Subscription.objects.update(**fields)
    Subscription.objects.update(paced_until=None)
    subscription.refresh_from_db()
    assert subscription.max_per_minute == 30, "the former rate counts until another one is there"
    if again == "a test":
        previews.send_test(subscription)
    else:
        make_delivery(subscription=subscription)
        send_due()
    subscription.refresh_from_db()
    assert (len(receiver.asked), len(receiver.received), subscription.max_per_minute) == (2, 2, 600)


def test_without_a_setting_the_name_that_was_allowed_is_used_by_all_hosts(
    receiver: RecordingReceiver, settings: Any
) -> None:
    del settings.ORDERHOOKS["REQUEST_ORIGIN"]
    subscription = Subscription(format="cloudevents", url=receiver.url)
    assert subscription.request_origin == socket.gethostname().lower()
    subscription.consented_url, subscription.consented_origin = receiver.url, "web1.example.com"
    assert (subscription.request_origin, subscription.lacks_consent) == ("web1.example.com", False)
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "BASE_URL": "https://Shop.Example.com:8443/de"}
    assert (subscription.request_origin, subscription.lacks_consent) == (ORIGIN, True)


def test_consent_for_a_url_that_was_changed_meanwhile_is_not_kept(receiver: RecordingReceiver) -> None:
    subscription, _deliveries = endpoint(receiver)
    receiver.permission = lambda _count: allowing()
    [delivery] = claim()
    sent = sending.attempt(delivery, 5, now=timezone.now())
    Subscription.objects.filter(pk=subscription.pk).update(url=f"{receiver.url}/other")
    sending.record([sent], now=timezone.now())
    subscription.refresh_from_db()
    assert subscription.lacks_consent
    assert subscription.consented_url == ""


def test_a_test_of_the_endpoint_asks_too(receiver: RecordingReceiver) -> None:
    receiver.permission = lambda _count: allowing(rate="30")
    subscription, _none = endpoint(receiver, 0)
    assert operations.send_test(subscription).state == "delivered"
    subscription.refresh_from_db()
    assert subscription.max_per_minute == 30


def test_the_wanted_rate_and_the_own_headers_go_along_and_stay_hidden(receiver: RecordingReceiver) -> None:
    _subscription, [delivery] = endpoint(receiver, max_per_second=2, headers={"Authorization": "Bearer s3cr3t-token"})
    send_due()
    [asked] = receiver.asked
    assert (asked.headers["WebHook-Request-Rate"], asked.headers["Authorization"]) == ("120", "Bearer s3cr3t-token")
    assert asked.body == b""
    assert "s3cr3t" not in str(delivery.attempts.values())


def test_the_login_goes_along_and_stays_hidden(receiver: RecordingReceiver) -> None:
    login = {"type": "basic", "username": "hub", "password": "s3cr3t-word"}
    receiver.permission = lambda _count: Answer(401)
    _subscription, [delivery] = endpoint(receiver, authentication=login)
    send_due()
    [asked] = receiver.asked
    assert asked.headers["Authorization"] == f"Basic {base64.b64encode(b'hub:s3cr3t-word').decode()}"
    attempt = delivery.attempts.get()
    assert (attempt.error, attempt.status_code) == ("handshake", 401)
    assert attempt.request_headers["authorization"] == "(redacted)"


@pytest.mark.slow
def test_a_token_that_is_refused_when_it_asks_is_renewed_once(receiver: RecordingReceiver) -> None:
    pytest.importorskip("authlib")
    receiver.permission = lambda count: Answer(401) if count == 1 else allowing()
    with authorization_server() as server:
        server.set(lifetime=3600, methods="client_secret_basic")
        client = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
        login = {"type": "oauth2", "token_url": server.token_url, **client}
        _subscription, [delivery] = endpoint(receiver, authentication=login)
        send_due()
        tokens = [f"Bearer {token}" for token in server.tokens]
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts_made) == ("delivered", 1), delivery.last_detail
    assert [one.headers["Authorization"] for one in [*receiver.asked, *receiver.received]] == [*tokens, tokens[1]]


def test_an_address_that_may_not_be_called_is_not_asked(receiver: RecordingReceiver, settings: Any) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "ALLOWED_NETWORKS": []}
    _subscription, [delivery] = endpoint(receiver)
    send_due()
    delivery.refresh_from_db()
    assert (delivery.last_error, receiver.asked) == ("blocked", [])


def test_redirects_are_not_followed(receiver: RecordingReceiver) -> None:
    receiver.permission = lambda _count: Answer(302, headers=(("Location", f"{receiver.url}/elsewhere"),))
    _subscription, [delivery] = endpoint(receiver)
    send_due()
    delivery.refresh_from_db()
    assert (delivery.last_error, len(receiver.asked)) == ("handshake", 1)


def test_an_endpoint_that_hangs_when_it_is_asked_ends_within_the_limit(receiver: RecordingReceiver) -> None:
    release = threading.Event()

    def permission(_count: int) -> Answer:
        release.wait(20)
        return allowing()

    receiver.permission = permission
    endpoint(receiver)
    [delivery] = claim()
    sent = sending.attempt(delivery, 0.3, now=timezone.now())
    release.set()
    assert (sent.outcome.error, sent.method) == ("timeout", "OPTIONS")
    assert sent.outcome.detail.startswith("It was asked with OPTIONS whether it allows the requests.")


def consented(receiver: RecordingReceiver, per_minute: int, **fields: Any) -> Subscription:
    return make_subscription(
        url=receiver.url,
        format="cloudevents",
        consented_url=receiver.url,
        consented_origin=ORIGIN,
        consented_per_minute=per_minute,
        **fields,
    )


def claimed_in(subscription: Subscription, *, seconds: int, start: datetime) -> int:
    """How many deliveries all workers together may send in that time, looking each second."""
    for _ in range(20):
        make_delivery(subscription=subscription, next_attempt_at=start)
    return sum(
        len(claimed(now=start + timedelta(seconds=second))) for second in range(seconds + 1) for _worker in range(2)
    )


def claimed(*, now: datetime) -> list[Delivery]:
    due = claiming.due(now=now)
    for one in due:
        one.capacity = 10
    return claiming.claim(due, now=now, lease_until=now + timedelta(hours=1))


@pytest.mark.parametrize(
    ("per_minute", "max_per_second", "expected"), [(1, None, 2), (6, None, 7), (6, 1, 7), (600, 1, 20)]
)
def test_all_workers_together_keep_to_the_rate_that_the_endpoint_allows(
    receiver: RecordingReceiver, per_minute: int, max_per_second: int | None, expected: int
) -> None:
    subscription = consented(receiver, per_minute, max_per_second=max_per_second)
    assert claimed_in(subscription, seconds=60, start=timezone.now()) == expected


def test_the_rate_holds_for_that_url_and_format_alone(receiver: RecordingReceiver) -> None:
    subscription = consented(receiver, 6)
    assert subscription.rate == 0.1
    subscription.format = "standard"
    assert subscription.rate is None
    subscription.format, subscription.url = "cloudevents", f"{receiver.url}/other"
    assert subscription.rate is None


def test_an_enormous_rate_is_kept_as_the_largest_that_fits(receiver: RecordingReceiver) -> None:
    receiver.permission = lambda _count: allowing(rate="9" * 400)
    subscription, _deliveries = endpoint(receiver)
    send_due()
    subscription.refresh_from_db()
    assert subscription.max_per_minute == 2**31 - 1


def test_the_request_that_follows_the_handshake_counts_for_the_rate(receiver: RecordingReceiver) -> None:
    receiver.permission = lambda _count: allowing(rate="6")
    subscription, _deliveries = endpoint(receiver)
    send_due()
    subscription.refresh_from_db()
    assert subscription.paced_until is not None
    assert subscription.paced_until > timezone.now() + timedelta(seconds=5)
