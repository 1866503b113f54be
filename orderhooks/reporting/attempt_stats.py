"""Attempt statistics of the last day, for the lists of operators. The number and cost of the queries is bounded."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from django.db.models import Case, Count, IntegerField, OuterRef, Q, Subquery, Sum, Value, When
from django.db.models.functions import Coalesce

from orderhooks.models.attempt_stats import HOUR, AttemptStats, first_hour
from orderhooks.models.deliveries import Delivery
from orderhooks.models.subscriptions import Subscription

__all__ = ["HOURS", "MOST_COUNTED", "DayStats", "HourStats", "day_stats", "unhealthy"]

HOURS = 24
MOST_COUNTED = 1000


@dataclass(frozen=True, slots=True)
class HourStats:
    """An hour's attempts."""

    begins_at: datetime
    succeeded: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class DayStats:
    """A subscription's last day. `waiting` is MOST_COUNTED + 1 if more wait."""

    hours: tuple[HourStats, ...]
    waiting: int = 0
    succeeded: int = field(init=False)
    failed: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "succeeded", sum(hour.succeeded for hour in self.hours))
        object.__setattr__(self, "failed", sum(hour.failed for hour in self.hours))

    @property
    def success_rate(self) -> float | None:
        """From 0 to 1; None if nothing was sent."""
        attempts = self.succeeded + self.failed
        return self.succeeded / attempts if attempts else None


def day_stats(
    subscriptions: Iterable[Subscription], *, now: datetime, stores: Collection[str] | None = None
) -> Mapping[int, DayStats]:
    """Each one's last day by its primary key. Two queries.

    `stores`: only deliveries about these stores' orders wait; None for all. Attempts are counted for all stores alike.
    """
    keys = [subscription.pk for subscription in subscriptions]
    start = first_hour(now=now, hours=HOURS)
    success = Sum("count", filter=Q(outcome=AttemptStats.Outcome.SUCCESS), default=0)
    rows = (
        AttemptStats.objects.filter(subscription__in=keys, hour__gte=start)
        .order_by()
        .values_list("subscription", "hour")
    )
    counted = {
        (key, hour): HourStats(hour, succeeded, attempts - succeeded)
        for key, hour, succeeded, attempts in rows.annotate(succeeded=success, attempts=Sum("count"))
    }
    waiting = _waiting(keys, stores)
    hours = [start + number * HOUR for number in range(HOURS)]
    return {
        key: DayStats(tuple(counted.get((key, hour), HourStats(hour)) for hour in hours), waiting.get(key, 0))
        for key in keys
    }


def unhealthy(
    *, now: datetime, at_most: int, stores: Collection[str] | None = None, alarms: bool = True
) -> list[Subscription]:
    """Those that an operator should look at: disabled, failing, paused, or with failed attempts; the worst first.

    `stores`: only subscriptions to these stores; None for all. `alarms`: operational ones too.
    """
    failures = (
        AttemptStats.objects.of_stores(stores, alarms=alarms)
        .filter(hour__gte=first_hour(now=now, hours=HOURS))
        .exclude(outcome=AttemptStats.Outcome.SUCCESS)
        .values_list("subscription")
        .annotate(failed=Sum("count"))
        .order_by("-failed")[:at_most]
    )
    failed = dict(failures)
    severity = Case(*(When(state=state, then=rank) for rank, state in enumerate(SEVERITY)))
    conspicuous = ~Q(state=Subscription.State.ACTIVE) | Q(failing_since__isnull=False)
    worst = list(
        Subscription.objects.of_stores(stores, operational=alarms)
        .filter(conspicuous)
        .order_by(severity, "failing_since", "pk")[:at_most]
    )
    others: list[Subscription] = []
    if len(worst) < at_most:
        others += Subscription.objects.filter(pk__in=failed.keys() - {one.pk for one in worst})
        others.sort(key=lambda one: failed[one.pk], reverse=True)
    return [*worst, *others][:at_most]


# Among the unhealthy: the active ones are failing.
SEVERITY = (Subscription.State.DISABLED, Subscription.State.ACTIVE, Subscription.State.PAUSED)


def _waiting(keys: Iterable[int], stores: Collection[str] | None) -> dict[int, int]:
    # Whether there are too many to count is one search of the index. They are counted only if there are not.
    pending = Delivery.objects.filter(subscription=OuterRef("pk"), state=Delivery.State.PENDING).about_stores(stores)
    too_many = pending.order_by("trigger", "next_attempt_at", "id").values("pk")[MOST_COUNTED : MOST_COUNTED + 1]
    count = pending.order_by().values("subscription").annotate(count=Count("pk")).values("count")
    waiting = Case(
        When(Q(too_many__isnull=False), then=Value(MOST_COUNTED + 1)),
        default=Coalesce(Subquery(count), 0),
        output_field=IntegerField(),
    )
    chosen = Subscription.objects.filter(pk__in=keys).alias(too_many=Subquery(too_many))
    return dict(chosen.order_by().values_list("pk", waiting))
