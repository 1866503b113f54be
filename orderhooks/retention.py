"""Retention: what is finished and old is deleted, in small batches. Deliveries that wait are never deleted."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from functools import partial
from itertools import takewhile
from typing import Any

from django.db import DatabaseError, models, router, transaction
from django.db.models import Exists, F, OuterRef
from django.utils import timezone

from orderhooks import digests, logs, partitions, stores
from orderhooks.db.locks import locked_if_free
from orderhooks.models.attempt_stats import AttemptStats
from orderhooks.models.backfills import Backfill
from orderhooks.models.capture_failures import CaptureFailure
from orderhooks.models.deliveries import Attempt, Delivery
from orderhooks.models.events import Event, EventQuerySet
from orderhooks.models.feed_consumers import FeedConsumer
from orderhooks.models.idempotency import IdempotentRequest
from orderhooks.models.objective_stats import FINE, HOURLY, KEEP_FINE, ObjectiveStats
from orderhooks.models.order_digests import OrderDigest
from orderhooks.models.receipts import LatestSequence, Receipt
from orderhooks.models.reconciliations import Reconciliation
from orderhooks.models.replays import Replay
from orderhooks.models.retention_progress import RetentionProgress
from orderhooks.retention_periods import Cutoffs

__all__ = ["keep_partitions", "old_ranges", "prune", "whole_months"]

logger = logs.get_logger(__name__)

AT_ONCE = 1000
# For the digests of the events that go.
DIGEST_SECONDS = 5.0
FINISHED = (Delivery.State.DELIVERED, Delivery.State.FAILED, Delivery.State.SKIPPED)
# By then the deliveries of an event have ended, but for those that are held and those that people requested.
SETTLED = timedelta(days=7)
NOT_DROPPED = "a partition is left as it is; the next day tries again"
NOT_MADE = (
    "a partition could not be made, so its rows go into the table of the others; the next day tries again. "
    "If rights are missing, let the worker's user own the tables, and create some: GRANT CREATE ON SCHEMA"
)
BLANK = {"request_headers": {}, "response_headers": {}, "response_body": ""}


def prune(*, before: Cutoffs) -> int:
    """Delete one batch of each kind of record that is finished and older than `before` says of its kind. Of an attempt,
    headers and bodies may go before the attempt. See `retention_periods`.

    Returns how many rows went or were blanked: 0 when nothing is left to do. Attempts that went with their delivery do
    not count.
    """
    before = whole_months(before)
    return (
        _blank_attempts(before)
        + _prune_attempts(before)
        + _prune_deliveries(before["deliveries"])
        + _prune_events(before["events"])
        + sum(_delete(rows.model, keys) for rows, keys in _old(before))
    )


def keep_partitions(*, now: datetime, before: Cutoffs) -> list[str]:
    """Where tables are divided, make the partitions to come and drop those that are old.

    Returns the tables that were dropped. One that can't be dropped yet is pruned in batches, like the rest. An error of
    the database is logged: the next day is as good.
    """
    if not partitions.are_used():
        return []
    _alone(NOT_MADE, partial(partitions.add_months, now=now))
    old = [month for month in partitions.months() if month.ends_at <= before["attempts"]]
    dropped = [month.table for month in old if _drop(month.table, partial(partitions.drop, month))]
    if not partitions.are_ranged():
        return dropped
    _alone(NOT_MADE, partial(partitions.add_ranges, now=now))
    before = whole_months(before)
    return [*dropped, *_drop_deliveries(before["deliveries"]), *_drop_events(before["events"])]


def _drop_deliveries(before: datetime) -> Iterator[str]:
    for part in partitions.old_ranges(partitions.DELIVERIES, before=before - SETTLED):
        if _drop(part.table, partial(partitions.drop_deliveries, part, before=before)):
            yield part.table


def _drop_events(before: datetime) -> Iterator[str]:
    old = partitions.old_ranges(partitions.EVENTS, before=before - SETTLED)
    # See Note [Digests].
    if not old or not _alone(NOT_DROPPED, partial(digests.catch_up, now=timezone.now(), seconds=DIGEST_SECONDS)):
        return
    for part in old:
        count = partial(_count_missed, part.events())
        if _drop(part.table, partial(partitions.drop_events, part, before=before, count=count)):
            yield part.table


def old_ranges(before: Cutoffs) -> list[str]:
    """The tables of events and deliveries that could be dropped by their age."""
    before = whole_months(before)
    return [
        part.table
        for division, kind in ((partitions.DELIVERIES, "deliveries"), (partitions.EVENTS, "events"))
        for part in partitions.old_ranges(division, before=before[kind] - SETTLED)
    ]


def _drop(table: str, step: Callable[[], Any]) -> Any:
    return _alone(NOT_DROPPED, step, table=table)


def _alone(text: str, step: Callable[[], Any], *, table: str | None = None) -> Any:
    """What a step on a partition returns; None if the database refuses it, which keeps no other from its turn."""
    try:
        return step()
    except DatabaseError as error:
        logger.error(text, table=table, error=error)
        return None


def whole_months(before: Cutoffs) -> Cutoffs:
    """Attempts that are divided by month stay until all of their month may go; so do their deliveries, and events that
    are divided too.
    """
    if not partitions.are_used():
        return before
    month = partitions.month_of(before["attempts"])
    whole = {"attempts": month, "deliveries": min(before["deliveries"], month)}
    if before["attempt_bodies"] == before["attempts"]:
        whole["attempt_bodies"] = month
    if partitions.are_ranged():
        whole["events"] = min(before["events"], whole["deliveries"])
    return Cutoffs({**before.before, **whole})


def _blank_attempts(before: Cutoffs) -> int:
    """Blank the headers and bodies of one batch of attempts that are kept."""
    if before["attempt_bodies"] <= before["attempts"]:
        return 0  # the bodies go with the attempts
    start = RetentionProgress.objects.reached(ATTEMPT_BODIES)
    keys = _oldest(Attempt.objects.filter(pk__gt=start), "started_at", before["attempt_bodies"])
    if not keys:
        return 0
    with transaction.atomic(using=Attempt.objects.db):
        Attempt.objects.filter(pk__in=keys).update(**BLANK)
        RetentionProgress.objects.move(ATTEMPT_BODIES, start=start, end=keys[-1])
    return len(keys)


def _prune_attempts(before: Cutoffs) -> int:
    """Delete one batch of attempts whose deliveries are kept. What waits is in the delivery, not in its attempts."""
    if before["attempts"] <= before["deliveries"]:
        return 0  # they go with their deliveries
    return _delete(Attempt, _oldest(Attempt.objects.all(), "started_at", before["attempts"]))


ATTEMPT_BODIES = "attempt_bodies"


def _prune_deliveries(before: datetime) -> int:
    # Oldest first, up to the first that is young: the log is not scanned for what is not there.
    young = Delivery.objects.filter(created_at__gte=before).order_by("id").values_list("id", flat=True).first()
    whole = _first_kept(partitions.DELIVERIES, before)
    gone = 0
    for state in FINISHED:
        old = Delivery.objects.filter(state=state, finished_at__lt=before).order_by("id")
        if young is not None:
            old = old.filter(id__lt=young)
        if whole is not None:
            old = old.filter(event__lt=whole)
        with transaction.atomic(using=Delivery.objects.db):
            keys = _locked(old)
            Attempt.objects.filter(delivery__in=keys).delete()
            gone += _delete_alone(Delivery.objects.filter(pk__in=keys))
    return gone


def _prune_events(before: datetime) -> int:
    has_digests = digests.catch_up(now=timezone.now(), seconds=DIGEST_SECONDS)
    young = Event.objects.filter(occurred_at__gte=before).order_by("sequence").values_list("pk", flat=True).first()
    old = Event.objects.filter(~Exists(Delivery.objects.filter(event=OuterRef("pk"))), routed_at__lt=before)
    if young is not None:
        old = old.filter(sequence__lt=young)
    if (whole := _first_kept(partitions.EVENTS, before)) is not None:
        old = old.filter(sequence__lt=whole)
    if not has_digests:
        # See Note [Digests].
        old = old.filter(sequence__lte=OrderDigest.objects.reached())
    with transaction.atomic(using=Event.objects.db):
        going = Event.objects.filter(pk__in=_locked(old.order_by("sequence")))
        _count_missed(going)
        return _delete_alone(going)


def _first_kept(division: partitions.Division, before: datetime) -> int | None:
    """The sequence from which nothing is pruned by rows, because the partition will go. None: there is none."""
    return partitions.first_young(division, before=before - SETTLED) if partitions.are_ranged() else None


def _count_missed(going: EventQuerySet) -> None:
    """Count the events that go for each consumer of the feed that has not acknowledged them."""
    last = going.order_by("-sequence").values_list("sequence", flat=True).first()
    if last is None:
        return
    # Locked, so that none acknowledges while it is counted.
    consumers = list(FeedConsumer.objects.behind(last).order_by("pk").select_for_update())
    feeds = stores.feeds_of(consumers)
    for consumer in consumers:
        # Where a feed is not known, an event too many is better than one of which nobody hears.
        known = feeds[consumer.pk]
        feed = Event.objects.of_orders() if known is None else known
        missed = feed.filter(pk__in=going, sequence__gt=consumer.acknowledged, published_at__isnull=False).count()
        FeedConsumer.objects.filter(pk=consumer.pk).update(missed=F("missed") + missed)


def _old(before: Cutoffs) -> "Iterable[tuple[models.QuerySet[Any], list[int]]]":
    # Receivers' records name their database. On a replica a sequence that was just used may still look old.
    sequences = LatestSequence.objects.using(router.db_for_write(LatestSequence))
    receipts = Receipt.objects.using(router.db_for_write(Receipt))
    for rows in (
        CaptureFailure.objects.filter(last_at__lt=before["capture_failures"]),
        sequences.filter(updated_at__lt=before["receipts"]),
        AttemptStats.objects.filter(hour__lt=before["statistics"]),
        ObjectiveStats.objects.filter(minutes=HOURLY, begins_at__lt=before["statistics"]),
        ObjectiveStats.objects.filter(minutes=FINE, begins_at__lt=timezone.now() - KEEP_FINE),
        Replay.objects.filter(finished_at__lt=before["replays"]),
        Reconciliation.objects.filter(started_at__lt=before["reconciliations"]),
        OrderDigest.objects.filter(digest="", published_at__lt=before["events"]),
        Backfill.objects.filter(finished_at__lt=before["backfills"]),
        IdempotentRequest.objects.filter(created_at__lt=before["idempotency_keys"]),
    ):
        yield rows, list(rows.values_list("pk", flat=True)[:AT_ONCE])
    yield receipts, _oldest(receipts, "received_at", before["receipts"])


def _oldest(rows: "models.QuerySet[Any]", field: str, before: datetime) -> list[int]:
    """The keys of one batch, oldest first, up to the first row that is young. No index of the time is needed."""
    batch = rows.order_by("pk").values_list("pk", field)[:AT_ONCE]
    return [key for key, _at in takewhile(lambda row: row[1] < before, batch)]


def _delete(model: "type[models.Model]", keys: list[int]) -> int:
    return model._base_manager.filter(pk__in=keys).delete()[0] if keys else 0


def _delete_alone(rows: "models.QuerySet[Any]") -> int:
    """Delete rows that no other rows refer to any more, without reading them. The database refuses if some do."""
    return rows._raw_delete(rows.db) or 0  # None if no keys were given


def _locked(rows: "models.QuerySet[models.Model]") -> list[int]:
    # One that an operator is just redelivering is left for the next time.
    return list(locked_if_free(rows).values_list("pk", flat=True)[:AT_ONCE])
