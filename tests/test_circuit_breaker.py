"""Note [Circuit breaker]: an endpoint that is overloaded or away is left alone, is probed, then recovers slowly."""

from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from orderhooks import operations, sending
from orderhooks.models import Delivery, Subscription
from orderhooks.models.circuit_breaker import LONGEST_OPEN_SECONDS, SLOW_START_TOP, after_successes, open_seconds
from orderhooks.sending import claiming
from orderhooks.transport import Outcome
from tests.factories import claim, make_delivery, make_subscription

pytestmark = pytest.mark.django_db(transaction=True)

NOW = timezone.now()
AWAY = Outcome(status_code=503, error="status", detail="busy")
FINE = Outcome(status_code=200)


def closes_at(subscription: Subscription) -> datetime:
    assert subscription.circuit_open_until is not None, "the circuit is closed"
    return subscription.circuit_open_until


def answer(deliveries: list[Delivery], outcome: Outcome, *, now=NOW) -> None:
    sending.record([sending.Sent(delivery, {}, now, outcome) for delivery in deliveries], now=now)


@pytest.mark.parametrize(
    ("outcome", "opens"),
    [
        *[
            (Outcome(status_code=status, error="status"), True)
            for status in (408, 429, 502, 503, 504, 520, 521, 522, 523, 524)
        ],
        *[(Outcome(error=error), True) for error in ("timeout", "connect_timeout", "refused", "dns", "tls", "reset")],
        *[(Outcome(status_code=status, error="status"), False) for status in (400, 404, 500)],
        *[(Outcome(error=error), False) for error in ("protocol", "blocked", "too_large", "internal")],
        (FINE, False),
    ],
)
def test_what_opens_the_circuit(outcome: Outcome, opens: bool) -> None:
    subscription = make_subscription()
    make_delivery(subscription=subscription)
    answer(claim(), outcome)
    subscription.refresh_from_db()
    assert (subscription.circuit_open_until is not None) is opens


def test_nothing_automatic_is_sent_while_the_circuit_is_open_and_then_one_probe() -> None:
    subscription = make_subscription()
    for _ in range(6):
        make_delivery(subscription=subscription)
    now = timezone.now()
    answer(claim(1), AWAY, now=now)
    subscription.refresh_from_db()
    until = closes_at(subscription)
    assert now < until <= now + timedelta(seconds=1.2)
    assert claim(9, now=until - timedelta(milliseconds=10)) == []
    [probe] = claim(9, now=until)
    assert claim(9, now=until) == [], "one probe goes first"
    answer([probe], AWAY, now=until)
    subscription.refresh_from_db()
    assert closes_at(subscription) > until + timedelta(seconds=1.5), "the second pause is longer"


def test_the_backlog_of_one_that_has_come_back_drains_at_a_rising_rate() -> None:
    subscription = make_subscription(slow_start_limit=1, circuit_openings=3, circuit_open_until=NOW)
    for _ in range(40):
        make_delivery(subscription=subscription)
    sizes = []
    for _ in range(5):
        lot = claim(99)
        sizes.append(len(lot))
        answer(lot, FINE)
    assert sizes == [1, 2, 4, 8, 16]
    subscription.refresh_from_db()
    assert (subscription.circuit_open_until, subscription.circuit_openings) == (None, 0)


def test_the_rise_ends_when_it_takes_as_much_as_anybody() -> None:
    subscription = make_subscription(slow_start_limit=SLOW_START_TOP)
    make_delivery(subscription=subscription)
    answer(claim(1), FINE)
    subscription.refresh_from_db()
    assert subscription.slow_start_limit is None


def test_many_failures_of_one_rest_lengthen_the_next_one_once() -> None:
    subscription = make_subscription()
    for _ in range(5):
        make_delivery(subscription=subscription)
    answer(claim(5), AWAY)
    subscription.refresh_from_db()
    assert (subscription.circuit_openings, subscription.consecutive_failures) == (1, 5)


