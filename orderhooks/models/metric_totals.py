"""Metric totals: what has been counted since the tables were made, for the counters and histograms of Prometheus.

# Note [Counters in the database]
A counter must never go down, be the same whichever process is scraped, and survive every process. So the workers count
in memory and add to these rows about once a second, as they do for the statistics by hour, which are pruned. These rows
are not: their number is bounded by topics × outcomes × buckets, whatever is sent. Two workers that add to the same row
are added up by the database.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import datetime, timedelta
from typing import Any

from django.db import models, transaction

from orderhooks import operational, topics
from orderhooks.db.added_counts import add_counts
from orderhooks.models.deliveries import Delivery
from orderhooks.transport import FILTERED, Outcome
from orderhooks.transport.outcomes import NEXT_STEPS

__all__ = ["DELAYS", "DURATIONS", "ENDED", "KINDS", "LONGER", "OTHER", "MetricTotal", "TotalsBuffer", "kind_of"]

# The upper bounds of the buckets in ms. A row is stored by its bound, so that bounds may be added or taken away.
DURATIONS = (10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000)
DELAYS = (50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000, 900_000, 3_600_000)
# The bound of what is longer than all of them, and fits the column.
LONGER = 2**31 - 1
# A topic that is not in the catalogue (any more), and an outcome without a kind.
OTHER = "other"
# With several statements; a second rarely has more than a few dozen.
ROWS_AT_ONCE = 500
MILLISECOND = timedelta(milliseconds=1)
CLASSES = {2: "2xx", 3: "3xx", 4: "4xx", 5: "5xx"}
# Every outcome that is counted: the class of the response, or the kind of the error.
KINDS = (*CLASSES.values(), *(kind for kind in NEXT_STEPS if kind != "status"), OTHER)
ENDED = frozenset({Delivery.State.DELIVERED.value, Delivery.State.FAILED.value})
AUTOMATIC, TEST = Delivery.Trigger.AUTOMATIC.value, Delivery.Trigger.TEST.value


class MetricTotalQuerySet(models.QuerySet["MetricTotal"]):
    """See `db.primary`."""

    def count_one(self, metric: str) -> None:
        """Add one to a metric that has no labels."""
        _add([(metric, "", "", 0, 1, 0)])


class MetricTotal(models.Model):
    """How often something was counted, ever. See Note [Counters in the database]."""

    class Metric(models.TextChoices):
        ATTEMPT = "attempt"  # by outcome and duration
        FIRST_ATTEMPT = "first_attempt"  # by delay: from the order's change to the beginning of the attempt
        ENDED = "ended"  # deliveries that an attempt ended; `outcome` is their state
        CAPTURE_FAILURE = "capture_failure"

    metric = models.CharField(max_length=16, choices=Metric)
    topic = models.CharField(max_length=topics.LONGEST, blank=True)
    outcome = models.CharField(max_length=16, blank=True)
    # The upper bound of the bucket; 0 where nothing is measured, LONGER above the last bound.
    up_to_ms = models.PositiveIntegerField()
    count = models.PositiveBigIntegerField()
    # What was measured, added up.
    total_ms = models.PositiveBigIntegerField()

    objects = MetricTotalQuerySet.as_manager()

    class Meta:
        base_manager_name = "objects"
        default_permissions = ()
        constraints = [
            # Where a count is added.
            models.UniqueConstraint(
                fields=["metric", "topic", "outcome", "up_to_ms"], name="orderhooks_metric_total_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.count} × {self.metric} {self.topic} {self.outcome}".strip()


def kind_of(outcome: Outcome) -> str:
    """What an attempt counts as: one of KINDS."""
    error = outcome.error
    if error and error != "status":
        return error if error in NEXT_STEPS else OTHER
    return "2xx" if not error else CLASSES.get((outcome.status_code or 0) // 100, OTHER)


class TotalsBuffer:
    """What one worker has counted since it last wrote. Part of `StatsBuffer`, which counts by subscription and hour.

    Tests of an endpoint don't count. Attempts that ended before a request do, by their kind.
    """

    def __init__(self) -> None:
        # Of attempts that are alike: how many, and the sums of their durations and delays in ms.
        self._alike: defaultdict[_Attempt, list[int]] = defaultdict(lambda: [0, 0, 0])

    def add(self, delivery: Delivery, outcome: Outcome, *, started_at: datetime | None) -> None:
        """Count an attempt whose result is recorded; the delivery's state is the new one."""
        if delivery.trigger == TEST:
            return
        event, duration_ms = delivery.event, outcome.duration_ms
        delay_ms = -1
        if started_at is not None and delivery.attempts_made == 1 and _is_prompt(delivery, outcome):
            # Clocks differ a little.
            delay_ms = max(0, (started_at - event.occurred_at) // MILLISECOND)
        alike = self._alike[
            event.topic,
            kind_of(outcome),
            bisect_left(DURATIONS, duration_ms),
            delivery.state,
            -1 if delay_ms < 0 else bisect_left(DELAYS, delay_ms),
        ]
        alike[0] += 1
        alike[1] += duration_ms
        alike[2] += delay_ms

    def write(self) -> None:
        """Add it to the table. If the database fails, it waits for the next call."""
        if not self._alike:
            return
        # In order, so that two workers that add to the same rows don't wait for each other in a circle.
        rows = [(*cell, *sums) for cell, sums in sorted(self._cells().items())]
        several = transaction.atomic(using=MetricTotal.objects.db) if len(rows) > ROWS_AT_ONCE else nullcontext()
        with several:
            for start in range(0, len(rows), ROWS_AT_ONCE):
                _add(rows[start : start + ROWS_AT_ONCE])
        self._alike.clear()

    def _cells(self) -> "dict[_Cell, list[int]]":
        known = _known_topics()
        cells: defaultdict[_Cell, list[int]] = defaultdict(lambda: [0, 0])
        for (topic, kind, duration, state, delay), (count, duration_ms, delay_ms) in self._alike.items():
            if known is not None and topic not in known:
                topic = OTHER
            counted = [("attempt", topic, kind, _bound(DURATIONS, duration), duration_ms)]
            if state in ENDED:
                counted.append(("ended", topic, str(state), 0, 0))
            if delay >= 0:
                counted.append(("first_attempt", topic, "", _bound(DELAYS, delay), delay_ms))
            for *cell, ms in counted:
                sums = cells[tuple(cell)]  # type: ignore[index]
                sums[0] += count
                sums[1] += ms
        return cells


# Topic, kind, bucket of the duration, state of the delivery, bucket of the delay or -1.
_Attempt = tuple[str, str, int, str, int]
# Metric, topic, outcome, bound.
_Cell = tuple[str, str, str, int]


def _is_prompt(delivery: Delivery, outcome: Outcome) -> bool:
    """Whether a first attempt was to be made at once: not one of a replay, nor of an update that waits for an interval.

    When an attempt began whose worker died is not known; it counts as `internal`.
    """
    return (
        delivery.trigger == AUTOMATIC
        and not delivery.requested_by
        and outcome.error not in ("internal", FILTERED)
        and delivery.subscription.update_interval_seconds is None
    )


def _bound(bounds: tuple[int, ...], bucket: int) -> int:
    return bounds[bucket] if bucket < len(bounds) else LONGER


def _known_topics() -> frozenset[str] | None:
    """None: the catalogue can't be read; a check reports the setting that is wrong."""
    try:
        return frozenset([*topics.catalogue(), *operational.TOPICS])
    except Exception:
        return None


def _add(rows: Sequence[tuple[Any, ...]]) -> None:
    names = ("metric", "topic", "outcome", "up_to_ms", "count", "total_ms")
    add_counts(MetricTotal, names, rows, added=("count", "total_ms"))
