"""States: of which subscriptions an alarm is due, as queries."""

from datetime import datetime, timedelta

from django.db.models import Case, CharField, Exists, F, OuterRef, Q, Value, When

from orderhooks import conf, operational
from orderhooks.models import Delivery, RaisedAlarm, Subscription
from orderhooks.models.alarm_states import NotifiedState
from orderhooks.models.deliveries import DeliveryQuerySet
from orderhooks.models.subscriptions import SubscriptionQuerySet

__all__ = ["BACKLOG_AFTER", "FAILING_AFTER", "PAUSE", "backlogs", "backlogs_cleared", "due", "warning_before"]

State = Subscription.State

# An endpoint that fails for a shorter time is not reported.
FAILING_AFTER = timedelta(hours=1)
# The least time between two notifications about a subscription's state, also after one that could not be sent.
PAUSE = timedelta(minutes=5)
# Deliveries that are due for a shorter time are no backlog.
BACKLOG_AFTER = timedelta(minutes=30)
# A backlog that comes again is reported no sooner.
BACKLOG_PAUSE = timedelta(hours=1)
DAY = timedelta(days=1)


def warning_before() -> timedelta:
    """How long before a subscription is disabled the warning comes: a fifth of DISABLE_AFTER_DAYS, at least a day, but
    never more than half of it.
    """
    period = timedelta(days=conf.current().disable_after_days)
    return max(period / 5, min(DAY, period / 2))


def due(*, now: datetime, state: NotifiedState | None = None) -> SubscriptionQuerySet:
    """The subscriptions in that state, or in any, of which no e-mail or no event was sent. See Note [One alarm, two
    ways out].
    """
    ends_after = timedelta(days=conf.current().disable_after_days) - warning_before()
    active = Q(state=State.ACTIVE)
    # Not by the clock alone: while no worker ran, nothing was tried.
    fails_long = (
        active & Q(failing_since__lte=now - FAILING_AFTER) & ~Q(last_failure_at__lt=F("failing_since") + FAILING_AFTER)
    )
    # The first that is true. A pause, or a short failure, is none of them.
    states = [
        (Q(state=State.DISABLED), NotifiedState.DISABLED),
        (fails_long & Q(failing_since__lte=now - max(ends_after, FAILING_AFTER)), NotifiedState.DISABLING_SOON),
        (fails_long, NotifiedState.FAILING),
        (active & Q(failing_since=None), NotifiedState.HEALTHY),
    ]
    alarm_state = Case(*(When(when, then=Value(one.value)) for when, one in states), output_field=CharField())
    waited = Q(last_notified_at=None) | Q(last_notified_at__lte=now - PAUSE)
    rows = Subscription.objects.annotate(alarm_state=alarm_state).filter(waited, alarm_state__isnull=False)
    rows = rows.filter(alarm_state=state) if state else rows
    return rows.exclude(last_notified_state=F("alarm_state"), last_alarmed_state=F("alarm_state"))


def backlogs(*, now: datetime) -> SubscriptionQuerySet:
    """The subscriptions that work and have a backlog that was not reported. None right after a time without workers, or
    after the endpoint failed: these are alarms of their own, and what they held back is still being sent.
    """
    gaps = RaisedAlarm.objects.filter(topic=operational.WORKER_MISSING, raised_at__gt=now - BACKLOG_AFTER)
    working = Subscription.objects.filter(state=State.ACTIVE, failing_since=None, backlog_alarmed_at=None)
    well = working.filter(last_notified_state=NotifiedState.HEALTHY).exclude(last_notified_at__gt=now - BACKLOG_AFTER)
    return well.filter(Exists(_overdue(now)), ~Exists(gaps))


def backlogs_cleared(*, now: datetime) -> SubscriptionQuerySet:
    """The subscriptions whose reported backlog is gone, so that a new one is reported again."""
    return Subscription.objects.filter(~Exists(_overdue(now)), backlog_alarmed_at__lte=now - BACKLOG_PAUSE)


def _overdue(now: datetime) -> DeliveryQuerySet:
    # By the index of what is due, which has the trigger before the time.
    return Delivery.objects.filter(
        subscription=OuterRef("pk"),
        state=Delivery.State.PENDING,
        trigger__in=Delivery.Trigger.values,
        next_attempt_at__lte=now - BACKLOG_AFTER,
    )
