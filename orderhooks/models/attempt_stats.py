"""Attempt statistics: how many attempts of each hour had which outcome, and how long they took.

So no page has to count the log. The worker counts in memory and writes about once a second; `reporting` adds up.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import models
from django.db.models import Sum
from django.utils.translation import gettext_lazy as _

from orderhooks.db.added_counts import add_counts
from orderhooks.models.deliveries import Delivery
from orderhooks.models.metric_totals import TotalsBuffer
from orderhooks.models.objective_stats import ObjectiveBuffer
from orderhooks.models.subscriptions import Subscription
from orderhooks.transport import ABORTED, NOT_REQUESTED, Outcome

__all__ = ["AttemptStats", "Dashboard", "StatsBuffer", "bucket_of", "first_hour", "hour_of", "outcome_of", "percentile"]

HOUR = timedelta(hours=1)
# Bucket n holds the times below BOUNDS[n] ms: steps of √2 from 1 ms to a minute, then all that is longer.
BOUNDS = tuple(2 ** (step / 2) for step in range(33))
ROWS_AT_ONCE = 500


def bucket_of(duration_ms: int) -> int:
    """The number of the bucket that a time falls into."""
    return bisect_right(BOUNDS, duration_ms)


def percentile(counts: Mapping[int, int], share: float) -> float | None:
    """The time in ms that `share` (0 to 1) of those counted by bucket did not exceed, or None where there are none.

    Within a bucket times are taken to be spread evenly, so it is off by less than a bucket's width.
    """
    total = sum(counts.values())
    if not total:
        return None
    wanted, below = share * total, 0
    for bucket in sorted(bucket for bucket, count in counts.items() if count):
        if below + counts[bucket] >= wanted:
            low = BOUNDS[bucket - 1] if bucket else 0.0
            high = BOUNDS[bucket] if bucket < len(BOUNDS) else low
            return low + (high - low) * (wanted - below) / counts[bucket]
        below += counts[bucket]
    raise AssertionError("the counts add up to their total")


def hour_of(at: datetime) -> datetime:
    """The beginning of its hour."""
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def first_hour(*, now: datetime, hours: int) -> datetime:
    """The beginning of the first of `hours` hours, of which the running one is the last."""
    return hour_of(now) - (hours - 1) * HOUR


class AttemptStatsQuerySet(models.QuerySet["AttemptStats"]):
    def of_stores(self, stores: Collection[str] | None, *, alarms: bool = True) -> "AttemptStatsQuerySet":
        """Those of subscriptions to one of these stores. None: all. `alarms`: of operational ones too. A query."""
        if stores is None:
            return self if alarms else self.exclude(subscription__in=Subscription.objects.operational_keys())
        keys = Subscription.objects.of_stores(stores, operational=alarms).values_list("pk", flat=True)
        return self.filter(subscription__in=list(keys))

    def by_hour(self) -> dict[tuple[datetime, str], int]:
        """How many attempts came to each outcome in each hour."""
        rows = self.values_list("hour", "outcome").order_by().annotate(Sum("count"))
        return {(hour, outcome): count for hour, outcome, count in rows}

    def by_bucket(self) -> dict[int, int]:
        """How many attempts took how long, of those that got a response or timed out."""
        heard = self.exclude(outcome=AttemptStats.Outcome.OTHER)
        return dict(heard.values_list("bucket").order_by().annotate(Sum("count")))


class AttemptStats(models.Model):
    """How many attempts to one subscription in one hour had one outcome, and took as long as one bucket says."""

    class Outcome(models.TextChoices):
        SUCCESS = "2xx", _("2xx: delivered")
        REDIRECT = "3xx", _("3xx: redirected")
        REFUSED = "4xx", _("4xx: turned down")
        BROKEN = "5xx", _("5xx: the receiver failed")
        TIMEOUT = "timeout", _("no response in time")
        OTHER = "other", _("not reached")  # refused, reset, no such host, …; also what failed here

    # No constraint in the database: writing statistics must neither wait for a locked subscription nor fail because one
    # was just deleted. Rows that are left behind that way are pruned by age.
    subscription = models.ForeignKey(
        Subscription, models.CASCADE, related_name="attempt_stats", db_constraint=False, db_index=False
    )
    hour = models.DateTimeField()
    outcome = models.CharField(max_length=8, choices=Outcome)
    bucket = models.PositiveSmallIntegerField()
    count = models.PositiveBigIntegerField()

    objects = AttemptStatsQuerySet.as_manager()

    class Meta:
        base_manager_name = "objects"
        constraints = [
            # Where a count is added; also one subscription's hours.
            models.UniqueConstraint(
                fields=["subscription", "hour", "outcome", "bucket"], name="orderhooks_attempt_stats_once"
            ),
        ]
        indexes = [
            # The hours of all subscriptions: the dashboard, and pruning.
            models.Index(fields=["hour"], name="orderhooks_attempt_stats_hour"),
        ]

    def __str__(self) -> str:
        return f"{self.count} × {self.outcome} at {self.hour:%Y-%m-%d %H}:00"


class Dashboard(AttemptStats):
    """What the admin registers its dashboard for: its section lists models alone."""

    class Meta:
        proxy = True
        default_permissions = ()
        verbose_name = _("dashboard")
        verbose_name_plural = _("dashboard")


def outcome_of(status_code: int | None, error: str) -> AttemptStats.Outcome:
    """What an attempt's outcome counts as."""
    if not error:
        return AttemptStats.Outcome.SUCCESS
    if error in ("timeout", "connect_timeout"):
        return AttemptStats.Outcome.TIMEOUT
    if error in ("status", ABORTED) and status_code is not None:
        return BY_CLASS.get(status_code // 100, AttemptStats.Outcome.OTHER)
    return AttemptStats.Outcome.OTHER


BY_CLASS = {3: AttemptStats.Outcome.REDIRECT, 4: AttemptStats.Outcome.REFUSED, 5: AttemptStats.Outcome.BROKEN}


class StatsBuffer:
    """One worker's attempts since it last wrote. A worker that is killed loses those of its last second, no more.

    Tests of an endpoint don't count: they are not what the store sends. Nor does what ended before a request.
    """

    def __init__(self) -> None:
        self._counted: Counter[tuple[int, datetime, str, int]] = Counter()
        self._totals = TotalsBuffer()
        self._objectives = ObjectiveBuffer()
        # Of the last one counted: a batch of results has one time.
        self._now: datetime | None = None
        self._hour = datetime.min

    def add(self, delivery: Delivery, outcome: Outcome, *, now: datetime, started_at: datetime | None = None) -> None:
        """Count an attempt that is recorded. `started_at`: when it began, if that is known."""
        self._totals.add(delivery, outcome, started_at=started_at)
        self._objectives.add(delivery, now=now)
        if delivery.trigger == Delivery.Trigger.TEST or outcome.error in NOT_REQUESTED:
            return
        if now is not self._now:
            self._now, self._hour = now, hour_of(now)
        kind = outcome_of(outcome.status_code, outcome.error).value
        self._counted[delivery.subscription_id, self._hour, kind, bucket_of(outcome.duration_ms)] += 1

    def write(self) -> None:
        """Add them to the tables. If the database fails, they wait for the next call."""
        # In order, so that two workers that add to the same rows don't wait for each other in a circle.
        rows = sorted(self._counted.items())
        for start in range(0, len(rows), ROWS_AT_ONCE):
            some = rows[start : start + ROWS_AT_ONCE]
            _add([(*cell, count) for cell, count in some])
            for cell, _count in some:
                del self._counted[cell]
        self._totals.write()
        self._objectives.write()


def _add(rows: Sequence[tuple[Any, ...]]) -> None:
    add_counts(AttemptStats, ("subscription", "hour", "outcome", "bucket", "count"), rows, added=("count",))
