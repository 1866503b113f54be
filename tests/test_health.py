"""Health: a subscription's last day in numbers, and in a word."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orderhooks import sending
from orderhooks.models import Subscription
from orderhooks.reporting import attempt_stats
from orderhooks.reporting.attempt_stats import day_stats, unhealthy
from orderhooks.reporting.endpoint_health import health_of
from orderhooks.transport import Outcome
from tests.factories import claim, make_attempt_stats, make_delivery, make_subscription

NOW = timezone.now()
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("fields", "health"),
    [
        ({}, "active"),
        ({"last_success_at": NOW, "circuit_open_until": NOW - HOUR}, "active"),
        ({"failing_since": NOW}, "failing"),
        ({"failing_since": NOW, "circuit_open_until": NOW + HOUR}, "circuit_open"),
        ({"failing_since": NOW, "state": "paused"}, "paused"),
        ({"failing_since": NOW, "circuit_open_until": NOW + HOUR, "state": "disabled"}, "disabled"),
    ],
)
def test_a_subscription_in_a_word(fields, health) -> None:
    assert health_of(Subscription(**fields), now=NOW) == health


@pytest.mark.django_db
class TestHealthOf:
    def test_the_last_day_hour_by_hour(self) -> None:
        one, other, idle = (make_subscription() for _ in range(3))
        make_attempt_stats(one, 8, at=NOW)
        make_attempt_stats(one, 1, at=NOW, outcome="5xx")
        make_attempt_stats(one, 1, at=NOW, outcome="timeout")
        make_attempt_stats(one, 10, at=NOW - 23 * HOUR, bucket=9)
        make_attempt_stats(one, 99, at=NOW - 24 * HOUR)
        make_attempt_stats(other, 5, at=NOW, outcome="4xx")
        found = day_stats([one, other, idle], now=NOW)
        assert (found[one.pk].succeeded, found[one.pk].failed, found[one.pk].success_rate) == (18, 2, 0.9)
        assert [(hour.succeeded, hour.failed) for hour in found[one.pk].hours] == [(10, 0), *[(0, 0)] * 22, (8, 2)]
        assert found[other.pk].success_rate == 0.0
        assert found[idle.pk].success_rate is None
        assert len(found[idle.pk].hours) == 24

    def test_what_waits_is_counted_up_to_a_bound(self, monkeypatch) -> None:
        monkeypatch.setattr(attempt_stats, "MOST_COUNTED", 3)
        some, many, none = (make_subscription() for _ in range(3))
        for subscription, count in ((some, 3), (many, 4)):
            for _ in range(count):
                make_delivery(subscription=subscription)
        make_delivery(subscription=none, state="delivered")
        found = day_stats([some, many, none], now=NOW)
        assert [found[one.pk].waiting for one in (some, many, none)] == [3, 4, 0]

    def test_two_queries_for_any_number(self) -> None:
        subscriptions = [make_delivery().subscription for _ in range(9)]
        with CaptureQueriesContext(connection) as captured:
            day_stats(subscriptions, now=NOW)
        assert len(captured) == 2


@pytest.mark.django_db
class TestUnwell:
    def test_the_worst_come_first_and_who_is_well_not_at_all(self) -> None:
        make_attempt_stats(make_subscription(name="well"), 100)
        make_attempt_stats(make_subscription(name="some failed"), 5, outcome="5xx")
        make_attempt_stats(make_subscription(name="many failed"), 50, outcome="timeout")
        make_attempt_stats(make_subscription(name="long ago"), 50, at=NOW - 25 * HOUR, outcome="5xx")
        make_subscription(name="failing", failing_since=NOW)
        make_subscription(name="paused", state="paused")
        make_subscription(name="disabled", state="disabled", failing_since=NOW)
        names = ["disabled", "failing", "paused", "many failed", "some failed"]
        assert [one.name for one in unhealthy(now=NOW, at_most=10)] == names
        assert [one.name for one in unhealthy(now=NOW, at_most=2)] == names[:2]


@pytest.mark.django_db(transaction=True)
def test_the_last_error_is_kept_in_words_also_when_it_has_recovered() -> None:
    subscription = make_subscription()
    for outcome in (Outcome(status_code=503, error="status", detail="The endpoint responded with 503."), Outcome(200)):
        make_delivery(subscription=subscription)
        Subscription.objects.update(circuit_open_until=None, slow_start_limit=None)
        sending.record([sending.Sent(one, {}, NOW, outcome) for one in claim()], now=NOW)
    subscription.refresh_from_db()
    assert (subscription.last_failure, subscription.last_failure_at) == ("The endpoint responded with 503.", NOW)
    assert subscription.last_success_at == NOW
