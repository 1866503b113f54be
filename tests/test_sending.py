"""P4, P6 and P11, the retry table and health: what happens to a delivery."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from orderhooks import operations, sending
from orderhooks.models import Attempt, Delivery, Subscription
from orderhooks.signals import (
    delivery_failed,
    delivery_succeeded,
    subscription_disabled,
    subscription_recovered,
)
from tests.factories import due_at, make_delivery, make_subscription, send_due
from tests.receivers import Answer, RecordingReceiver

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def heard() -> Iterator[list[tuple[str, Any]]]:
    """The public signals, as (name, record) in the order in which they came."""
    log: list[tuple[str, Any]] = []
    signals = {
        "delivered": delivery_succeeded,
        "failed": delivery_failed,
        "disabled": subscription_disabled,
        "recovered": subscription_recovered,
    }
    handlers = []
    for name, signal in signals.items():

        def handler(sender: object, name: str = name, **kwargs: Any) -> None:
            log.append((name, kwargs.get("delivery") or kwargs.get("subscription")))

        signal.connect(handler)
        handlers.append((signal, handler))
    yield log
    for signal, handler in handlers:
        signal.disconnect(handler)


def test_a_failed_attempt_is_tried_again_with_the_same_id_and_body(receiver: RecordingReceiver) -> None:
    receiver.answer = lambda count: Answer(503 if count == 1 else 200, b"busy")
    delivery = make_delivery(subscription=make_subscription(url=receiver.url))
    send_due()
    delivery.refresh_from_db()
    assert delivery.state == "pending"
    wait = (due_at(delivery) - timezone.now()).total_seconds()
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
    assert 110 < (due_at(delivery) - timezone.now()).total_seconds() < 121


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


def test_requested_by_is_kept_on_the_attempt_alone_when_automatic_ones_follow(receiver) -> None:
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


def test_requested_by_is_kept_of_the_last_attempt(receiver) -> None:
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


def test_a_manual_attempt_does_not_change_health(receiver: RecordingReceiver) -> None:
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
    [line] = [record for record in caplog.records if record.getMessage().startswith("attempt ")]
    subscription, event = delivery.subscription.public_id, delivery.event.public_id
    assert line.getMessage().startswith(
        f"attempt subscription={subscription} event={event} delivery={delivery.public_id} attempt=1"
        f" topic={delivery.event.topic} outcome=2xx status=200 seconds="
    )


def test_an_endpoint_that_responds_again_has_recovered(receiver: RecordingReceiver) -> None:
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
            assert (subscription.recovered_at, "responded with 500" in subscription.last_failure) == (None, True)
    assert subscription.recovered_at == subscription.last_success_at
