"""P4, P6 and P11, the retry table and health: what becomes of a delivery."""

import threading
from datetime import timedelta

import pytest
from django.utils import timezone
from standardwebhooks import Webhook

import orderhooks
from orderhooks import operations, sending
from orderhooks.models import Attempt, Delivery, Subscription
from orderhooks.signals import (
    delivery_failed,
    delivery_succeeded,
    subscription_disabled,
    subscription_recovered,
)
from orderhooks.transport import Outcome
from tests.factories import claim, make_delivery, make_event, make_subscription
from tests.receivers import Answer, RecordingReceiver

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def heard():
    """The public signals, as (name, record) in the order in which they came."""
    log = []
    signals = {
        "delivered": delivery_succeeded,
        "failed": delivery_failed,
        "disabled": subscription_disabled,
        "recovered": subscription_recovered,
    }
    handlers = []
    for name, signal in signals.items():

        def handler(sender, name=name, **kwargs):
            log.append((name, kwargs.get("delivery") or kwargs.get("subscription")))

        signal.connect(handler)
        handlers.append((signal, handler))
    yield log
    for signal, handler in handlers:
        signal.disconnect(handler)


def send_due(now=None) -> int:
    """One round: claim all that is due, wait, record."""
    with sending.Sender(threads=4) as sender:
        return sender.claim(now=now or timezone.now())


def claim_one() -> Delivery:
    [delivery] = claim()
    return delivery


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


def test_a_failed_attempt_is_tried_again_with_the_same_id_and_body(receiver: RecordingReceiver) -> None:
    receiver.answer = lambda count: Answer(503 if count == 1 else 200, b"busy")
    delivery = make_delivery(subscription=make_subscription(url=receiver.url))
    send_due()
    delivery.refresh_from_db()
    assert delivery.state == "pending"
    wait = (delivery.next_attempt_at - timezone.now()).total_seconds()
    assert 3 < wait < 6.1
    assert send_due() == 0
    send_due(now=delivery.next_attempt_at)
    first, second = receiver.received
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert [one.headers["webhook-attempt"] for one in receiver.received] == ["1", "2"]
    delivery.refresh_from_db()
    assert delivery.state == "delivered"
    assert [(one.number, one.status_code, one.error, one.response_body) for one in delivery.attempts.all()] == [
        (1, 503, "status", "busy"),
        (2, 200, "", "busy"),
    ]


def test_retry_after_lengthens_the_wait(receiver: RecordingReceiver) -> None:
    receiver.answer = lambda count: Answer(429, headers=(("Retry-After", "120"),))
    delivery = make_delivery(subscription=make_subscription(url=receiver.url))
    send_due()
    delivery.refresh_from_db()
    assert 110 < (delivery.next_attempt_at - timezone.now()).total_seconds() < 121


def test_the_retry_table_ends_in_failed(receiver: RecordingReceiver, heard) -> None:
    receiver.answer = lambda count: Answer(500)
    delivery = make_delivery(subscription=make_subscription(url=receiver.url))
    for number in range(1, 11):
        assert send_due(now=delivery.next_attempt_at) == 1, f"attempt {number} was not due"
        delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts_made, delivery.next_attempt_at) == ("failed", 10, None)
    assert [name for name, _record in heard] == ["failed"]
    assert delivery.attempts.count() == 10


def test_a_failed_delivery_can_be_redelivered(receiver: RecordingReceiver, heard) -> None:
    delivery = make_delivery(subscription=make_subscription(url=receiver.url), state="failed", attempts_made=10)
    operations.redeliver(Delivery.objects.filter(pk=delivery.pk))
    send_due()
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts_made) == ("delivered", 11)
    assert delivery.attempts.get().trigger == "manual"
    assert [name for name, _record in heard] == ["delivered"]


def test_who_asked_for_it_stands_on_the_attempt_and_only_there_when_automatic_ones_follow(receiver) -> None:
    receiver.answer = lambda count: Answer(500 if count == 1 else 200)
    delivery = make_delivery(subscription=make_subscription(url=receiver.url), state="failed", attempts_made=1)
    operations.redeliver(Delivery.objects.all(), by="alice")
    send_due()
    delivery.refresh_from_db()
    assert (delivery.state, delivery.trigger, delivery.requested_by) == ("pending", "automatic", "")
    send_due(timezone.now() + timedelta(days=2))
    assert [(one.trigger, one.requested_by) for one in delivery.attempts.all()] == [
        ("manual", "alice"),
        ("automatic", ""),
    ]


