"""Objective statistics: how many deliveries of each hour, and of each five minutes, met their subscription's objective.

# Note [What counts for an objective]
A delivery has `due_by`, the end of its time, from when it is routed until it ends: it arrived, or was given up. Then it
counts here, once: as met if it arrived in time, at that time; otherwise as missed, at the end of its time or when it
was given up before. One that still waits after its time counts as missed too, by its row.

Time for which the subscription is paused, disabled or cooling down counts: the receiver gets the news late, whatever
the cause. What nobody is to get does not: what was filtered, skipped or merged into a later update. Nor does what was
asked for later: tests, backfills, replays, and redeliveries of what had ended. An update that waits for an interval has
its time from the end of the interval.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import models

from orderhooks.db.added_counts import add_counts
from orderhooks.models.deliveries import Delivery
from orderhooks.models.subscriptions import Subscription

__all__ = ["FINE", "HOURLY", "KEEP_FINE", "ObjectiveBuffer", "ObjectiveStats", "begins_at"]

# The lengths of the spans, in minutes: fine ones for the last hours, hours for the last month.
FINE, HOURLY = 5, 60
# Longer than any window that is counted by fine spans.
KEEP_FINE = timedelta(hours=12)
ROWS_AT_ONCE = 500
ENDED = frozenset({Delivery.State.DELIVERED.value, Delivery.State.FAILED.value})


def begins_at(at: datetime, minutes: int) -> datetime:
    """The beginning of the span of `minutes`, which divide an hour, that the time is in."""
    at = at.astimezone(UTC)
    return at.replace(minute=at.minute - at.minute % minutes, second=0, microsecond=0)


class ObjectiveStatsQuerySet(models.QuerySet["ObjectiveStats"]):
    """See `db.primary`."""


class ObjectiveStats(models.Model):
    """How many deliveries to one subscription met its objective in one span, and how many missed it."""

    # No constraint in the database, as for AttemptStats.
    subscription = models.ForeignKey(
        Subscription, models.CASCADE, related_name="objective_stats", db_constraint=False, db_index=False
    )
    minutes = models.PositiveSmallIntegerField()
    begins_at = models.DateTimeField()
    met = models.PositiveBigIntegerField()
    missed = models.PositiveBigIntegerField()

    objects = ObjectiveStatsQuerySet.as_manager()

    class Meta:
        base_manager_name = "objects"
        default_permissions = ()
        constraints = [
            # Where a count is added; also the spans of some subscriptions since a time.
            models.UniqueConstraint(
                fields=["subscription", "minutes", "begins_at"], name="orderhooks_objective_stats_once"
            ),
        ]
        indexes = [
            # Pruning.
            models.Index(fields=["minutes", "begins_at"], name="orderhooks_objective_stats_old"),
        ]

    def __str__(self) -> str:
        return f"{self.met} of {self.met + self.missed} at {self.begins_at:%Y-%m-%d %H:%M}"


class ObjectiveBuffer:
    """What one worker has counted since it last wrote. Part of `StatsBuffer`."""

    def __init__(self) -> None:
        # By subscription, length of the span and its beginning: met, missed.
        self._counted: Counter[tuple[int, int, datetime, bool]] = Counter()

    def add(self, delivery: Delivery, *, now: datetime) -> None:
        """Count a delivery that an attempt has ended, if it has an objective; its state is the new one."""
        due_by = delivery.due_by
        if due_by is None or delivery.state not in ENDED:
            return
        met = delivery.state == Delivery.State.DELIVERED and now <= due_by
        decided_at = min(now, due_by)
        for minutes in (FINE, HOURLY):
            self._counted[delivery.subscription_id, minutes, begins_at(decided_at, minutes), met] += 1

    def write(self) -> None:
        """Add it to the table. If the database fails, it waits for the next call."""
        # In order, so that two workers that add to the same rows don't wait for each other in a circle.
        spans = sorted({cell[:3] for cell in self._counted})
        for start in range(0, len(spans), ROWS_AT_ONCE):
            some = spans[start : start + ROWS_AT_ONCE]
            _add([(*span, self._counted[*span, True], self._counted[*span, False]) for span in some])
            for span in some:
                del self._counted[*span, True], self._counted[*span, False]


def _add(rows: Sequence[tuple[Any, ...]]) -> None:
    names = ("subscription", "minutes", "begins_at", "met", "missed")
    add_counts(ObjectiveStats, names, rows, added=("met", "missed"))
