"""Standing: how deliveries are going, for `orderhooks_status`: each subscription, the worker, the sweep, what waits."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from orderhooks import tasks
from orderhooks.management import moments
from orderhooks.models import Event, Pump, Subscription
from orderhooks.models.health import Backlog, Condition, Health, backlog, condition, health_of

__all__ = [
    "SWEEP_LATE",
    "WELL",
    "WORKER_AWAY",
    "Row",
    "Standing",
    "Worker",
    "columns",
    "look",
    "look_at_worker",
    "told",
]

MOST_WAITING = 10_000
# A worker that has nothing to do may be away between two sweeps.
WORKER_AWAY = timedelta(minutes=2)
SWEEP_LATE = timedelta(seconds=90)
WELL = (Condition.ACTIVE.value, Condition.PAUSED.value)


@dataclass(frozen=True, slots=True)
class Row:
    """One subscription. Times are ISO 8601 in `told`; `success_rate` is from 0 to 1, None where nothing was sent."""

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


@dataclass(frozen=True, slots=True)
class Worker:
    """Who is there to send. `sweep_due_at` is None if the sweep is off."""

    at_work: bool
    seen_at: datetime | None
    sweep_due_at: datetime | None


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
        worker, now = self.worker, self.at
        found = []
        if worker.seen_at is None:
            found.append("No worker has ever been seen. Start `manage.py qcluster`.")
        elif not worker.at_work and now - worker.seen_at > WORKER_AWAY:
            found.append(
                f"No worker has been seen for {moments.span(now - worker.seen_at)}. Start `manage.py qcluster`."
            )
        if worker.sweep_due_at is not None and now - worker.sweep_due_at > SWEEP_LATE:
            found.append("The sweep is late, and no cluster starts it. Start `manage.py qcluster`.")
        if self.unpublished:
            found.append(
                f"{self.unpublished} events have no payload. See their errors in the admin, mend the order source."
            )
        ill = (row for row in self.subscriptions if row.condition not in WELL)
        found += [f"{row.name} ({row.public_id}) is {row.condition}. {row.reason or row.last_error}" for row in ill]
        return found


def look(*, now: datetime) -> Standing:
    """Ask the database. The number of queries does not grow with the subscriptions."""
    subscriptions = list(Subscription.objects.order_by("name", "pk"))
    health = health_of(subscriptions, now=now)
    waiting: Backlog = backlog(at_most=MOST_WAITING)
    return Standing(
        at=now,
        worker=look_at_worker(),
        waiting=waiting.waiting,
        oldest_waiting_since=waiting.oldest.created_at if waiting.oldest else None,
        unpublished=Event.objects.unpublished().count(),
        subscriptions=[_row(one, health[one.pk], now=now) for one in subscriptions],
    )


def look_at_worker() -> Worker:
    """Who is there to send, and when the next sweep is due."""
    return Worker(Pump.objects.fresh().exists(), Pump.objects.last_seen_at(), tasks.sweep_due_at())


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
    """It as JSON values, with `troubles`."""
    return {**_json(asdict(standing)), "troubles": standing.troubles()}


def _json(value: Any) -> Any:
    match value:
        case datetime():
            return value.isoformat()
        case Mapping():
            return {key: _json(one) for key, one in value.items()}
        case list() | tuple():
            return [_json(one) for one in value]
        case _:
            return value


def columns(rows: Iterable[Sequence[str]]) -> list[str]:
    """The rows as lines whose columns stand below each other."""
    rows = list(rows)
    widths = [max(len(row[number]) for row in rows) for number in range(len(rows[0]))] if rows else []
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
