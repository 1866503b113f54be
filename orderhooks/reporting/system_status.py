"""The system's status: the worker, the sweep, the backlog, each subscription, and the problems that a person has to
solve. `orderhooks_status` and `orderhooks_doctor` draw on it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from orderhooks.models import Event, Subscription
from orderhooks.reporting import endpoint_health
from orderhooks.reporting.attempt_stats import DayStats, day_stats
from orderhooks.reporting.backlog import MOST_WAITING, Backlog, current_backlog
from orderhooks.reporting.capture_failures import losses
from orderhooks.reporting.certificates import certificate_problem
from orderhooks.reporting.endpoint_health import Health, health_of
from orderhooks.reporting.objectives import objective_problems
from orderhooks.reporting.unpublished import unpublished_text
from orderhooks.reporting.unsent import unsent_problem
from orderhooks.reporting.version_moves import ended_versions, unregistered_versions
from orderhooks.reporting.worker_status import Worker, worker_problems

__all__ = ["SubscriptionStatus", "SystemStatus", "as_dict", "subscription_statuses", "system_status"]

HEALTHY = (Health.ACTIVE.value, Health.PAUSED.value)


@dataclass(frozen=True, slots=True)
class SubscriptionStatus:
    """One subscription.

    `state` is a few words and `report` is sentences with the remedy; `report` is blank for a healthy endpoint.
    `success_rate` is from 0 to 1 over the last 24 hours, or None if nothing was sent.
    """

    public_id: str
    name: str
    health: str
    state: str
    report: str
    reason: str
    success_rate: float | None
    waiting: int
    last_success_at: datetime | None
    last_error: str
    last_error_at: datetime | None
    failing_since: datetime | None
    circuit_open_until: datetime | None
    # That its client certificate has expired or will soon; blank if there is nothing to do.
    certificate: str
    # Why a delivery could not be made lately: by its filter, projection, format or version.
    unsent: str

    def problem(self) -> str:
        """What is wrong with its endpoint, its certificate or what its bodies are made by, or blank."""
        texts = ["" if self.health in HEALTHY else self.report, self.certificate, self.unsent]
        text = " ".join(filter(None, texts))
        return f"{self.name} ({self.public_id}): {text}" if text else ""


@dataclass(frozen=True, slots=True)
class SystemStatus:
    """The status of the system at one time."""

    at: datetime
    worker: Worker
    backlog: Backlog
    unpublished: int
    # A sentence for each kind of recent change that was saved but not captured.
    lost: Sequence[str]
    # A sentence for each version of the body that subscriptions should no longer be pinned to.
    versions: Sequence[str]
    # A sentence for each subscription that misses its objective or will soon.
    objectives: Sequence[str]
    subscriptions: Sequence[SubscriptionStatus]

    def problems(self) -> list[str]:
        """A sentence with its remedy for each problem that a person has to solve. A missing worker comes first."""
        found = worker_problems(self.worker, now=self.at, waiting=self.backlog)
        found += self.lost
        if self.unpublished:
            found.append(unpublished_text(self.unpublished))
        found += self.versions
        found += [problem for row in self.subscriptions if (problem := row.problem())]
        return [*found, *self.objectives]


def system_status(worker: Worker, *, now: datetime) -> SystemStatus:
    """Read the status from the database. The number of queries does not grow with the subscriptions.

    The caller looks at the worker, because only `tasks` may use the queue.
    """
    return SystemStatus(
        at=now,
        worker=worker,
        backlog=current_backlog(at_most=MOST_WAITING),
        lost=losses(now=now),
        unpublished=Event.objects.unpublished().count(),
        versions=[*unregistered_versions(), *ended_versions(now=now)],
        objectives=objective_problems(now=now),
        subscriptions=subscription_statuses(now=now),
    )


def subscription_statuses(*, now: datetime) -> list[SubscriptionStatus]:
    """The status of each subscription, by name. Three queries."""
    subscriptions = list(Subscription.objects.order_by("name", "pk"))
    stats = day_stats(subscriptions, now=now)
    return [_subscription_status(one, stats[one.pk], now=now) for one in subscriptions]


def _subscription_status(subscription: Subscription, stats: DayStats, *, now: datetime) -> SubscriptionStatus:
    report = endpoint_health.report(subscription, now=now)
    return SubscriptionStatus(
        public_id=subscription.public_id,
        name=subscription.name,
        health=health_of(subscription, now=now).value,
        state=endpoint_health.short_text(subscription, now=now),
        report=report.text() if report else "",
        reason=subscription.state_reason,
        success_rate=stats.success_rate,
        waiting=stats.waiting,
        last_success_at=subscription.last_success_at,
        last_error=subscription.last_failure,
        last_error_at=subscription.last_failure_at,
        failing_since=subscription.failing_since,
        circuit_open_until=subscription.circuit_open_until,
        certificate=certificate_problem(subscription, now=now),
        unsent=unsent_problem(subscription, now=now),
    )


def as_dict(status: SystemStatus) -> dict[str, Any]:
    """The status for programs, with `problems`.

    `waiting` counts the whole backlog. `unrouted` counts the events and changes in it that no worker has turned into
    deliveries yet. Counts above MOST_WAITING are lower bounds.
    """
    waiting = status.backlog
    return {
        "at": status.at,
        "worker": asdict(status.worker),
        "waiting": waiting.total,
        "unrouted": waiting.unrouted + waiting.uncoalesced,
        "oldest_waiting_since": waiting.since,
        "unpublished": status.unpublished,
        "lost": list(status.lost),
        "versions": list(status.versions),
        "objectives": list(status.objectives),
        "subscriptions": [asdict(row) for row in status.subscriptions],
        "problems": status.problems(),
    }