def test_who_asked_for_the_attempt_that_was_the_last_is_kept(receiver) -> None:
    delivery = make_delivery(subscription=make_subscription(url=receiver.url), state="failed", attempts_made=10)
    operations.redeliver(Delivery.objects.all(), by="alice")
    send_due()
    delivery.refresh_from_db()
    assert (delivery.state, delivery.trigger, delivery.requested_by) == ("delivered", "manual", "alice")


@pytest.mark.parametrize("state", ["paused", "disabled"])
def test_deliveries_of_a_stopped_subscription_are_held_and_go_out_on_resume(receiver, state: str) -> None:
    subscription = make_subscription(url=receiver.url, state=state)
    delivery = make_delivery(subscription=subscription)
    assert send_due() == 0
    delivery.refresh_from_db()
    assert delivery.state == "pending"
    Subscription.objects.update(state="active")
    assert send_due() == 1


def test_an_ordered_subscription_whose_orders_all_wait_takes_nobodys_turn(receiver: RecordingReceiver) -> None:
    blocked = make_subscription(url=receiver.url, ordered=True)
    make_delivery(subscription=blocked, state="failed")
    make_delivery(subscription=blocked, next_attempt_at=timezone.now() - timedelta(days=1))
    make_delivery(subscription=make_subscription(url=receiver.url))
    with sending.Sender(threads=1) as sender:
        assert sender.claim(now=timezone.now()) == 1


def test_410_disables_at_once_and_keeps_the_delivery(receiver: RecordingReceiver, heard) -> None:
    receiver.answer = lambda count: Answer(410)
    subscription = make_subscription(url=receiver.url)
    delivery = make_delivery(subscription=subscription)
    send_due()
    subscription.refresh_from_db()
    delivery.refresh_from_db()
    assert subscription.state == "disabled"
    assert "410" in subscription.state_reason
    assert delivery.state == "pending"
    assert heard == [("disabled", subscription)]


def test_health_follows_automatic_attempts(receiver: RecordingReceiver, heard) -> None:
    receiver.answer = lambda count: Answer(500 if count < 3 else 200)
    subscription = make_subscription(url=receiver.url)
    delivery = make_delivery(subscription=subscription)
    for failures in (1, 2):
        send_due(now=delivery.next_attempt_at)
        delivery.refresh_from_db()
        subscription.refresh_from_db()
        assert subscription.consecutive_failures == failures
        assert subscription.failing_since is not None
    send_due(now=delivery.next_attempt_at)
    subscription.refresh_from_db()
    assert (subscription.consecutive_failures, subscription.failing_since) == (0, None)
    assert subscription.last_success_at is not None
    assert [name for name, _record in heard] == ["delivered", "recovered"]


def test_a_manual_attempt_tells_nothing_about_health(receiver: RecordingReceiver) -> None:
    receiver.answer = lambda count: Answer(500)
    subscription = make_subscription(url=receiver.url)
    make_delivery(subscription=subscription, trigger="manual")
    send_due()
    subscription.refresh_from_db()
    assert subscription.consecutive_failures == 0


def test_days_of_nothing_but_failures_disable_and_no_sooner(receiver: RecordingReceiver, heard) -> None:
    receiver.answer = lambda count: Answer(500)
    subscription = make_subscription(url=receiver.url, failing_since=timezone.now() - timedelta(days=4, hours=23))
    make_delivery(subscription=subscription)
    send_due()
    subscription.refresh_from_db()
    assert subscription.state == "active"
    Subscription.objects.update(failing_since=timezone.now() - timedelta(days=5, minutes=1))
    make_delivery(subscription=subscription)
    send_due()
    subscription.refresh_from_db()
    assert subscription.state == "disabled"
    assert "5 days" in subscription.state_reason
    assert ("disabled", subscription) in heard


def test_a_claim_counts_the_attempt_before_the_request_goes_out() -> None:
    delivery = make_delivery()
    claim_one()
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts_made) == ("sending", 1)
    assert delivery.lease_expires_at > timezone.now()


def test_two_claims_never_share_a_delivery() -> None:
    subscription = make_subscription()
    for _ in range(3):
        make_delivery(subscription=subscription)
    first, second = claim(2), claim(5)
    assert len(first) == 2
    assert len(second) == 1
    assert {one.pk for one in first}.isdisjoint(one.pk for one in second)


