"""Replaying: makes due again, in batches, what operators want sent again. The pump calls `work_off`."""

import logging
from dataclasses import dataclass
from datetime import datetime

from django.db.models import F

from orderhooks.db.locks import brief_transaction
from orderhooks.models import Delivery, Replay

__all__ = ["Expected", "expect", "work_off"]

logger = logging.getLogger(__name__)

BATCH = 300
# A longer time or a higher count is only said to be more.
EVENTS_LOOKED_AT = 20_000
MOST_COUNTED = 10_000


@dataclass(frozen=True, slots=True)
class Expected:
    """How many deliveries a replay would send; at least so many if not exact."""

    count: int
    is_exact: bool


def expect(replay: Replay) -> Expected:
    """Count what a replay would send. It need not be saved. The cost is bounded, so the count may be too."""
    stretch = replay.stretch(replay.start(), EVENTS_LOOKED_AT)
    count = replay.left(stretch)[: MOST_COUNTED + 1].count()
    return Expected(min(count, MOST_COUNTED), is_exact=stretch.is_last and count <= MOST_COUNTED)


def work_off(*, now: datetime) -> int:
    """Move each running replay on by a batch. Returns how many were moved. See Note [Replays].

    Raises an error that `locks.is_lock_timeout` knows if somebody keeps a row locked.
    """
    return sum(_move_on(replay, now=now) for replay in Replay.objects.running().select_related("subscription"))


def _move_on(replay: Replay, *, now: datetime) -> bool:
    stretch = replay.stretch(replay.cursor, BATCH)
    with brief_transaction(Replay.objects.db):
        if not replay.move_on(stretch, now=now):
            return False
        done = _make_due(replay, list(replay.events(stretch).order_by("pk").values_list("pk", flat=True)), now=now)
        Replay.objects.filter(pk=replay.pk).update(done=F("done") + done)
    logger.info("replay replay=%s cursor=%s deliveries=%d", replay.public_id, stretch.up_to, done)
    return True


def _make_due(replay: Replay, events: list[int], *, now: datetime) -> int:
    there = Delivery.objects.filter(subscription=replay.subscription, event__in=events)
    known = set(there.values_list("event", flat=True))
    # Automatic: so many at once keep to the endpoint's limits, and wait while it cools down.
    due = {"next_attempt_at": now, "trigger": Delivery.Trigger.AUTOMATIC, "requested_by": replay.label}
    # They had ended.
    anew = {"planned_at": None, "uncounted_attempts": F("attempts_made")}
    again = there.filter(replay.rearms()).update(state=Delivery.State.PENDING, finished_at=None, **anew, **due)
    if replay.only == Replay.Only.FAILED:
        return again
    missing = [event for event in events if event not in known]
    Delivery.objects.bulk_create(
        [Delivery(event_id=event, subscription=replay.subscription, **due) for event in missing], ignore_conflicts=True
    )
    return again + len(missing)
