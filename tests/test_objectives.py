"""Objectives: what counts, what comes of the counts, and who reads it."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orderhooks import backfilling, operations, replaying, reporting, retention, routing, tasks
from orderhooks.models import Delivery, ObjectiveStats, Subscription
from orderhooks.models.attempt_stats import StatsBuffer
from orderhooks.models.objective_stats import FINE, HOURLY, KEEP_FINE, begins_at
from orderhooks.reporting import objectives
from orderhooks.reporting.objectives import MONTH, WINDOWS, Counts, Objective, objective_problem, objective_text
from orderhooks.transport import Outcome
from tests.factories import cutoffs_at, make_delivery, make_event, make_order, make_subscription
from tests.receivers import Answer, RecordingReceiver

NOW = datetime(2026, 11, 23, 10, 17, 5, tzinfo=UTC)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
WELL, BADLY = Outcome(status_code=200), Outcome(status_code=500, error="status")


def objective(share: float = 99.0, **counts: tuple[int, int]) -> Objective:
    """`counts`: met and missed by window: `m5`, `m30`, `h1`, `h6`, `d30`."""
    names = {f"{window[-1]}{window[:-1]}": window for window in WINDOWS}
    given = {names[name]: Counts(*numbers) for name, numbers in counts.items()}
    return Objective(60, share, {window: given.get(window, Counts()) for window in WINDOWS})


class TestArithmetic:
    @pytest.mark.parametrize(
        ("met", "missed", "share", "attainment", "burn", "left"),
        [
            (0, 0, 99.0, None, 0.0, 1.0),
            (0, 0, 100.0, None, 0.0, 1.0),
            (100, 0, 99.0, 1.0, 0.0, 1.0),
            (100, 0, 100.0, 1.0, 0.0, 1.0),
            (99, 1, 100.0, 0.99, math.inf, 0.0),
            (990, 10, 99.0, 0.99, 1.0, 0.0),
            (995, 5, 99.0, 0.995, 0.5, 0.5),
            (940, 60, 99.0, 0.94, 6.0, 0.0),
            (999, 1, 99.9, 0.999, 1.0, 0.0),
            (0, 7, 99.0, 0.0, 100.0, 0.0),
            (0, 7, 1.0, 0.0, pytest.approx(1.0101, abs=1e-4), 0.0),
        ],
    )
    def test_counts_come_to(self, met: int, missed: int, share: float, attainment: Any, burn: Any, left: float) -> None:
        counts = Counts(met, missed)
        assert (counts.attainment(), counts.burn_rate(share)) == (attainment, burn)
        assert counts.budget_left(share) == left

    @pytest.mark.parametrize(
        ("share", "met", "missed", "is_missed"),
        [
            (99.0, 0, 0, False),
            (99.0, 99, 1, False),
            (99.0, 98, 2, True),
            (99.9, 999, 1, False),
            (64.1, 641, 359, False),
            (100.0, 5, 0, False),
            (100.0, 9999, 1, True),
        ],
    )
    def test_it_is_missed(self, share: float, met: int, missed: int, *, is_missed: bool) -> None:
        assert objective(share, d30=(met, missed)).is_missed is is_missed

    @pytest.mark.parametrize(
        ("counts", "burn"),
        [
            ({}, None),
            ({"h1": (80, 20), "m5": (80, 20)}, 20.0),
            ({"h1": (80, 20), "m5": (100, 0)}, None),  # it is over
            ({"h1": (0, 4), "m5": (0, 4)}, None),  # too few
            ({"h6": (93, 7), "m30": (93, 7), "h1": (93, 7), "m5": (93, 7)}, 7.0),
            ({"h6": (93, 7), "m30": (95, 5)}, None),
        ],
    )
    def test_its_budget_is_used_too_fast_as_the_rules_say(self, counts: dict[str, Any], burn: float | None) -> None:
        assert objective(**counts).fast_burn() == burn


class TestWords:
    @pytest.mark.parametrize(
        ("share", "counts", "words"),
        [
            (99.0, {}, ["99 % should arrive within 1 min.", "None was due in the last 30 days."]),
            (99.5, {"d30": (1000, 0)}, ["99.5 % should", "100 % did (1,000 of 1,000)", "100 % of its error budget"]),
            (99.0, {"d30": (1996, 4)}, ["99.8 % did (1,996 of 2,000)", "80 % of its error budget is left."]),
            (
                99.0,
                {"d30": (900, 100), "h1": (94, 6), "h6": (94, 6)},
                ["budget is used up", "last hour 94 % did: it uses its error budget 6 times too fast."],
            ),
            (
                99.0,
                {"d30": (999_999, 1), "h1": (1, 0)},
                ["99.99 % did", "hour 100 % did: its error budget lasts."],
            ),
            (100.0, {"d30": (9, 1), "h1": (9, 1)}, ["leaves no error budget", "it has no error budget to use"]),
        ],
    )
    def test_it_is_read_as(self, share: float, counts: dict[str, Any], words: list[str]) -> None:
        text = objective_text(objective(share, **counts))
        assert [one for one in words if one not in text] == [], text

    @pytest.mark.parametrize(
        ("counts", "short", "problem"),
        [
            ({}, "none was due", ""),
            ({"d30": (999, 1)}, "99.9 %", ""),
            (
                {"d30": (98, 2)},
                "missed: 98 %",
                "30 days arrived within 1 min, not 99 %.",
            ),
            (
                {"d30": (9999, 1), "h1": (5, 5), "m5": (0, 5)},
                "99.99 %, it uses its error budget 50 times too fast",
                "Now: it uses its error budget 50 times too fast.",
            ),
        ],
    )
    def test_in_short(self, counts: dict[str, Any], short: str, problem: str) -> None:
        found = objective(**counts)
        assert objectives.short_text(found) == short
        assert objective_problem(found).endswith(problem)
        assert bool(objective_problem(found)) is bool(problem)


def ended(delivery: Delivery, outcome: Outcome, *, at: datetime, state: str) -> None:
    delivery.state = state
    stats = StatsBuffer()
    stats.add(delivery, outcome, now=at)
    stats.write()


def due(*, by: datetime, **fields: Any) -> Delivery:
    return make_delivery(due_by=by, **fields)


def counted(subscription: Subscription, *, now: datetime = NOW) -> dict[str, tuple[int, int]]:
    found = objectives.objectives([subscription], now=now)[subscription.pk]
    return {window: (one.met, one.missed) for window, one in found.counts.items()}


@pytest.fixture
def endpoint(db) -> Subscription:
    return make_subscription(objective_seconds=60)


@pytest.mark.django_db
class TestCounts:
    @pytest.mark.parametrize(
        ("state", "outcome", "late", "expected"),
        [
            ("delivered", WELL, timedelta(0), (1, 0)),
            ("delivered", WELL, -MINUTE, (1, 0)),
            ("delivered", WELL, SECOND, (0, 1)),
            ("failed", BADLY, -MINUTE, (0, 1)),
            ("failed", BADLY, HOUR / 2, (0, 1)),
            ("pending", BADLY, -MINUTE, (0, 0)),
            ("skipped", BADLY, HOUR / 2, (0, 0)),
        ],
    )
    def test_a_delivery_that_ends(self, endpoint, state: str, outcome: Outcome, late: timedelta, expected) -> None:
        by = NOW - 10 * MINUTE
        ended(make_delivery(subscription=endpoint, due_by=by), outcome, at=by + late, state=state)
        Delivery.objects.update(due_by=None)
        assert counted(endpoint)["1h"] == counted(endpoint)[MONTH] == expected

    @pytest.mark.parametrize(
        ("ago", "windows"),
        [
            (MINUTE, "5m 30m 1h 6h 30d"),
            (20 * MINUTE, "30m 1h 6h 30d"),
            (50 * MINUTE, "1h 6h 30d"),
            (5 * HOUR, "6h 30d"),
            (29 * 24 * HOUR, "30d"),
            (32 * 24 * HOUR, ""),
        ],
    )
    def test_each_window_has_what_was_decided_in_it(self, endpoint, ago: timedelta, windows: str) -> None:
        ended(due(by=NOW - ago, subscription=endpoint), BADLY, at=NOW, state="failed")
        Delivery.objects.update(due_by=None)
        waits = due(by=NOW - ago, subscription=endpoint)
        found = counted(endpoint)
        assert {window: missed for window, (_met, missed) in found.items() if missed} == dict.fromkeys(
            windows.split(), 2
        )
        assert waits.state == "pending"

    @pytest.mark.parametrize(
        ("fields", "missed"),
        [
            ({"by": NOW}, 1),
            ({"by": NOW, "state": "sending"}, 1),
            ({"by": NOW + SECOND}, 0),
            # A worker of an older release left the time.
            ({"by": NOW, "state": "delivered"}, 0),
        ],
    )
    def test_one_that_waits_after_its_time_is_missed(self, endpoint, fields: dict[str, Any], missed: int) -> None:
        due(subscription=endpoint, **fields)
        assert counted(endpoint)["5m"] == (0, missed)

    def test_what_is_overdue_counts_once_when_it_ends(self, endpoint) -> None:
        late = due(by=NOW - 20 * MINUTE, subscription=endpoint)
        before = counted(endpoint)
        ended(late, WELL, at=NOW, state="delivered")
        Delivery.objects.update(due_by=None, state="delivered", finished_at=NOW)
        assert counted(endpoint) == before
        assert before["30m"] == (0, 1)

    def test_a_subscription_without_an_objective_has_none(self) -> None:
        without, other = make_subscription(), make_subscription(objective_seconds=5, objective_share=90)
        with CaptureQueriesContext(connection) as captured:
            assert objectives.objectives([without], now=NOW) == {}
        assert len(captured) == 0
        assert objectives.objectives([without, other], now=NOW).keys() == {other.pk}

    def test_the_queries_do_not_grow(self) -> None:
        def count() -> int:
            with CaptureQueriesContext(connection) as captured:
                objectives.objectives(Subscription.objects.all()[:100], now=NOW)
            return len(captured) - 1

        due(by=NOW - MINUTE, subscription=make_subscription(objective_seconds=60))
        assert count() == 4
        for _ in range(3):
            due(by=NOW - MINUTE, subscription=make_subscription(objective_seconds=60))
        assert count() == 4

    def test_what_waits_is_counted_up_to_a_bound(self, endpoint, monkeypatch) -> None:
        monkeypatch.setattr(objectives, "MOST_COUNTED", 2)
        for _ in range(4):
            due(by=NOW - MINUTE, subscription=endpoint)
        assert counted(endpoint)["1h"] == (0, 2)

    def test_spans_begin_at_their_multiples(self) -> None:
        assert begins_at(NOW, FINE) == NOW.replace(minute=15, second=0)
        assert begins_at(NOW, HOURLY) == NOW.replace(minute=0, second=0)

    def test_several_workers_are_added_up_and_old_spans_pruned(self, endpoint) -> None:
        now = timezone.now()
        for at in (now, now, now - KEEP_FINE - HOUR, now - 100 * 24 * HOUR):
            ended(due(by=at, subscription=endpoint), WELL, at=at, state="delivered")
        while retention.prune(before=cutoffs_at(now - 90 * 24 * HOUR)):
            pass
        spans = ObjectiveStats.objects.order_by("minutes", "-begins_at").values_list("minutes", "met", "missed")
        assert list(spans) == [(FINE, 2, 0), (HOURLY, 2, 0), (HOURLY, 1, 0)]

    def test_they_go_with_the_subscription(self, endpoint) -> None:
        ended(due(by=NOW, subscription=endpoint), WELL, at=NOW, state="delivered")
        endpoint.delete()
        assert not ObjectiveStats.objects.exists()


@pytest.mark.django_db
class TestWhatCounts:
    def test_a_routed_delivery_has_its_time_from_the_event_on(self, endpoint) -> None:
        make_subscription()
        event = make_event(routed_at=None, occurred_at=NOW, published_at=NOW)
        routing.route(now=NOW + HOUR)
        times = dict(event.deliveries.values_list("subscription", "due_by"))
        assert times.pop(endpoint.pk) == NOW + MINUTE
        assert list(times.values()) == [None]

    def test_an_update_that_waits_for_an_interval_has_its_time_from_then_on(self) -> None:
        subscription = make_subscription(objective_seconds=60, update_interval_seconds=3600)
        now = timezone.now()
        for late in (0, 10, 20):
            at = now + late * SECOND
            make_event(topic="order.updated", order_pk="1", routed_at=None, occurred_at=at, published_at=at)
            routing.route(now=at)
            Delivery.objects.filter(attempts_made=0, update_due_at__lte=at).update(
                attempts_made=1, state="delivered", next_attempt_at=None, finished_at=at, due_by=None
            )
        sent, merged, carrier = subscription.deliveries.order_by("event_id")
        assert (sent.due_by, merged.due_by, merged.state) == (None, None, "skipped")
        assert carrier.update_due_at
        assert carrier.due_by == carrier.update_due_at + MINUTE > now + HOUR

    def test_what_is_skipped_or_called_off_counts_no_more(self, endpoint) -> None:
        due(by=NOW, subscription=endpoint)
        Delivery.objects.skip()
        due(by=NOW, subscription=endpoint)
        Delivery.objects.filter(state="pending").call_off()
        assert not Delivery.objects.exclude(due_by=None).exists()

    def test_backfills_replays_and_tests_do_not_count(self, endpoint) -> None:
        make_order()
        operations.backfill(endpoint)
        backfilling.process_batch(now=timezone.now() + MINUTE)
        make_event()
        operations.replay(endpoint, since=timezone.now() - HOUR)
        replaying.process_batch(now=timezone.now())
        made = endpoint.deliveries.exclude(requested_by="")
        assert made.count() == 2
        assert not made.exclude(due_by=None).exists()


@pytest.mark.django_db(transaction=True)
def test_from_an_order_to_the_counts(receiver: RecordingReceiver) -> None:
    receiver.answer = lambda count: Answer(200 if count < 3 else 500)
    subscription = make_subscription(url=receiver.url, topics=["order.created"], objective_seconds=60)
    for _ in range(3):
        make_order()
    tasks.pump()
    now = timezone.now()
    assert counted(subscription, now=now)["1h"] == (2, 0)
    assert Delivery.objects.exclude(due_by=None).count() == 1, "it is tried again"
    Delivery.objects.exclude(due_by=None).update(due_by=now - SECOND, next_attempt_at=now)
    assert counted(subscription, now=now)["1h"] == (2, 1)
    receiver.answer = lambda count: Answer(200)
    tasks.pump()
    assert set(Delivery.objects.values_list("state", "due_by")) == {("delivered", None)}
    assert counted(subscription, now=timezone.now())["1h"] == (2, 1)
    # What had ended does not count again.
    Delivery.objects.redeliver(by="ada")
    tasks.pump()
    assert counted(subscription, now=timezone.now())["1h"] == (2, 1)


@pytest.mark.django_db
def test_the_problems_of_some_stores_the_worst_first() -> None:
    now = timezone.now()
    for name, store, missed in (("A", "north", 2), ("B", "north", 50), ("C", "south", 9), ("D", "north", 0)):
        one = make_subscription(name=name, store=store, objective_seconds=60)
        for minutes in (FINE, HOURLY):
            ObjectiveStats.objects.create(
                subscription=one, minutes=minutes, begins_at=begins_at(now, minutes), met=100, missed=missed
            )
    assert [text[0] for text in reporting.objective_problems(now=now)] == ["B", "C", "A"]
    assert [text[0] for text in reporting.objective_problems(now=now, stores=["south"])] == ["C"]