def test_a_worker_that_slept_past_its_lease_changes_nothing(caplog) -> None:
    delivery = make_delivery()
    sleeper = claim_one()
    later = timezone.now() + timedelta(minutes=5)
    assert sending.recover(now=later) == 1
    delivery.refresh_from_db()
    state = (delivery.state, delivery.next_attempt_at)
    sending.record([sending.Sent(sleeper, {}, later, Outcome(status_code=200))], now=later)
    delivery.refresh_from_db()
    assert (delivery.state, delivery.next_attempt_at) == state
    assert delivery.attempts.count() == 1
    assert "came back too late" in caplog.text


@pytest.mark.parametrize("turn", [1, -1])
def test_of_two_claims_that_a_worker_has_of_one_delivery_the_one_that_holds_is_recorded(turn: int) -> None:
    delivery = make_delivery()
    former = claim_one()
    later = timezone.now() + timedelta(minutes=5)
    sending.recover(now=later)
    [latter] = claim(now=later + timedelta(minutes=1))
    sent = [
        sending.Sent(former, {}, later, Outcome(status_code=500, error="status")),
        sending.Sent(latter, {}, later, Outcome(status_code=200)),
    ]
    assert sending.record(sent[::turn], now=later) == []
    delivery.refresh_from_db()
    assert delivery.state == "delivered"
    assert [(one.number, one.status_code) for one in delivery.attempts.all()] == [(1, None), (2, 200)]


def test_an_attempt_whose_worker_died_is_counted_and_told() -> None:
    delivery = make_delivery()
    claim_one()
    assert sending.recover(now=timezone.now()) == 0
    sending.recover(now=timezone.now() + timedelta(minutes=5))
    delivery.refresh_from_db()
    attempt = delivery.attempts.get()
    assert (delivery.state, attempt.number, attempt.error) == ("pending", 1, "internal")
    assert "worker died" in attempt.detail
    delivery.subscription.refresh_from_db()
    assert delivery.subscription.consecutive_failures == 0, "the endpoint is not to blame"


def test_a_workers_death_does_not_disable_an_endpoint_that_once_failed() -> None:
    subscription = make_subscription(failing_since=timezone.now() - timedelta(days=90), consecutive_failures=1)
    make_delivery(subscription=subscription)
    claim_one()
    sending.recover(now=timezone.now() + timedelta(minutes=5))
    subscription.refresh_from_db()
    assert subscription.state == "active"


def test_poison_that_kills_its_worker_every_time_ends_in_failed() -> None:
    delivery = make_delivery()
    now = timezone.now()
    for _ in range(10):
        delivery.refresh_from_db()
        now = max(now, delivery.next_attempt_at)
        [_claimed] = claim(now=now)
        now += timedelta(minutes=1)
        sending.recover(now=now)
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts_made) == ("failed", 10)


def test_a_missing_secret_or_key_is_an_outcome_and_no_unsigned_request(receiver, settings) -> None:
    without = make_delivery(subscription=make_subscription(url=receiver.url))
    without.subscription.secrets.all().delete()
    unreadable = make_delivery(subscription=make_subscription(url=receiver.url))
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "ENCRYPTION_KEYS": ["quite another key than before"]}
    send_due()
    assert receiver.received == []
    assert "no signing secret" in without.attempts.get().detail
    assert "ENCRYPTION_KEYS" in unreadable.attempts.get().detail


def test_stored_requests_hold_no_signature(receiver: RecordingReceiver) -> None:
    delivery = make_delivery(subscription=make_subscription(url=receiver.url))
    send_due()
    headers = delivery.attempts.get().request_headers
    assert headers["webhook-signature"] == "(redacted)"
    assert headers["webhook-id"] == delivery.event.public_id


def test_deliveries_are_sent_side_by_side(receiver: RecordingReceiver) -> None:
    together = threading.Barrier(4, timeout=10)

    def answer(count: int) -> Answer:
        together.wait()
        return Answer()

    receiver.answer = answer
    subscription = make_subscription(url=receiver.url)
    for _ in range(4):
        make_delivery(subscription=subscription)
    send_due()
    assert Delivery.objects.filter(state="delivered").count() == 4


