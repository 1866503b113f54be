"""Replaying: makes due again, in batches, what operators want sent again. The pump calls `process_batch`."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db.models import F

from orderhooks import logs, matching
from orderhooks.db.locks import brief_transaction
from orderhooks.matching import WANTED, Verdict
from orderhooks.models import Delivery, Replay
from orderhooks.models.events import EventQuerySet

__all__ = ["Estimate", "estimate", "process_batch"]

logger = logs.get_logger(__name__)

BATCH = 300
# A longer time or a higher count is only said to be more.
EVENTS_LOOKED_AT = 20_000
# Of a subscription that chooses by what events hold: each is read.
EVENTS_READ = 1000
BATCH_READ = 50
READ_SECONDS = 2.0
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
        return _read_and_count(left, replay, is_last=event_range.is_last)
    count = left[: MOST_COUNTED + 1].count()
    return Estimate(min(count, MOST_COUNTED), is_exact=event_range.is_last and count <= MOST_COUNTED)


def _read_and_count(left: EventQuerySet, replay: Replay, *, is_last: bool) -> Estimate:
    until = time.monotonic() + READ_SECONDS
    matcher, count = matching.Matcher(), 0
    for event in left.only(*matching.FIELDS).order_by("pk").iterator(chunk_size=BATCH_READ):
        count += matcher.select(event, replay.subscription).mismatch is None
        if time.monotonic() > until:
            return Estimate(count, is_exact=False)
    return Estimate(count, is_exact=is_last)


def process_batch(*, now: datetime) -> int:
    """Move each running replay on by a batch. Returns how many were moved. See Note [Replays].

    Raises an OperationalError for which `locks.is_lock_timeout` is true if another session keeps a row locked.
    """
    return sum(_advance(replay, now=now) for replay in Replay.objects.running().select_related("subscription"))


def _advance(replay: Replay, *, now: datetime) -> bool:
    event_range = replay.next_range(replay.cursor, BATCH_READ if replay.subscription.is_selective else BATCH)
    with brief_transaction(Replay.objects.db):
        if not replay.advance(event_range, now=now):
            return False
        done = _make_due(replay, _chosen(replay, replay.events(event_range).order_by("pk")), now=now)
        Replay.objects.filter(pk=replay.pk).update(done=F("done") + done)
    logger.info("replay", replay=replay.public_id, sequence=event_range.up_to, deliveries=done)
    return True


def _chosen(replay: Replay, events: EventQuerySet) -> dict[int, Verdict]:
    """The primary keys of the events to send, with the verdict about each: its filter may not be able to judge it."""
    if not replay.subscription.is_selective:
        return dict.fromkeys(events.values_list("pk", flat=True), WANTED)
    matcher = matching.Matcher()
    verdicts = {event.pk: matcher.select(event, replay.subscription) for event in events.only(*matching.FIELDS)}
    return {key: verdict for key, verdict in verdicts.items() if verdict.mismatch is None}


def _make_due(replay: Replay, events: Mapping[int, Verdict], *, now: datetime) -> int:
    there = Delivery.objects.filter(subscription=replay.subscription, event__in=events)
    known = set(there.values_list("event", flat=True))
    # Automatic, so that they keep to the endpoint's limits and wait while it cools down.
    due = {"next_attempt_at": now, "trigger": Delivery.Trigger.AUTOMATIC, "requested_by": replay.label}
    # They had ended.
    anew = {"planned_at": None, "uncounted_attempts": F("attempts_made")}
    rearmed = there.filter(replay.rearms())
    if unjudged := [key for key, verdict in events.items() if verdict.error and key in known]:
        rearmed.filter(event__in=unjudged).update(is_unjudged=True)
    again = rearmed.update(state=Delivery.State.PENDING, finished_at=None, **anew, **due)
    if replay.only == Replay.Only.FAILED:
        return again
    missing = {key: verdict for key, verdict in events.items() if key not in known}
    Delivery.objects.bulk_create(
        [
            matching.new_delivery(verdict, event_id=key, subscription=replay.subscription, **due)
            for key, verdict in missing.items()
        ],
        ignore_conflicts=True,
    )
    return again + len(missing)
