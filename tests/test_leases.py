"""P4 and P6: a claim's lease, and what happens to a delivery whose worker slept past it or died."""

import threading
from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from orderhooks import sending
from orderhooks.models import Delivery
from orderhooks.transport import Outcome
from tests.factories import claim, claim_one, due_at, make_delivery, make_subscription, send_due
from tests.receivers import Answer, RecordingReceiver

pytestmark = pytest.mark.django_db(transaction=True)


def lease_end_of(delivery: Delivery) -> datetime:
    assert delivery.lease_expires_at is not None, f"the delivery is {delivery.state}"
    return delivery.lease_expires_at


def test_a_claim_counts_the_attempt_before_the_request_goes_out() -> None:
    delivery = make_delivery()
    claim_one()
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts_made) == ("sending", 1)
    assert lease_end_of(delivery) > timezone.now()


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


def test_an_attempt_whose_worker_died_is_counted_and_recorded() -> None:
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
        now = max(now, due_at(delivery))
        [_claimed] = claim(now=now)
        now += timedelta(minutes=1)
        sending.recover(now=now)
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts_made) == ("failed", 10)


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
        (None, None, False),  # the setting's 1.0
        (5, 30, True),
        (5, None, False),  # no longer than the pump allows
        (5, 1.3, False),
    ],
)
def test_an_attempt_may_take_as_long_as_its_subscription_says_and_the_pump_allows(
    receiver, settings, own_seconds, longest_seconds, arrives
) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "TIMEOUT_SECONDS": 1.0}
    release = threading.Event()
    receiver.answer = lambda _count: release.wait(4) and Answer()
    make_delivery(subscription=make_subscription(url=receiver.url, timeout_seconds=own_seconds))
    now = timezone.now()
    with sending.Sender(threads=2, longest_seconds=longest_seconds) as sender:
        sender.claim(now=now)
        lease = lease_end_of(Delivery.objects.get()) - now
        receiver.wait_for(1)
        # One that is given the time gets its answer; the others have hung up by now.
        if arrives:
            release.set()
    assert Delivery.objects.get().last_error == ("" if arrives else "timeout")
    seconds = min(own_seconds or 1.0, longest_seconds or 1.0)
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
