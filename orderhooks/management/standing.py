"""Standing: how deliveries are going, for `orderhooks_status`: each subscription, the worker, the sweep, what waits."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from orderhooks import tasks
from orderhooks.management import moments
from orderhooks.models import Event, Subscription
from orderhooks.models.health import Condition, Health, backlog, condition, health_of
from orderhooks.tasks import Worker

__all__ = ["Row", "Standing", "columns", "look", "told", "worker_troubles"]

MOST_WAITING = 10_000
WELL = (Condition.ACTIVE.value, Condition.PAUSED.value)
QCLUSTER = "Start `manage.py qcluster`; if one runs and does nothing, restart it."


@dataclass(frozen=True, slots=True)
class Row:
    """One subscription. `success_rate` is from 0 to 1, None where nothing was sent."""

    public_id: str
    name: str
    condition: str
    reason: str
    success_rate: float | None
    waiting: int
    last_success_at: datetime | None
    last_error: str
    last_error_at: datetime | None
    cooling_until: datetime | None

    def trouble(self) -> str:
        """Why somebody should look at it, or blank."""
        if self.condition in WELL:
            return ""
        return f"{self.name} ({self.public_id}) is {self.condition}. {self.reason or self.last_error}".rstrip()


@dataclass(frozen=True, slots=True)
class Standing:
    """All of it at one moment. `waiting` is MOST_WAITING + 1 if there is more."""

    at: datetime
    worker: Worker
    waiting: int
    oldest_waiting_since: datetime | None
    unpublished: int
    subscriptions: Sequence[Row]

    def troubles(self) -> list[str]:
        """What needs a person, each with its remedy."""
        found = worker_troubles(self.worker, now=self.at)
        if self.unpublished:
            found.append(
                f"{self.unpublished} events have no payload. See their errors in the admin, mend the order source."
            )
        return found + [trouble for row in self.subscriptions if (trouble := row.trouble())]


def worker_troubles(worker: Worker, *, now: datetime) -> list[str]:
    """What is wrong with who should send, each with its remedy."""
    found = []
    if worker.seen_at is None:
        found.append(f"No worker has ever been seen. {QCLUSTER}")
    elif worker.is_missing(now=now):
        found.append(f"No worker has been seen for {moments.span(now - worker.seen_at)}. {QCLUSTER}")
    if worker.sweep_due_at and worker.sweep_is_late(now=now):
        found.append(f"The sweep has been due for {moments.span(now - worker.sweep_due_at)}. {QCLUSTER}")
    return found


def look(*, now: datetime) -> Standing:
    """Ask the database. The number of queries does not grow with the subscriptions."""
    subscriptions = list(Subscription.objects.order_by("name", "pk"))
    health = health_of(subscriptions, now=now)
    waiting = backlog(at_most=MOST_WAITING)
    return Standing(
        at=now,
        worker=tasks.look_at_worker(),
        waiting=waiting.waiting,
        oldest_waiting_since=waiting.oldest.created_at if waiting.oldest else None,
        unpublished=Event.objects.unpublished().count(),
        subscriptions=[_row(one, health[one.pk], now=now) for one in subscriptions],
    )


def _row(subscription: Subscription, health: Health, *, now: datetime) -> Row:
    return Row(
        public_id=subscription.public_id,
        name=subscription.name,
        condition=condition(subscription, now=now).value,
        reason=subscription.state_reason,
        success_rate=health.success_rate,
        waiting=health.waiting,
        last_success_at=subscription.last_success_at,
        last_error=subscription.last_failure,
        last_error_at=subscription.last_failure_at,
        cooling_until=subscription.cooling_until,
    )


def told(standing: Standing) -> dict[str, Any]:
    """It as a dict for programs, with `troubles`."""
    return {**asdict(standing), "troubles": standing.troubles()}


def columns(rows: Iterable[Sequence[str]]) -> list[str]:
    """The rows as lines whose columns stand below each other."""
    rows = list(rows)
    widths = [max(len(row[number]) for row in rows) for number in range(len(rows[0]))] if rows else []
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
