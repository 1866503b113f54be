"""Standing: how deliveries are going, for `orderhooks_status`: each subscription, the worker, the sweep, what waits."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from orderhooks import tasks
from orderhooks.models import Event, Subscription
from orderhooks.reporting import (
    MOST_WAITING,
    START_WORKER,
    Backlog,
    Worker,
    current_backlog,
    endpoint_health,
    losses,
    worker_problems,
)
from orderhooks.reporting.attempt_stats import DayStats, day_stats
from orderhooks.reporting.endpoint_health import Health, health_of

__all__ = ["MOST_WAITING", "QCLUSTER", "Row", "Standing", "columns", "look", "told"]

HEALTHY = (Health.ACTIVE.value, Health.PAUSED.value)
QCLUSTER = START_WORKER


@dataclass(frozen=True, slots=True)
class Row:
    """One subscription. `success_rate` is from 0 to 1, None where nothing was sent; `state` says it in a few words,
    `report` in sentences, with what to do.
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

    def trouble(self) -> str:
        """Why somebody should look at it, or blank."""
        return "" if self.health in HEALTHY else f"{self.name} ({self.public_id}): {self.report}"


@dataclass(frozen=True, slots=True)
class Standing:
    """All of it at one time."""

    at: datetime
    worker: Worker
    backlog: Backlog
    unpublished: int
    # What was saved and could not be captured lately, in sentences.
    lost: Sequence[str]
    subscriptions: Sequence[Row]

    def troubles(self) -> list[str]:
        """What needs a person, each with its remedy; a missing worker first."""
        found = worker_problems(self.worker, now=self.at, waiting=self.backlog)
        found += self.lost
        if self.unpublished:
            found.append(
                f"{self.unpublished} events have no payload. See their errors in the admin, fix the order source, "
                "then publish them again there."
            )
        return found + [trouble for row in self.subscriptions if (trouble := row.trouble())]


def look(*, now: datetime) -> Standing:
    """Ask the database. The number of queries does not grow with the subscriptions."""
    subscriptions = list(Subscription.objects.order_by("name", "pk"))
    stats = day_stats(subscriptions, now=now)
    return Standing(
        at=now,
        worker=tasks.look_at_worker(),
        backlog=current_backlog(at_most=MOST_WAITING),
        lost=losses(now=now),
        unpublished=Event.objects.unpublished().count(),
        subscriptions=[_row(one, stats[one.pk], now=now) for one in subscriptions],
    )


def _row(subscription: Subscription, stats: DayStats, *, now: datetime) -> Row:
    report = endpoint_health.report(subscription, now=now)
    return Row(
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
    )


def told(standing: Standing) -> dict[str, Any]:
    """It as a dict for programs, with `troubles`. Counts above MOST_WAITING are not exact.

    `waiting` is all that waits; `unrouted` events among it wait for a worker to make deliveries of them.
    """
    waiting = standing.backlog
    return {
        "at": standing.at,
        "worker": asdict(standing.worker),
        "waiting": waiting.total,
        "unrouted": waiting.unrouted + waiting.unfolded,
        "oldest_waiting_since": waiting.since,
        "unpublished": standing.unpublished,
        "lost": list(standing.lost),
        "subscriptions": [asdict(row) for row in standing.subscriptions],
        "troubles": standing.troubles(),
    }


def columns(rows: Iterable[Sequence[str]]) -> list[str]:
    """The rows as lines whose columns stand below each other."""
    rows = list(rows)
    widths = [max(len(row[number]) for row in rows) for number in range(len(rows[0]))] if rows else []
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
