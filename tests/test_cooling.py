"""Note [Cooling]: an endpoint that is overloaded or away rests, is probed, and gets its backlog at a rising rate."""

from datetime import timedelta

import pytest
from django.utils import timezone

from orderhooks import operations, sending
from orderhooks.models import Delivery, Subscription
from orderhooks.models.subscriptions import LONGEST_COOLING_SECONDS, RAMP_TOP
from orderhooks.sending import claiming
from orderhooks.transport import Outcome
from tests.factories import claim, make_delivery, make_subscription

pytestmark = pytest.mark.django_db(transaction=True)

NOW = timezone.now()
AWAY = Outcome(status_code=503, error="status", detail="busy")
FINE = Outcome(status_code=200)


def answer(deliveries: list[Delivery], outcome: Outcome, *, now=NOW) -> None:
    sending.record([sending.Sent(delivery, {}, now, outcome) for delivery in deliveries], now=now)


@pytest.mark.parametrize(
    ("outcome", "cools"),
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
def test_what_cools_an_endpoint(outcome: Outcome, cools: bool) -> None:
    subscription = make_subscription()
    make_delivery(subscription=subscription)
    answer(claim(), outcome)
    subscription.refresh_from_db()
    assert (subscription.cooling_until is not None) is cools


def test_nothing_automatic_is_sent_while_it_cools_and_then_one_probe() -> None:
    subscription = make_subscription()
    for _ in range(6):
        make_delivery(subscription=subscription)
    now = timezone.now()
    answer(claim(1), AWAY, now=now)
    subscription.refresh_from_db()
    until = subscription.cooling_until
    assert now < until <= now + timedelta(seconds=1.2)
    assert claim(9, now=until - timedelta(milliseconds=10)) == []
    [probe] = claim(9, now=until)
    assert claim(9, now=until) == [], "one probe goes first"
    answer([probe], AWAY, now=until)
    subscription.refresh_from_db()
    assert subscription.cooling_until > until + timedelta(seconds=1.5), "the second rest is longer"


def test_the_backlog_of_one_that_has_come_back_drains_at_a_rising_rate() -> None:
    subscription = make_subscription(ramp=1, coolings=3, cooling_until=NOW)
    for _ in range(40):
        make_delivery(subscription=subscription)
    sizes = []
    for _ in range(5):
        lot = claim(99)
        sizes.append(len(lot))
        answer(lot, FINE)
    assert sizes == [1, 2, 4, 8, 16]
    subscription.refresh_from_db()
    assert (subscription.cooling_until, subscription.coolings) == (None, 0)


def test_the_rise_ends_when_it_takes_as_much_as_anybody() -> None:
    subscription = make_subscription(ramp=RAMP_TOP)
    make_delivery(subscription=subscription)
    answer(claim(1), FINE)
    subscription.refresh_from_db()
    assert subscription.ramp is None


def test_many_failures_of_one_rest_lengthen_the_next_one_once() -> None:
    subscription = make_subscription()
    for _ in range(5):
        make_delivery(subscription=subscription)
    answer(claim(5), AWAY)
    subscription.refresh_from_db()
    assert (subscription.coolings, subscription.consecutive_failures) == (1, 5)


def test_rests_grow_up_to_the_longest() -> None:
    subscription = Subscription()
    now = NOW
    for _ in range(200):
        subscription.cool(now=now, dice=0.5)
        rest = (subscription.cooling_until - now).total_seconds()
        now = subscription.cooling_until
    assert rest == LONGEST_COOLING_SECONDS


def test_rests_are_spread_so_that_endpoints_do_not_come_back_together() -> None:
    early, late = Subscription(), Subscription()
    early.cool(now=NOW, dice=0.0)
    late.cool(now=NOW, dice=1.0)
    assert (late.cooling_until - NOW) / (early.cooling_until - NOW) == pytest.approx(1.5)


def test_retry_after_lengthens_the_rest() -> None:
    subscription = make_subscription()
    make_delivery(subscription=subscription)
    answer(claim(), Outcome(status_code=429, error="status", response_headers={"Retry-After": "120"}))
    subscription.refresh_from_db()
    assert subscription.cooling_until == NOW + timedelta(seconds=120)


@pytest.mark.parametrize("asked", ["99999999", "Fri, 31 Dec 9999 23:59:59 -2359"])
def test_retry_after_lengthens_the_rest_by_a_day_at_most(asked: str) -> None:
    subscription = make_subscription()
    make_delivery(subscription=subscription)
    answer(claim(), Outcome(status_code=503, error="status", response_headers={"Retry-After": asked}))
    subscription.refresh_from_db()
    assert subscription.cooling_until == NOW + timedelta(days=1)


def test_what_a_person_asks_for_goes_out_though_it_cools_and_does_not_change_health() -> None:
    subscription = make_subscription(cooling_until=NOW + timedelta(hours=1), ramp=1, coolings=4)
    make_delivery(subscription=subscription)
    asked = make_delivery(subscription=subscription, state="failed")
    operations.redeliver(Delivery.objects.filter(pk=asked.pk))
    [claimed] = claim(9)
    assert claimed.pk == asked.pk
    answer([claimed], AWAY)
    subscription.refresh_from_db()
    assert (subscription.coolings, subscription.consecutive_failures) == (4, 0)


def test_what_a_person_asks_for_goes_first() -> None:
    subscription = make_subscription()
    make_delivery(subscription=subscription, next_attempt_at=NOW - timedelta(hours=1))
    make_delivery(subscription=subscription, trigger="manual")
    assert [one.trigger for one in claiming.due(now=timezone.now())] == ["manual", "automatic"]
    assert [one.trigger for one in claim(9)] == ["manual", "automatic"]


def test_a_resumed_subscription_does_not_go_on_cooling() -> None:
    subscription = make_subscription(state="disabled", cooling_until=NOW + timedelta(hours=1), ramp=1, coolings=9)
    operations.resume(Subscription.objects.filter(pk=subscription.pk))
    subscription.refresh_from_db()
    assert (subscription.cooling_until, subscription.coolings) == (None, 0)
    assert subscription.ramp == 1, "a probe goes first"


def test_a_lone_success_among_failures_does_not_hide_that_it_was_failing() -> None:
    subscription = make_subscription(consecutive_failures=7, failing_since=NOW - timedelta(days=1))
    make_delivery(subscription=subscription)
    answer(claim(), FINE)
    subscription.refresh_from_db()
    assert (subscription.consecutive_failures, subscription.failing_since) == (0, None)
    assert subscription.last_success_at == NOW
