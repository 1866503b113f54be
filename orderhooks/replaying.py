"""Replaying: makes due again, in batches, what operators want sent again. The pump calls `process_batch`."""

import logging
from dataclasses import dataclass
from datetime import datetime

from django.db.models import F

from orderhooks import matching
from orderhooks.db.locks import brief_transaction
from orderhooks.models import Delivery, Event, Replay
from orderhooks.models.events import EventQuerySet

__all__ = ["Estimate", "estimate", "process_batch"]

logger = logging.getLogger(__name__)

BATCH = 300
# A longer time or a higher count is only said to be more.
EVENTS_LOOKED_AT = 20_000
# Of a subscription that chooses by what events hold: each is read.
EVENTS_READ = 1000
MOST_COUNTED = 10_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """How many deliveries a replay would send. If it is not exact, at least `count`."""

    count: int
    is_exact: bool


def estimate(replay: Replay) -> Estimate:
    """Count what a replay would send. It need not be saved. The cost is bounded, so the count may be too."""
    is_selective = replay.subscription.is_selective
    event_range = replay.next_range(replay.start(), EVENTS_READ if is_selective else EVENTS_LOOKED_AT)
    left = replay.left(event_range)
    if is_selective:
        count = sum(1 for _event in matching.wanted(left.only(*matching.FIELDS).iterator(), replay.subscription))
    else:
        count = left[: MOST_COUNTED + 1].count()
    return Estimate(min(count, MOST_COUNTED), is_exact=event_range.is_last and count <= MOST_COUNTED)


def process_batch(*, now: datetime) -> int:
    """Move each running replay on by a batch. Returns how many were moved. See Note [Replays].

    Raises an OperationalError for which `locks.is_lock_timeout` is true if another session keeps a row locked.
    """
    return sum(_advance(replay, now=now) for replay in Replay.objects.running().select_related("subscription"))


def _advance(replay: Replay, *, now: datetime) -> bool:
    event_range = replay.next_range(replay.cursor, BATCH)
    with brief_transaction(Replay.objects.db):
        if not replay.advance(event_range, now=now):
            return False
        done = _make_due(replay, _chosen(replay, replay.events(event_range).order_by("pk"), now=now), now=now)
        Replay.objects.filter(pk=replay.pk).update(done=F("done") + done)
    logger.info("replay replay=%s cursor=%s deliveries=%d", replay.public_id, event_range.up_to, done)
    return True


def _chosen(replay: Replay, events: EventQuerySet, *, now: datetime) -> list[int]:
    """The primary keys of the events to send. Those that the filter can't judge become deliveries that are held."""
    if not replay.subscription.is_selective:
        return list(events.values_list("pk", flat=True))
    chosen: list[Event] = []
    unjudged: list[Delivery] = []
    matcher = matching.Matcher()
    for event in events.only(*matching.FIELDS):
        verdict = matcher.select(event, replay.subscription)
        if verdict.error:
            unjudged.append(matching.held(event, replay.subscription, verdict, now=now))
        elif verdict.is_wanted:
            chosen.append(event)
    Delivery.objects.bulk_create(unjudged, ignore_conflicts=True)
    return [event.pk for event in chosen]


def _make_due(replay: Replay, events: list[int], *, now: datetime) -> int:
    there = Delivery.objects.filter(subscription=replay.subscription, event__in=events)
    known = set(there.values_list("event", flat=True))
    # Automatic, so that they keep to the endpoint's limits and wait while it cools down.
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
