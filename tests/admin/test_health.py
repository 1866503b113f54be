"""The subscription list says how each endpoint is doing, at the cost of two queries."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orderhooks.admin.health import rate
from orderhooks.reporting import attempt_stats
from orderhooks.reporting.attempt_stats import DayStats, HourStats
from tests.admin.visits import page, staff
from tests.factories import make_attempt_stats, make_delivery, make_subscription

pytestmark = pytest.mark.django_db

NOW = timezone.now()
HOUR = timedelta(hours=1)
HALF_AN_HOUR = timedelta(minutes=30)


@pytest.mark.parametrize(
    ("fields", "level", "words"),
    [
        ({}, "good", "active"),
        ({"failing_since": -3 * HOUR - timedelta(minutes=1)}, "bad", "failing for 3 h 1 min"),
        ({"circuit_open_until": 4 * HOUR + HALF_AN_HOUR}, "bad", "cooling down for 4 h 30 min more"),
        ({"state": "paused"}, "held", "paused"),
        ({"state": "disabled", "failing_since": NOW}, "bad", "disabled"),
    ],
)
def test_each_health_in_words(operator, fields, level, words) -> None:
    # Spans from now on, not from when this file was read.
    now = timezone.now()
    make_subscription(**{name: now + one if isinstance(one, timedelta) else one for name, one in fields.items()})
    assert f'<span class="orderhooks-badge orderhooks-{level}">{words}</span>' in page(operator, "subscription/")


def test_rate_last_success_last_error_waiting_and_chart(operator, monkeypatch) -> None:
    monkeypatch.setattr(attempt_stats, "MOST_COUNTED", 1)
    monkeypatch.setattr("orderhooks.admin.health.MOST_COUNTED", 1)
    # Spans from now on, not from when this file was read.
    now = timezone.now()
    subscription = make_subscription(
        last_success_at=now - 2 * HOUR, last_failure="The endpoint responded with 503.", last_failure_at=now - 5 * HOUR
    )
    make_attempt_stats(subscription, 9)
    make_attempt_stats(subscription, 1, outcome="5xx")
    for _ in range(2):
        make_delivery(subscription=subscription)
    text = page(operator, "subscription/").replace("\xa0", " ")
    for words in ("90.0 %", "2 h 0 min ago", "The endpoint responded with 503.", "5 h 0 min ago", ">1+</a>"):
        assert words in text
    assert "Last 24 hours: 9 attempts succeeded, 1 failed" in text
    assert f"?subscription__id__exact={subscription.pk}&amp;state__exact=pending" in text


def test_a_subscription_that_has_sent_nothing(operator) -> None:
    make_subscription()
    text = page(operator, "subscription/")
    assert "Last 24 hours: 0 attempts succeeded, 0 failed" in text
    assert '<td class="field-success_rate">-</td>' in text


def test_what_a_receiver_said_is_shown_and_not_run(operator) -> None:
    make_subscription(last_failure="<script>alert(1)</script>", last_failure_at=NOW)
    text = page(operator, "subscription/")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "<script>alert(1)" not in text


def test_it_takes_the_same_queries_however_long(operator) -> None:
    def grow(count: int) -> int:
        for _ in range(count):
            make_attempt_stats(make_delivery().subscription)
        page(operator, "subscription/")
        with CaptureQueriesContext(connection) as captured:
            page(operator, "subscription/")
        return len(captured)

    assert grow(2) == grow(7)


def test_who_may_only_view_sees_it(operator) -> None:
    make_subscription(state="paused")
    assert "orderhooks-held" in page(staff("view_subscription"), "subscription/")


@pytest.mark.parametrize(
    ("succeeded", "failed", "text"),
    [(0, 0, "-"), (10, 0, "100 %"), (0, 10, "0.0 %"), (2, 1, "66.7 %"), (99_999, 1, "99.9 %")],
)
def test_a_rate_is_whole_only_if_nothing_failed(succeeded: int, failed: int, text: str) -> None:
    assert rate(DayStats((HourStats(NOW, succeeded, failed),))) == text


def test_one_that_its_receiver_has_disabled_shows_why(operator) -> None:
    make_subscription(state="disabled", state_reason="The receiver asked to be disabled.")
    for path in ("subscription/", "dashboard/"):
        assert "The receiver asked to be disabled." in page(operator, path)
