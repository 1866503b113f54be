"""Metric totals: what workers count for Prometheus, by which topic, outcome and bucket, and what they leave out."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orderhooks import sending
from orderhooks.models import AttemptStats, CaptureFailure, Delivery, MetricTotal
from orderhooks.models.attempt_stats import StatsBuffer
from orderhooks.models.metric_totals import KINDS, LONGER, kind_of
from orderhooks.transport import Outcome
from tests.factories import claim, make_delivery, make_event, make_subscription

NOW = datetime(2026, 11, 23, 10, 17, 5, 123, tzinfo=UTC)


def counted(metric: str) -> dict[tuple[str, str, int], int]:
    rows = MetricTotal.objects.filter(metric=metric).values_list("topic", "outcome", "up_to_ms", "count")
    return {(topic, outcome, bound): count for topic, outcome, bound, count in rows}


def written(*attempts: tuple[Delivery, Outcome], started_at: datetime | None = None) -> None:
    stats = StatsBuffer()
    for delivery, outcome in attempts:
        stats.add(delivery, outcome, now=NOW, started_at=started_at)
    stats.write()


@pytest.mark.parametrize(
    ("status_code", "error", "kind"),
    [
        (200, "", "2xx"),
        (301, "status", "3xx"),
        (404, "status", "4xx"),
        (503, "status", "5xx"),
        (101, "status", "other"),
        (None, "timeout", "timeout"),
        (None, "dns", "dns"),
        (200, "too_large", "too_large"),
        (None, "filtered", "filtered"),
        (None, "of a release to come", "other"),
    ],
)
def test_the_kinds_of_outcomes(status_code: int | None, error: str, kind: str) -> None:
    assert kind_of(Outcome(status_code=status_code, error=error)) == kind
    assert kind in KINDS


def test_every_kind_fits_its_column() -> None:
    column = MetricTotal._meta.get_field("outcome")
    assert max(map(len, KINDS)) <= column.max_length  # type: ignore[operator]


@pytest.mark.django_db
class TestTotals:
    def test_attempts_are_counted_by_topic_outcome_and_duration(self) -> None:
        paid, updated = make_delivery(), make_delivery(event=make_event(topic="order.updated"))
        ok, down = Outcome(status_code=200, duration_ms=10), Outcome(503, error="status", duration_ms=99_000)
        written((paid, ok), (paid, Outcome(status_code=200, duration_ms=11)), (updated, down))
        written((paid, ok))
        assert counted("attempt") == {
            ("order.paid", "2xx", 10): 2,
            ("order.paid", "2xx", 25): 1,
            ("order.updated", "5xx", LONGER): 1,
        }
        assert sum(MetricTotal.objects.filter(topic="order.paid").values_list("total_ms", flat=True)) == 31

    @pytest.mark.parametrize(
        ("state", "expected"),
        [("delivered", {("order.paid", "delivered", 0): 1}), ("failed", {("order.paid", "failed", 0): 1})]
        + [(state, {}) for state in ("pending", "skipped")],
    )
    def test_deliveries_are_counted_when_an_attempt_ends_them(self, state: str, expected: dict[Any, int]) -> None:
        written((make_delivery(state=state), Outcome(status_code=200)))
        assert counted("ended") == expected

    @pytest.mark.parametrize(
        ("fields", "error", "bound"),
        [
            ({"attempts_made": 1}, "", 2500),
            ({"attempts_made": 1}, "timeout", 2500),  # how it ended does not matter
            ({"attempts_made": 2}, "", None),
            ({"attempts_made": 1, "trigger": "manual"}, "", None),
            ({"attempts_made": 1, "requested_by": "replay rpl_1"}, "", None),
            ({"attempts_made": 1}, "internal", None),  # when it began is not known
            ({"attempts_made": 1}, "filtered", None),
        ],
    )
    def test_the_delay_is_that_of_first_attempts(self, fields, error: str, bound: int | None) -> None:
        delivery = make_delivery(event=make_event(occurred_at=NOW), **fields)
        written((delivery, Outcome(error=error)), started_at=NOW + timedelta(seconds=2))
        assert counted("first_attempt") == ({} if bound is None else {("order.paid", "", bound): 1})

    def test_an_update_that_waits_for_an_interval_is_not_late(self) -> None:
        subscription = make_subscription(update_interval_seconds=60)
        delivery = make_delivery(event=make_event(occurred_at=NOW), subscription=subscription, attempts_made=1)
        written((delivery, Outcome()), started_at=NOW + timedelta(seconds=2))
        assert counted("first_attempt") == {}

    def test_clocks_that_differ_make_no_negative_delay(self) -> None:
        delivery = make_delivery(event=make_event(occurred_at=NOW), attempts_made=1)
        written((delivery, Outcome()), started_at=NOW - timedelta(seconds=2))
        assert counted("first_attempt") == {("order.paid", "", 50): 1}
        assert MetricTotal.objects.get(metric="first_attempt").total_ms == 0

    def test_tests_of_endpoints_do_not_count(self) -> None:
        written((make_delivery(trigger="test", attempts_made=1), Outcome(status_code=200)), started_at=NOW)
        assert not MetricTotal.objects.exists()

    def test_topics_that_the_catalogue_does_not_have_are_one(self) -> None:
        gone, too = (make_delivery(event=make_event(topic=f"order.gone_{number}")) for number in (1, 2))
        written((gone, Outcome(status_code=200)), (too, Outcome(status_code=200)))
        assert counted("attempt") == {("other", "2xx", 10): 2}

    def test_a_wrong_setting_stops_no_worker(self, settings) -> None:
        settings.ORDERHOOKS = {**settings.ORDERHOOKS, "TOPICS": 3}
        written((make_delivery(), Outcome(status_code=200)))
        assert counted("attempt") == {("order.paid", "2xx", 10): 1}

    def test_what_could_not_be_written_waits(self, monkeypatch) -> None:
        stats = StatsBuffer()
        stats.add(make_delivery(), Outcome(status_code=200), now=NOW)
        with monkeypatch.context() as patch:
            patch.setattr("orderhooks.models.metric_totals._add", lambda _rows: (_ for _ in ()).throw(RuntimeError))
            with pytest.raises(RuntimeError):
                stats.write()
        stats.write()
        stats.write()
        assert counted("attempt") == {("order.paid", "2xx", 10): 1}
        assert AttemptStats.objects.get().count == 1

    def test_many_rows_are_written_all_or_none(self, monkeypatch) -> None:
        monkeypatch.setattr("orderhooks.models.metric_totals.ROWS_AT_ONCE", 1)
        stats = StatsBuffer()
        delivery = make_delivery()
        for duration_ms in (1, 20, 40):
            stats.add(delivery, Outcome(status_code=200, duration_ms=duration_ms), now=NOW)
        stats.write()
        assert sorted(counted("attempt").values()) == [1, 1, 1]

    def test_a_capture_failure_is_counted_for_good(self, django_capture_on_commit_callbacks) -> None:
        with django_capture_on_commit_callbacks(execute=True):
            for number in (1, 2):
                CaptureFailure.objects.record(source="orderhooks", order_pk=str(number), error="KeyError: x")
        CaptureFailure.objects.all().delete()
        assert counted("capture_failure") == {("", "", 0): 2}


@pytest.mark.django_db
def test_only_recorded_attempts_count() -> None:
    make_delivery()
    [delivery] = claim()
    delivery.lease_token = "00000000-0000-4000-8000-000000000001"
    stats = StatsBuffer()
    sending.record([sending.Sent(delivery, {}, NOW, Outcome(status_code=200))], now=NOW, stats=stats)
    stats.write()
    assert not MetricTotal.objects.exists()
