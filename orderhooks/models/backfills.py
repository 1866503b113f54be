"""Backfills: the orders that a source has already, sent to one subscription. `backfilling` does the work."""

from datetime import datetime
from typing import Any

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from orderhooks.db import public_ids
from orderhooks.db.indexes import PartialIndex
from orderhooks.models.jobs import CANCELLED, RUNNING, Job, JobQuerySet

__all__ = ["DEFAULT_RATE", "MOST_RATE", "Backfill"]

# Orders a second.
DEFAULT_RATE = 20
MOST_RATE = 1000


class BackfillQuerySet(JobQuerySet["Backfill"]):
    def due(self, *, now: datetime) -> "BackfillQuerySet":
        """Running ones whose next batch is due, the longest due first."""
        return self.running().filter(next_batch_at__lte=now).order_by("next_batch_at", "id")


class Backfill(Job):
    """One event for each order of a source, as the order is now, for one subscription alone.

    # Note [Backfills]
    It goes through the orders by primary key; the key reached is its cursor. The transaction that moves the cursor also
    makes the batch's events and deliveries, so that two workers make none twice and one that dies leaves none out.
    `next_batch_at` keeps it to its rate. While a worker reads a batch, it is also the end of that worker's lease.

    An event of the backfill must not hide a newer state of its order from a receiver that goes by `sequence`. See
    Note [Older than it looks] in `backfilling.batches`.
    """

    class State(models.TextChoices):
        RUNNING = RUNNING, _("running")
        CANCELLED = CANCELLED, _("cancelled")  # by an operator, on the way
        DONE = "done", _("done")  # each order was gone through; all is sent or waits for its turn
        FAILED = "failed", _("failed")  # it can't go on, for the reason in `error`

    public_id = models.CharField(
        max_length=public_ids.MAX_LENGTH, unique=True, editable=False, default=public_ids.backfill_id
    )
    source = models.CharField(_("source"), max_length=64)
    topic = models.CharField(_("topic"), max_length=128)
    # Only orders dated since then. Null: all.
    since = models.DateTimeField(_("since"), null=True)
    rate = models.PositiveIntegerField(
        _("orders a second"),
        default=DEFAULT_RATE,
        validators=[MinValueValidator(1), MaxValueValidator(MOST_RATE)],
    )
    state = models.CharField(_("state"), max_length=16, choices=State, default=State.RUNNING)
    # How many orders there were when it began. Null: not known, because the source has no field with the store.
    total = models.PositiveIntegerField(null=True)
    # The key of the last one, as text: those that are added meanwhile have events of their own.
    last_key = models.TextField(blank=True)
    # Orders that it has gone through, also those of another store, those that are gone, and those that failed.
    walked = models.PositiveIntegerField(_("orders"), default=0)
    # Orders whose payload could not be built.
    failed = models.PositiveIntegerField(_("failed orders"), default=0)
    # The first of these orders and its error, which may quote the order.
    first_error = models.TextField(_("first error"), blank=True)
    # Why the backfill itself failed.
    error = models.TextField(_("error"), blank=True)
    # The key of the last order that it has gone through, as text.
    cursor = models.TextField(blank=True)
    next_batch_at = models.DateTimeField(default=timezone.now)
    # How often workers began the next batch. Counted before they read it, because the store's code may kill a worker.
    tries = models.PositiveSmallIntegerField(default=0)
    # How many orders are read one by one, because a worker died while it read several.
    one_by_one = models.PositiveSmallIntegerField(default=0)

    objects = BackfillQuerySet.as_manager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("backfill")
        # In the admin's list, the dashboard comes first.
        verbose_name_plural = _("order backfills")
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=["running", "cancelled", "done", "failed"]), name="orderhooks_backfill_state"
            ),
            models.CheckConstraint(condition=Q(rate__range=(1, MOST_RATE)), name="orderhooks_backfill_rate"),
            models.CheckConstraint(
                condition=Q(state="running") | Q(finished_at__isnull=False), name="orderhooks_backfill_finished"
            ),
        ]
        indexes = [
            # Each pump's search for running backfills, and nothing else.
            PartialIndex(fields=["id"], condition=Q(state="running"), name="orderhooks_backfill_running"),
        ]

    def share_done(self) -> float:
        """How much of its orders it has gone through, from 0 to 1."""
        if self.state == self.State.DONE:
            return 1.0
        return min(1.0, self.walked / self.total) if self.total else 0.0

    def lease(self, *, until: datetime, one_by_one: int) -> bool:
        """Begin a batch: no other worker begins it before `until`. False if one has begun it or it has ended."""
        mine = Backfill.objects.filter(
            pk=self.pk, state=self.State.RUNNING, walked=self.walked, next_batch_at=self.next_batch_at
        )
        began = mine.update(next_batch_at=until, tries=F("tries") + 1, one_by_one=one_by_one)
        self.next_batch_at, self.tries, self.one_by_one = until, self.tries + 1, one_by_one
        return bool(began)

    def postpone(self, *, until: datetime, tries: int = 0) -> None:
        """Begin no batch before `until`. `tries`: how many of them count for the next batch."""
        Backfill.objects.filter(pk=self.pk, state=self.State.RUNNING, walked=self.walked).update(
            next_batch_at=until, tries=tries
        )

    def advance(self, cursor: str, orders: int, *, next_batch_at: datetime) -> bool:
        """Take the next `orders` orders for the running transaction. False if another worker has, or it has ended."""
        values: dict[str, Any] = {"cursor": cursor, "walked": F("walked") + orders, "next_batch_at": next_batch_at}
        mine = Backfill.objects.filter(pk=self.pk, state=self.State.RUNNING, walked=self.walked)
        return bool(mine.update(**values, tries=0, one_by_one=max(0, self.one_by_one - orders)))

    def end(self, state: "Backfill.State", *, now: datetime, error: str = "") -> None:
        """End it, if it is running and no other worker has gone on."""
        mine = Backfill.objects.filter(pk=self.pk, state=self.State.RUNNING, walked=self.walked)
        mine.update(state=state, finished_at=now, error=error)
