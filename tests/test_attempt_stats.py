"""Attempt statistics: what is counted as what, how times become percentiles, and what the worker writes when."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.db.models import Sum
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orderhooks import retention, sending, tasks
from orderhooks.models import AttemptStats, Subscription
from orderhooks.models.attempt_stats import BOUNDS, StatsBuffer, bucket_of, first_hour, hour_of, outcome_of, percentile
from orderhooks.transport import Outcome
from tests.factories import claim, cutoffs_at, make_delivery, make_subscription
from tests.receivers import Answer, RecordingReceiver

NOW = datetime(2026, 11, 23, 10, 17, 5, 123, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("status_code", "error", "outcome"),
    [
        (200, "", "2xx"),
        (204, "", "2xx"),
        (301, "status", "3xx"),
        (404, "status", "4xx"),
        (410, "status", "4xx"),
        (503, "status", "5xx"),
        (101, "status", "other"),
        (700, "status", "other"),
        (200, "too_large", "other"),
        (None, "timeout", "timeout"),
        (None, "connect_timeout", "timeout"),
        (None, "refused", "other"),
        (None, "internal", "other"),
    ],
)
def test_what_an_attempt_counts_as(status_code: int | None, error: str, outcome: str) -> None:
    assert outcome_of(status_code, error) == outcome


@pytest.mark.parametrize(
    ("duration_ms", "bucket"), [(0, 0), (1, 1), (2, 3), (3, 4), (4, 5), (1000, 20), (60_000, 32), (70_000, 33)]
)
def test_a_time_falls_into_a_bucket(duration_ms: int, bucket: int) -> None:
    assert bucket_of(duration_ms) == bucket


def test_the_buckets_reach_from_a_millisecond_to_a_minute() -> None:
    assert BOUNDS[0] == 1
    assert BOUNDS[-1] >= 60_000
    for step in range(len(BOUNDS) - 1):
        assert BOUNDS[step + 1] / BOUNDS[step] == pytest.approx(2**0.5)


@pytest.mark.parametrize(
    ("counts", "share", "expected"),
    [
        ({}, 0.5, None),
        ({3: 0}, 0.5, None),
        ({0: 10}, 0.5, 0.5),  # half of those below 1 ms take less than half of it
        ({3: 4}, 0.5, 2 + (8**0.5 - 2) * 0.5),
        ({3: 4}, 1.0, 8**0.5),
        ({3: 4}, 0.0, 2.0),
        ({3: 95, 20: 5}, 0.5, 2 + (8**0.5 - 2) * 50 / 95),
        ({3: 95, 21: 5}, 0.95, 8**0.5),
        ({3: 90, 21: 10}, 0.95, 1024 + (2**10.5 - 1024) * 0.5),
        ({33: 1}, 0.5, 65_536.0),  # longer than a minute: no more is known
    ],
)
def test_percentiles(counts: dict[int, int], share: float, expected: float | None) -> None:
    assert percentile(counts, share) == (None if expected is None else pytest.approx(expected))


def test_a_percentile_is_off_by_less_than_a_bucket() -> None:
    times = sorted([3, 8, 9, 21, 40, 41, 42, 350, 4000, 15_000] * 10)
    counts: dict[int, int] = {}
    for time in times:
        counts[bucket_of(time)] = counts.get(bucket_of(time), 0) + 1
    for share in (0.05, 0.35, 0.65, 0.95):
        assert percentile(counts, share) == pytest.approx(times[int(share * len(times))], rel=0.42)


def test_the_running_hour_is_the_last_of_the_day() -> None:
    assert first_hour(now=NOW, hours=24) == datetime(2026, 11, 22, 11, tzinfo=UTC)
    assert hour_of(NOW) == datetime(2026, 11, 23, 10, tzinfo=UTC)


def attempt_stats() -> dict[tuple[int, str], int]:
    rows = AttemptStats.objects.values_list("subscription", "outcome").annotate(Sum("count"))
    return {(subscription, outcome): count for subscription, outcome, count in rows}


@pytest.mark.django_db
class TestCounts:
    def test_they_are_added_up_in_each_table_with_one_statement(self) -> None:
        one, other = make_delivery(), make_delivery()
        stats = StatsBuffer()
        for delivery in (other, one, one):
            stats.add(delivery, Outcome(status_code=200, duration_ms=10), now=NOW)
        stats.add(one, Outcome(error="timeout", duration_ms=15_000), now=NOW + HOUR)
        with CaptureQueriesContext(connection) as captured:
            stats.write()
        assert len(captured) == 2
        stats.add(one, Outcome(status_code=200, duration_ms=10), now=NOW)
        stats.write()
        assert set(AttemptStats.objects.values_list("subscription", "hour", "outcome", "bucket", "count")) == {
            (one.subscription_id, hour_of(NOW), "2xx", bucket_of(10), 3),
            (one.subscription_id, hour_of(NOW) + HOUR, "timeout", bucket_of(15_000), 1),
            (other.subscription_id, hour_of(NOW), "2xx", bucket_of(10), 1),
        }

    def test_tests_do_not_count_and_nothing_counted_is_nothing_written(self) -> None:
        stats = StatsBuffer()
        stats.add(make_delivery(trigger="test"), Outcome(status_code=200), now=NOW)
        with CaptureQueriesContext(connection) as captured:
            stats.write()
        assert len(captured) == 0

    def test_what_could_not_be_written_waits(self, monkeypatch) -> None:
        stats = StatsBuffer()
        stats.add(make_delivery(), Outcome(status_code=200), now=NOW)
        with monkeypatch.context() as patch, pytest.raises(RuntimeError):
            patch.setattr("orderhooks.models.attempt_stats._add", lambda _rows: (_ for _ in ()).throw(RuntimeError))
            stats.write()
        stats.write()
        assert sum(attempt_stats().values()) == 1

    def test_a_subscription_that_was_deleted_meanwhile_is_in_nobodys_way(self) -> None:
        gone, there = make_delivery(), make_delivery()
        stats = StatsBuffer()
        for delivery in (gone, there):
            stats.add(delivery, Outcome(status_code=200), now=NOW)
        Subscription.objects.get(pk=gone.subscription_id).delete()
        stats.write()
        assert attempt_stats()[there.subscription_id, "2xx"] == 1


@pytest.mark.django_db(transaction=True)
class TestAWorker:
    def test_it_counts_what_it_sends_by_outcome(self, receiver: RecordingReceiver) -> None:
        subscription = make_subscription(url=receiver.url)
        receiver.answer = lambda count: Answer(200 if count < 3 else 500)
        for trigger in ("automatic", "manual", "automatic"):
            make_delivery(subscription=subscription, trigger=trigger)
        tasks.pump()
        assert attempt_stats() == {(subscription.pk, "2xx"): 2, (subscription.pk, "5xx"): 1}

    def test_it_counts_only_what_it_could_record(self) -> None:
        make_delivery()
        [delivery] = claim()
        delivery.lease_token = "00000000-0000-4000-8000-000000000001"
        stats = StatsBuffer()
        sending.record([sending.Sent(delivery, {}, NOW, Outcome(status_code=200))], now=NOW, stats=stats)
        stats.write()
        assert attempt_stats() == {}

    def test_it_counts_what_a_dead_worker_was_sending(self) -> None:
        delivery = make_delivery(state="sending", attempts_made=1, lease_expires_at=timezone.now() - HOUR)
        tasks.pump()
        assert attempt_stats() == {(delivery.subscription_id, "other"): 1}


@pytest.mark.django_db(transaction=True)
def test_old_statistics_are_pruned() -> None:
    subscription = make_subscription()
    for days in (100, 1):
        hour = hour_of(timezone.now()) - timedelta(days=days)
        AttemptStats.objects.create(subscription=subscription, hour=hour, outcome="2xx", bucket=1, count=1)
    assert retention.prune(before=cutoffs_at(timezone.now() - timedelta(days=90))) == 1
    assert AttemptStats.objects.count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize("kind", ["filter", "projection", "version", "format"])
def test_what_failed_before_a_request_does_not_lower_the_endpoints_rate(kind: str) -> None:
    stats = StatsBuffer()
    stats.add(make_delivery(), Outcome(error=kind), now=NOW)
    stats.write()
    assert attempt_stats() == {}
