"""Retention: what is finished and old is deleted, in small batches. Deliveries that wait are never deleted."""

from datetime import datetime
from typing import Any

from django.db import connections, models, transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from orderhooks import digests
from orderhooks.models.attempt_stats import AttemptStats
from orderhooks.models.backfills import Backfill
from orderhooks.models.capture_failures import CaptureFailure
from orderhooks.models.deliveries import Attempt, Delivery
from orderhooks.models.events import Event
from orderhooks.models.idempotency import KEPT_FOR, IdempotentRequest
from orderhooks.models.order_digests import OrderDigest
from orderhooks.models.receipts import LatestSequence, Receipt
from orderhooks.models.reconciliations import Reconciliation
from orderhooks.models.replays import Replay

__all__ = ["prune"]

AT_ONCE = 1000
# For the digests of the events that go.
DIGEST_SECONDS = 5.0
FINISHED = (Delivery.State.DELIVERED, Delivery.State.FAILED, Delivery.State.SKIPPED)


def prune(*, before: datetime) -> int:
    """Delete one batch of finished deliveries, replays and backfills, of events without deliveries, of receipts,
    statistics and capture failures, all older than `before`; and of idempotent requests, which nobody may repeat after
    a day.

    Returns how many rows went, attempts not counted: 0 when there is nothing left to delete.
    """
    return _prune_deliveries(before) + _prune_events(before) + sum(_prune(rows) for rows in _old(before))


def _prune_deliveries(before: datetime) -> int:
    # Oldest first, up to the first that is young: the log is not scanned for what is not there.
    young = Delivery.objects.filter(created_at__gte=before).order_by("id").values_list("id", flat=True).first()
    gone = 0
    for state in FINISHED:
        old = Delivery.objects.filter(state=state, finished_at__lt=before).order_by("id")
        if young is not None:
            old = old.filter(id__lt=young)
        with transaction.atomic(using=Delivery.objects.db):
            keys = _locked(old)
            Attempt.objects.filter(delivery__in=keys).delete()
            gone += Delivery.objects.filter(pk__in=keys).delete()[1].get(Delivery._meta.label, 0)
    return gone


def _prune_events(before: datetime) -> int:
    has_digests = digests.catch_up(now=timezone.now(), seconds=DIGEST_SECONDS)
    young = Event.objects.filter(occurred_at__gte=before).order_by("sequence").values_list("pk", flat=True).first()
    old = Event.objects.filter(~Exists(Delivery.objects.filter(event=OuterRef("pk"))), routed_at__lt=before)
    if young is not None:
        old = old.filter(sequence__lt=young)
    if not has_digests:
        # See Note [Digests].
        old = old.filter(sequence__lte=OrderDigest.objects.reached())
    with transaction.atomic(using=Event.objects.db):
        return Event.objects.filter(pk__in=_locked(old.order_by("sequence"))).delete()[0]


def _old(before: datetime) -> "list[models.QuerySet[Any]]":
    return [
        CaptureFailure.objects.filter(last_at__lt=before),
        Receipt.objects.filter(received_at__lt=before),
        LatestSequence.objects.filter(updated_at__lt=before),
        AttemptStats.objects.filter(hour__lt=before),
        Replay.objects.filter(finished_at__lt=before),
        Reconciliation.objects.filter(started_at__lt=before),
        OrderDigest.objects.filter(digest="", published_at__lt=before),
        Backfill.objects.filter(finished_at__lt=before),
        IdempotentRequest.objects.filter(created_at__lt=timezone.now() - KEPT_FOR),
    ]


def _prune(rows: "models.QuerySet[Any]") -> int:
    keys = list(rows.values_list("pk", flat=True)[:AT_ONCE])
    deleted: int = rows.model.objects.filter(pk__in=keys).delete()[0]
    return deleted


def _locked(rows: "models.QuerySet[models.Model]") -> list[int]:
    # One that an operator is just redelivering is left for the next time.
    skip_locked = connections[rows.db].features.has_select_for_update_skip_locked
    return list(rows.select_for_update(skip_locked=skip_locked).values_list("pk", flat=True)[:AT_ONCE])