def test_rests_grow_up_to_the_longest() -> None:
    subscription = Subscription()
    now = NOW
    for _ in range(200):
        subscription.open_circuit(now=now, jitter=0.5)
        rest = (closes_at(subscription) - now).total_seconds()
        now = closes_at(subscription)
    assert rest == LONGEST_OPEN_SECONDS


def test_rests_are_spread_so_that_endpoints_do_not_come_back_together() -> None:
    early, late = Subscription(), Subscription()
    early.open_circuit(now=NOW, jitter=0.0)
    late.open_circuit(now=NOW, jitter=1.0)
    assert (closes_at(late) - NOW) / (closes_at(early) - NOW) == pytest.approx(1.5)


def test_retry_after_lengthens_the_rest() -> None:
    subscription = make_subscription()
    make_delivery(subscription=subscription)
    answer(claim(), Outcome(status_code=429, error="status", response_headers={"Retry-After": "120"}))
    subscription.refresh_from_db()
    assert subscription.circuit_open_until == NOW + timedelta(seconds=120)


@pytest.mark.parametrize("asked", ["99999999", "Fri, 31 Dec 9999 23:59:59 -2359"])
def test_retry_after_lengthens_the_rest_by_a_day_at_most(asked: str) -> None:
    subscription = make_subscription()
    make_delivery(subscription=subscription)
    answer(claim(), Outcome(status_code=503, error="status", response_headers={"Retry-After": asked}))
    subscription.refresh_from_db()
    assert subscription.circuit_open_until == NOW + timedelta(days=1)


def test_a_manual_attempt_goes_out_through_an_open_circuit_and_does_not_change_health() -> None:
    subscription = make_subscription(
        circuit_open_until=NOW + timedelta(hours=1), slow_start_limit=1, circuit_openings=4
    )
    make_delivery(subscription=subscription)
    asked = make_delivery(subscription=subscription, state="failed")
    operations.redeliver(Delivery.objects.filter(pk=asked.pk))
    [claimed] = claim(9)
    assert claimed.pk == asked.pk
    answer([claimed], AWAY)
    subscription.refresh_from_db()
    assert (subscription.circuit_openings, subscription.consecutive_failures) == (4, 0)


def test_a_manual_attempt_goes_first() -> None:
    subscription = make_subscription()
    make_delivery(subscription=subscription, next_attempt_at=NOW - timedelta(hours=1))
    make_delivery(subscription=subscription, trigger="manual")
    assert [one.trigger for one in claiming.due(now=timezone.now())] == ["manual", "automatic"]
    assert [one.trigger for one in claim(9)] == ["manual", "automatic"]


def test_resuming_closes_the_circuit() -> None:
    subscription = make_subscription(
        state="disabled", circuit_open_until=NOW + timedelta(hours=1), slow_start_limit=1, circuit_openings=9
    )
    operations.resume(Subscription.objects.filter(pk=subscription.pk))
    subscription.refresh_from_db()
    assert (subscription.circuit_open_until, subscription.circuit_openings) == (None, 0)
    assert subscription.slow_start_limit == 1, "a probe goes first"


def test_a_lone_success_among_failures_does_not_hide_that_it_was_failing() -> None:
    subscription = make_subscription(consecutive_failures=7, failing_since=NOW - timedelta(days=1))
    make_delivery(subscription=subscription)
    answer(claim(), FINE)
    subscription.refresh_from_db()
    assert (subscription.consecutive_failures, subscription.failing_since) == (0, None)
    assert subscription.last_success_at == NOW


@pytest.mark.parametrize(
    ("openings", "jitter", "seconds"), [(1, 0.5, 1), (2, 0.5, 2), (5, 0.0, 12.8), (9, 0.5, 256), (10, 1.0, 360)]
)
def test_how_long_a_circuit_stays_open(openings: int, jitter: float, seconds: float) -> None:
    assert open_seconds(openings, jitter=jitter) == pytest.approx(seconds)


@pytest.mark.parametrize(("limit", "successes", "expected"), [(1, 1, 2), (64, 64, 128), (128, 1, None)])
def test_how_a_slow_start_rises(limit: int, successes: int, expected: int | None) -> None:
    assert after_successes(limit, successes) == expected
