"""Health: how subscriptions have been doing, for the lists of operators. The queries' number and cost are bounded."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from django.db import models
from django.db.models import Case, Count, IntegerField, OuterRef, Q, Subquery, Sum, Value, When
from django.db.models.functions import Coalesce
from django.utils.translation import gettext_lazy as _

from orderhooks.models.attempt_stats import HOUR, AttemptStats, first_hour
from orderhooks.models.deliveries import Delivery
from orderhooks.models.events import Change, Event
from orderhooks.models.subscriptions import Subscription

__all__ = ["Backlog", "Condition", "Health", "Hour", "backlog", "condition", "health_of", "unwell"]

HOURS = 24
MOST_COUNTED = 1000


class Condition(models.TextChoices):
    """How a subscription is, in a word."""

    ACTIVE = "active", _("active")
    CIRCUIT_OPEN = "circuit_open", _("cooling down")
    FAILING = "failing", _("failing")
    PAUSED = "paused", _("paused")
    DISABLED = "disabled", _("disabled")


def condition(subscription: Subscription, *, now: datetime) -> Condition:
    """How it is at that time."""
    if subscription.state != Subscription.State.ACTIVE:
        return Condition(subscription.state)
    if subscription.is_circuit_open(at=now):
        return Condition.CIRCUIT_OPEN
    return Condition.FAILING if subscription.failing_since is not None else Condition.ACTIVE


@dataclass(frozen=True, slots=True)
class Hour:
    """An hour's attempts."""

    begins_at: datetime
    succeeded: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Health:
    """A subscription's last day. `waiting` is MOST_COUNTED + 1 if more wait."""

    hours: tuple[Hour, ...]
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


def health_of(subscriptions: Iterable[Subscription], *, now: datetime) -> Mapping[int, Health]:
    """Each one's health by its primary key. Two queries."""
    keys = [subscription.pk for subscription in subscriptions]
    start = first_hour(now=now, hours=HOURS)
    success = Sum("count", filter=Q(outcome=AttemptStats.Outcome.SUCCESS), default=0)
    rows = (
        AttemptStats.objects.filter(subscription__in=keys, hour__gte=start)
        .order_by()
        .values_list("subscription", "hour")
    )
    counted = {
        (key, hour): Hour(hour, succeeded, attempts - succeeded)
        for key, hour, succeeded, attempts in rows.annotate(succeeded=success, attempts=Sum("count"))
    }
    waiting = _waiting(keys)
    hours = [start + number * HOUR for number in range(HOURS)]
    return {
        key: Health(tuple(counted.get((key, hour), Hour(hour)) for hour in hours), waiting.get(key, 0)) for key in keys
    }


def unwell(*, now: datetime, at_most: int) -> list[Subscription]:
    """Those that an operator should look at: disabled, failing, paused, or with failed attempts; the worst first."""
    failures = (
        AttemptStats.objects.filter(hour__gte=first_hour(now=now, hours=HOURS))
        .exclude(outcome=AttemptStats.Outcome.SUCCESS)
        .values_list("subscription")
        .annotate(failed=Sum("count"))
        .order_by("-failed")[:at_most]
    )
    failed = dict(failures)
    severity = Case(*(When(state=state, then=rank) for rank, state in enumerate(SEVERITY)))
    conspicuous = ~Q(state=Subscription.State.ACTIVE) | Q(failing_since__isnull=False)
    worst = list(Subscription.objects.filter(conspicuous).order_by(severity, "failing_since", "pk")[:at_most])
    others: list[Subscription] = []
    if len(worst) < at_most:
        others += Subscription.objects.filter(pk__in=failed.keys() - {one.pk for one in worst})
        others.sort(key=lambda one: failed[one.pk], reverse=True)
    return [*worst, *others][:at_most]


# Among those that are not well: the active ones are failing.
SEVERITY = (Subscription.State.DISABLED, Subscription.State.ACTIVE, Subscription.State.PAUSED)


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits, over all subscriptions. Each count is `at_most` + 1 if there is more.

    `waiting`: deliveries to be sent; `oldest`: the oldest of them. `unrouted`: events that no worker has turned into
    deliveries yet; `uncoalesced`: changes of orders that no worker has turned into events yet, whose process died.
    `since`: how long the oldest of all has waited.
    """

    waiting: int
    oldest: Delivery | None
    unrouted: int = 0
    uncoalesced: int = 0
    since: datetime | None = None

    @property
    def total(self) -> int:
        """All that waits, of whatever kind."""
        return self.waiting + self.unrouted + self.uncoalesced


def backlog(*, at_most: int) -> Backlog:
    """Six queries; the oldest delivery comes with its subscription."""
    pending = Delivery.objects.filter(state=Delivery.State.PENDING)
    oldest = pending.select_related("subscription").order_by("id").first()
    unrouted, changes = Event.objects.unrouted(), Change.objects.order_by("created_at")
    times = [
        oldest.created_at if oldest else None,
        unrouted.values_list("published_at", flat=True).first(),
        changes.values_list("created_at", flat=True).first(),
    ]
    return Backlog(
        waiting=pending.order_by()[: at_most + 1].count(),
        oldest=oldest,
        unrouted=unrouted.order_by()[: at_most + 1].count(),
        uncoalesced=changes.order_by()[: at_most + 1].count(),
        since=min((time for time in times if time is not None), default=None),
    )


def _waiting(keys: Iterable[int]) -> dict[int, int]:
    # Whether there are too many to count is one look into the index; only where there are not are they counted.
    pending = Delivery.objects.filter(subscription=OuterRef("pk"), state=Delivery.State.PENDING)
    too_many = pending.order_by("trigger", "next_attempt_at", "id").values("pk")[MOST_COUNTED : MOST_COUNTED + 1]
    count = pending.order_by().values("subscription").annotate(count=Count("pk")).values("count")
    waiting = Case(
        When(Q(too_many__isnull=False), then=Value(MOST_COUNTED + 1)),
        default=Coalesce(Subquery(count), 0),
        output_field=IntegerField(),
    )
    chosen = Subscription.objects.filter(pk__in=keys).alias(too_many=Subquery(too_many))
    return dict(chosen.order_by().values_list("pk", waiting))
