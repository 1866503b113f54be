"""What people have sent by hand neither uses up nor postpones what the retry table has planned."""

from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from orderhooks import operations, replaying, sending
from orderhooks.models import Delivery
from orderhooks.transport import Outcome
from tests.factories import claim, due_at, make_delivery, make_replay, make_subscription

pytestmark = pytest.mark.django_db(transaction=True)

BROKEN = Outcome(status_code=500, error="status", response_headers={"Retry-After": "3600"})
FINE = Outcome(status_code=200)


def press(delivery: Delivery, outcome: Outcome = BROKEN) -> None:
    """Somebody redelivers it, and a worker makes the attempt."""
    assert operations.redeliver(Delivery.objects.filter(pk=delivery.pk), by="alice") == 1
    attempt(delivery, outcome, now=timezone.now() + timedelta(seconds=1))


def attempt(delivery: Delivery, outcome: Outcome = BROKEN, *, now: datetime) -> None:
    [claimed] = claim(now=now)
    assert claimed.pk == delivery.pk
    assert sending.record([sending.Sent(claimed, {}, now, outcome)], now=now) == []
    delivery.refresh_from_db()


def automatic_attempts_to_the_end(delivery: Delivery, *, now: datetime) -> int:
    count = 0
    while delivery.state == "pending":
        now = max(now, due_at(delivery))
        attempt(delivery, now=now)
        count += 1
    assert delivery.state == "failed"
    return count


@pytest.mark.parametrize("used", [0, 1, 2, 9])
@pytest.mark.parametrize("presses", [1, 2, 8])
def test_presses_leave_what_is_planned_as_it_is(used: int, presses: int) -> None:
    planned = timezone.now().replace(microsecond=0) + timedelta(minutes=19)
    delivery = make_delivery(attempts_made=used, next_attempt_at=planned)
    for _ in range(presses):
        press(delivery)
        assert (delivery.state, delivery.trigger, delivery.requested_by) == ("pending", "automatic", "")
        assert (delivery.next_attempt_at, delivery.table_attempts) == (planned, used)
    assert delivery.attempts_made == used + presses
    assert automatic_attempts_to_the_end(delivery, now=planned) == 10 - used


def test_two_presses_before_a_worker_comes_keep_what_is_planned() -> None:
    planned = timezone.now().replace(microsecond=0) + timedelta(minutes=19)
    delivery = make_delivery(attempts_made=2, next_attempt_at=planned)
    operations.redeliver(Delivery.objects.all(), by="bob")
    press(delivery)
    assert (delivery.next_attempt_at, delivery.table_attempts) == (planned, 2)


@pytest.mark.parametrize("state", ["failed", "delivered", "skipped"])
def test_what_had_ended_gets_the_retry_table_anew(state: str, settings) -> None:
    delivery = make_delivery(state=state, attempts_made=10)
    press(delivery)
    assert delivery.state == "pending"
    wait = due_at(delivery) - timezone.now()
    assert wait > timedelta(minutes=59), "the wait that the receiver asks for is kept"
    # The attempt by hand stands before the first wait of the table; each wait is followed by one.
    assert automatic_attempts_to_the_end(delivery, now=timezone.now()) == 9
    assert delivery.attempts_made == 20


def test_one_that_arrives_by_hand_has_ended() -> None:
    delivery = make_delivery(attempts_made=2)
    press(delivery, FINE)
    assert (delivery.state, delivery.next_attempt_at, delivery.planned_at) == ("delivered", None, None)


def test_a_worker_that_dies_with_one_by_hand_uses_up_nothing() -> None:
    planned = timezone.now().replace(microsecond=0) + timedelta(minutes=19)
    delivery = make_delivery(attempts_made=2, next_attempt_at=planned)
    operations.redeliver(Delivery.objects.all())
    claim(now=timezone.now() + timedelta(seconds=1))
    assert sending.recover(now=timezone.now() + timedelta(minutes=5)) == 1
    delivery.refresh_from_db()
    assert (delivery.state, delivery.next_attempt_at, delivery.table_attempts) == ("pending", planned, 2)


@pytest.mark.parametrize("only", ["all", "failed"])
def test_a_replay_gives_what_was_given_up_the_retry_table_anew(only: str) -> None:
    subscription = make_subscription(topics=["*"])
    delivery = make_delivery(subscription=subscription, state="failed", attempts_made=10)
    delivery.event.routed_at = timezone.now()
    delivery.event.save()
    make_replay(subscription=subscription, only=only, until=timezone.now() + timedelta(minutes=1))
    replaying.process_batch(now=timezone.now())
    delivery.refresh_from_db()
    assert (delivery.state, delivery.table_attempts) == ("pending", 0)
    assert automatic_attempts_to_the_end(delivery, now=timezone.now()) == 10


@pytest.mark.parametrize(
    ("fields", "gives"),
    [
        ({"state": "pending", "attempts_made": 3}, (7, False)),
        ({"state": "failed", "attempts_made": 10}, (9, True)),
        ({"state": "delivered", "attempts_made": 1}, (9, True)),
        ({"state": "pending", "trigger": "manual", "attempts_made": 0}, (9, True)),
    ],
)
def test_what_a_redelivery_causes_can_be_said_before_it(fields, gives) -> None:
    given = sending.redelivery_of(make_delivery(**fields))
    assert (given.automatic_left, given.begins_anew) == gives