def test_a_pool_that_is_full_claims_nothing_more(receiver: RecordingReceiver) -> None:
    release = threading.Event()
    receiver.answer = lambda count: Answer() if release.wait(10) else Answer(500)
    for _ in range(3):
        make_delivery(subscription=make_subscription(url=receiver.url))
    with sending.Sender(threads=2) as sender:
        assert sender.claim(now=timezone.now()) == 2
        assert sender.claim(now=timezone.now()) == 0
        assert Delivery.objects.filter(state="pending").count() == 1
        release.set()


def test_an_error_elsewhere_in_the_turn_leaves_no_result_unwritten(receiver: RecordingReceiver) -> None:
    make_delivery(subscription=make_subscription(url=receiver.url))
    with pytest.raises(RuntimeError), sending.Sender(threads=2) as sender:
        sender.claim(now=timezone.now())
        raise RuntimeError("a step beside sending went wrong")
    assert Delivery.objects.get().state == "delivered"
    assert Attempt.objects.count() == len(receiver.received) == 1


def test_each_attempt_is_one_log_line(receiver: RecordingReceiver, caplog) -> None:
    caplog.set_level("INFO", logger="orderhooks")
    delivery = make_delivery(subscription=make_subscription(url=receiver.url))
    send_due()
    assert f"attempt delivery={delivery.public_id} n=1 status=200 error=- ms=" in caplog.text


def test_what_was_not_begun_in_time_is_given_back_unsent(receiver: RecordingReceiver, monkeypatch) -> None:
    monkeypatch.setattr("orderhooks.sending.pool.BEGIN_SECONDS", -1.0)
    delivery = make_delivery(subscription=make_subscription(url=receiver.url))
    assert send_due() == 1
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts_made, delivery.lease_token) == ("pending", 0, None)
    assert receiver.received == []


@pytest.mark.parametrize(
    ("own_seconds", "longest_seconds", "arrives"),
    [
        (None, None, False),  # the setting's 0.2
        (5, 30, True),
        (5, None, False),  # no longer than the pump allows
        (5, 0.3, False),
    ],
)
def test_an_attempt_may_take_as_long_as_its_subscription_says_and_the_pump_allows(
    receiver, settings, own_seconds, longest_seconds, arrives
) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "TIMEOUT_SECONDS": 0.2}
    release = threading.Event()
    receiver.answer = lambda _count: release.wait(0.8) and Answer()
    make_delivery(subscription=make_subscription(url=receiver.url, timeout_seconds=own_seconds))
    now = timezone.now()
    with sending.Sender(threads=2, longest_seconds=longest_seconds) as sender:
        sender.claim(now=now)
        lease = Delivery.objects.get().lease_expires_at - now
        receiver.wait_for(1)
        # One that is given the time gets its answer; the others have hung up by now.
        if arrives:
            release.set()
    assert Delivery.objects.get().last_error == ("" if arrives else "timeout")
    seconds = min(own_seconds or 0.2, longest_seconds or 0.2)
    assert lease == sending.lease_for(seconds)


def test_a_subscription_without_a_limit_of_its_own_does_not_shorten_the_lease_of_another(settings) -> None:
    quick, slow = make_subscription(timeout_seconds=1), make_subscription(timeout_seconds=30)
    for subscription in (quick, slow):
        make_delivery(subscription=subscription)
    now = timezone.now()
    with sending.Sender(threads=8, longest_seconds=30) as sender:
        sender.queue.stopped = True
        sender.claim(now=now)
        leases = set(Delivery.objects.values_list("lease_expires_at", flat=True))
        sender.queue.resume()
    assert leases == {now + sending.lease_for(30)}


def test_an_endpoint_that_answers_again_is_known_to_have_recovered(receiver: RecordingReceiver) -> None:
    receiver.answer = lambda count: Answer(500 if count == 2 else 200)
    subscription = make_subscription(url=receiver.url)
    make_delivery(subscription=subscription)
    send_due()
    subscription.refresh_from_db()
    assert subscription.last_success_at
    assert subscription.recovered_at is None
    for _ in range(2):
        make_delivery(subscription=subscription)
        send_due()
        subscription.refresh_from_db()
        if subscription.failing_since:
            assert (subscription.recovered_at, "answered 500" in subscription.last_failure) == (None, True)
    assert subscription.recovered_at == subscription.last_success_at
    assert "answered 500" in subscription.last_failure


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
