"""What operators ask for: redeliveries, pauses, resumptions, rotations. Replays, tests and previews have their own."""

from datetime import timedelta

import pytest
from django.utils import timezone

from orderhooks import operations, tasks
from orderhooks.models import Delivery, Subscription
from tests.factories import make_delivery, make_subscription

pytestmark = pytest.mark.django_db(transaction=True)


def test_redeliver_takes_any_queryset_and_leaves_those_being_sent() -> None:
    failed = make_delivery(state="failed", attempts_made=10)
    sending = make_delivery(state="sending")
    assert operations.redeliver(Delivery.objects.order_by("pk")[:10]) == 1
    failed.refresh_from_db()
    sending.refresh_from_db()
    assert (failed.state, failed.trigger, failed.finished_at) == ("pending", "manual", None)
    assert sending.state == "sending"


def test_redelivery_goes_in_batches_and_wakes_one_worker(monkeypatch, django_capture_on_commit_callbacks) -> None:
    woken = []
    monkeypatch.setattr(tasks, "wake", lambda: woken.append(1))
    monkeypatch.setattr(operations, "REDELIVER_AT_ONCE", 2)
    subscription = make_subscription()
    for _ in range(5):
        make_delivery(state="failed", subscription=subscription)
    with django_capture_on_commit_callbacks(execute=True):
        assert operations.redeliver(Delivery.objects.filter(state="failed"), by="a" * 300) == 5
    assert set(Delivery.objects.values_list("state", "requested_by")) == {("pending", "a" * 254)}
    assert woken == [1]


def test_resuming_forgets_the_failures_and_wakes_a_worker(monkeypatch) -> None:
    woken = []
    monkeypatch.setattr(tasks, "wake", lambda: woken.append(1))
    make_subscription(state="disabled", state_reason="410", consecutive_failures=9, failing_since=timezone.now())
    make_subscription()
    assert operations.resume(Subscription.objects.filter(state="disabled")).subscriptions == 1
    assert operations.resume(Subscription.objects.order_by("pk")).subscriptions == 0
    [one, _other] = Subscription.objects.order_by("pk")
    assert (one.state, one.state_reason, one.consecutive_failures, one.failing_since) == ("active", "", 0, None)
    assert woken == [1]
    assert operations.pause(Subscription.objects.all()) == 2
    assert operations.pause(Subscription.objects.all()) == 0


@pytest.mark.parametrize(("skip", "states"), [(None, ["pending", "pending"]), (1, ["skipped", "pending"])])
def test_resuming_sends_what_was_held_or_skips_what_is_older(skip, states, monkeypatch) -> None:
    monkeypatch.setattr("orderhooks.models.deliveries.SKIP_AT_ONCE", 1)
    subscription = make_subscription(state="paused")
    now = timezone.now()
    held = [
        make_delivery(subscription=subscription, created_at=now - timedelta(hours=hours), state="pending")
        for hours in (2, 0)
    ]
    done = make_delivery(subscription=subscription, created_at=now - timedelta(hours=2), state="delivered")
    theirs = make_delivery(created_at=now - timedelta(hours=2))
    before = now - timedelta(hours=skip) if skip else None
    assert operations.resume(Subscription.objects.filter(pk=subscription.pk), skip_before=before).subscriptions == 1
    for delivery in (*held, done, theirs):
        delivery.refresh_from_db()
    assert [delivery.state for delivery in held] == states
    assert (done.state, theirs.state) == ("delivered", "pending")
    assert (held[0].finished_at is not None) is (states[0] == "skipped")


@pytest.mark.parametrize("state", ["paused", "disabled"])
def test_resuming_sends_at_once_what_waits_for_a_retry(state, monkeypatch) -> None:
    monkeypatch.setattr("orderhooks.models.deliveries.SKIP_AT_ONCE", 1)
    later = timezone.now() + timedelta(hours=20)
    subscription = make_subscription(state=state)
    tried = [make_delivery(subscription=subscription, attempts_made=3, next_attempt_at=later) for _ in range(3)]
    collected = make_delivery(subscription=subscription, attempts_made=0, next_attempt_at=later)
    theirs = make_delivery(attempts_made=3, next_attempt_at=later)
    operations.resume(Subscription.objects.filter(pk=subscription.pk))
    for delivery in (*tried, collected, theirs):
        delivery.refresh_from_db()
    soon = timezone.now() + timedelta(minutes=1)
    assert not [one for one in tried if one.next_attempt_at is None or one.next_attempt_at > soon]
    # An update that collects others waits for its interval.
    assert (collected.next_attempt_at, theirs.next_attempt_at) == (later, later)


def test_an_active_subscriptions_deliveries_are_not_skipped_by_resuming() -> None:
    delivery = make_delivery()
    assert operations.resume(Subscription.objects.all(), skip_before=timezone.now()).subscriptions == 0
    delivery.refresh_from_db()
    assert delivery.state == "pending"


def test_a_rotated_secret_signs_beside_the_former_one_until_that_is_revoked() -> None:
    subscription = make_subscription()
    [former] = subscription.secrets.all()
    assert operations.rotate(subscription, overlap=timedelta(hours=1)).startswith("whsec_")
    assert subscription.secrets.live(now=timezone.now()).count() == 2
    assert operations.revoke_former_secrets(subscription) == 1
    assert not subscription.secrets.live(now=timezone.now()).filter(pk=former.pk).exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("values", "is_tried"), [({"url": "https://new.example.com/"}, True), ({"name": "New"}, False)]
)
def test_a_change_that_may_repair_an_endpoint_lets_a_request_try_it(values: dict[str, str], is_tried: bool) -> None:
    until = timezone.now() + timedelta(minutes=5)
    subscription = make_subscription(circuit_open_until=until, circuit_openings=8, slow_start_limit=1)
    operations.reconfigure(subscription, values)
    subscription.refresh_from_db()
    assert (subscription.circuit_open_until is None) is is_tried
    assert subscription.slow_start_limit == 1
