"""Measures: the numbers that Prometheus gets, read from the database. Bounded queries, the same for every process.

# Note [Metrics of the database]
They are those of the whole store and not of the process that is scraped: each web process of each host shows the same.
So one target is enough, and with several the rules take `max`, never `sum`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db.models import Count, Min, OuterRef, Q, Subquery

from orderhooks import tasks
from orderhooks.db import DatabaseClock
from orderhooks.models import Delivery, Event, MetricTotal, Subscription
from orderhooks.reporting import Worker, current_backlog
from orderhooks.reporting.objectives import Objective, objectives

__all__ = ["MOST_COUNTED", "MOST_OBJECTIVES", "Measures", "Total", "measure", "oldest_due_at"]

State = Subscription.State
# Counts above it say that there is more.
MOST_COUNTED = 100_000
# How many subscriptions have series of their own: the oldest that have an objective.
MOST_OBJECTIVES = 50


@dataclass(slots=True)
class Total:
    """What was counted of one metric with the same labels: how often in each bucket, by its bound in ms."""

    buckets: dict[int, int] = field(default_factory=dict)
    total_ms: int = 0

    @property
    def count(self) -> int:
        return sum(self.buckets.values())


@dataclass(frozen=True, slots=True)
class Measures:
    """All numbers of one time. Ages are in seconds; None: there is nothing that could have one."""

    # By metric (`MetricTotal.Metric`), then by topic and outcome.
    totals: Mapping[str, Mapping[tuple[str, str], Total]]
    # By what waits; MOST_COUNTED + 1 if there is more.
    waiting: Mapping[str, int]
    oldest_waiting: float | None
    oldest_due: float | None
    unpublished: int
    # How many subscriptions are in each state; and how many active ones fail, or have an open circuit.
    subscriptions: Mapping[str, int]
    failing: int
    circuits_open: int
    # Since a pump was seen; None: none ever was.
    since_pump: float | None
    # How long the sweep is overdue; None: it is switched off.
    sweep_overdue: float | None
    # How many subscriptions have an objective; and how the first MOST_OBJECTIVES do, by public id.
    with_objective: int
    objectives: Mapping[str, Objective]


def measure() -> Measures:
    """Sixteen queries, and at most four for objectives. Raises what the database raises."""
    now = DatabaseClock().now()
    worker = tasks.look_at_worker()
    backlog = current_backlog(at_most=MOST_COUNTED)
    counted = _subscriptions(now=now)
    new = backlog.new_since
    due = min((at for at in (new, oldest_due_at(now=now)) if at is not None), default=None)
    return Measures(
        totals=_totals(),
        waiting={"deliveries": backlog.waiting, "events": backlog.unrouted, "changes": backlog.uncoalesced},
        oldest_waiting=_age(backlog.since, now=now),
        oldest_due=_age(due, now=now),
        unpublished=Event.objects.unpublished().order_by()[: MOST_COUNTED + 1].count(),
        subscriptions={state.value: counted[state.value] for state in State},
        failing=counted["failing"],
        circuits_open=counted["circuits_open"],
        since_pump=_age(worker.seen_at, now=now),
        sweep_overdue=_sweep_overdue(worker, now=now),
        with_objective=counted["with_objective"],
        objectives=_objectives(now=now),
    )


def oldest_due_at(*, now: datetime) -> datetime | None:
    """Since when the delivery that a worker could send has waited for longest. Two queries; None: none is due.

    Without what is held on purpose: deliveries of subscriptions that are paused, disabled or cooling down, and retries
    that are not due. Without ordered subscriptions, whose deliveries may have to wait for one another.
    """
    return _earliest(
        _head_due_at(trigger, now=now) for trigger in (Delivery.Trigger.MANUAL, Delivery.Trigger.AUTOMATIC)
    )


def _head_due_at(trigger: str, *, now: datetime) -> datetime | None:
    head = Delivery.objects.filter(
        subscription=OuterRef("pk"), trigger=trigger, state=Delivery.State.PENDING, next_attempt_at__lte=now
    ).order_by("next_attempt_at", "id")
    closed = Q(circuit_open_until=None) | Q(circuit_open_until__lte=now)
    chosen = Subscription.objects.filter(closed, state=State.ACTIVE, ordered=False)
    # One search of the index for each subscription, as in `sending.claiming`.
    found: datetime | None = chosen.aggregate(at=Min(Subquery(head.values("next_attempt_at")[:1])))["at"]
    return found


def _subscriptions(*, now: datetime) -> dict[str, int]:
    states = {state.value: Count("pk", filter=Q(state=state)) for state in State}
    active = Q(state=State.ACTIVE)
    return Subscription.objects.order_by().aggregate(
        **states,
        failing=Count("pk", filter=active & Q(failing_since__isnull=False)),
        circuits_open=Count("pk", filter=active & Q(circuit_open_until__gt=now)),
        with_objective=Count("objective_seconds"),
    )


def _objectives(*, now: datetime) -> dict[str, Objective]:
    rows = Subscription.objects.filter(objective_seconds__isnull=False).order_by("pk")
    chosen = list(rows.only("public_id", "objective_seconds", "objective_share")[:MOST_OBJECTIVES])
    found = objectives(chosen, now=now)
    return {one.public_id: found[one.pk] for one in chosen}


def _totals() -> dict[str, dict[tuple[str, str], Total]]:
    totals: dict[str, dict[tuple[str, str], Total]] = {metric.value: {} for metric in MetricTotal.Metric}
    columns = ("metric", "topic", "outcome", "up_to_ms", "count", "total_ms")
    for metric, topic, outcome, bound, count, total_ms in MetricTotal.objects.values_list(*columns):
        total = totals.setdefault(metric, {}).setdefault((topic, outcome), Total())
        total.buckets[bound] = count
        total.total_ms += total_ms
    return totals


def _sweep_overdue(worker: Worker, *, now: datetime) -> float | None:
    if worker.sweep_due_at is None:
        return None
    return max(0.0, (now - max(worker.sweep_due_at, worker.seen_at or worker.sweep_due_at)) / timedelta(seconds=1))


def _earliest(times: Iterable[datetime | None]) -> datetime | None:
    return min((at for at in times if at is not None), default=None)


def _age(at: datetime | None, *, now: datetime) -> float | None:
    return None if at is None else max(0.0, (now - at) / timedelta(seconds=1))
