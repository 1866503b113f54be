"""Reconciliations: comparisons of all orders with what was last published of them. `reconciling` does the work."""

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from orderhooks.models.events import IDENTIFIER_LENGTH

__all__ = ["Reconciliation"]


class ReconciliationQuerySet(models.QuerySet["Reconciliation"]):
    def finished(self) -> "ReconciliationQuerySet":
        """Those that compared all orders, the latest first."""
        return self.filter(state=Reconciliation.State.DONE).order_by("-finished_at", "-pk")

    def under_way(self) -> "Reconciliation | None":
        """The one that the worker has to go on with."""
        return self.filter(is_scheduled=True, state=Reconciliation.State.RUNNING).order_by("pk").first()


class Reconciliation(models.Model):
    """One comparison: how far it has got, and how many orders of each kind it found.

    It goes through the orders of each source by key, and then through the source's digests by id, for orders that were
    deleted. `source`, `phase` and `cursor` are where the next batch begins.
    """

    class State(models.TextChoices):
        RUNNING = "running", _("running")
        CANCELLED = "cancelled", _("cancelled")
        DONE = "done", _("done")

    class Phase(models.TextChoices):
        ORDERS = "orders", _("orders")
        DIGESTS = "digests", _("digests")

    # Only orders dated since then. None: all.
    since = models.DateTimeField(null=True)
    # Started by the worker, which goes on with it; otherwise a command does.
    is_scheduled = models.BooleanField(default=False)
    state = models.CharField(max_length=16, choices=State, default=State.RUNNING)
    source = models.CharField(max_length=64)
    phase = models.CharField(max_length=16, choices=Phase, default=Phase.ORDERS)
    cursor = models.CharField(max_length=IDENTIFIER_LENGTH, blank=True)
    compared = models.PositiveBigIntegerField(default=0)
    # How many of them differ: see `reconciling.Kind`.
    changed = models.PositiveBigIntegerField(default=0)
    unknown = models.PositiveBigIntegerField(default=0)
    deleted = models.PositiveBigIntegerField(default=0)
    unreadable = models.PositiveBigIntegerField(default=0)
    # Orders without an event that are older than the first subscription. They do not count as different.
    older = models.PositiveBigIntegerField(default=0)
    # The numbers of the first orders that differ.
    examples = models.JSONField(default=list)
    # Of the differences, how many were published.
    published = models.PositiveBigIntegerField(default=0)
    started_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True)

    objects = ReconciliationQuerySet.as_manager()

    class Meta:
        base_manager_name = "objects"
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=["running", "cancelled", "done"]), name="orderhooks_reconciliation_state"
            ),
            models.CheckConstraint(
                condition=Q(state="running") | Q(finished_at__isnull=False), name="orderhooks_reconciliation_finished"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.started_at:%Y-%m-%d %H:%M} {self.state}"

    @property
    def differing(self) -> int:
        """How many orders differ from what was last published of them."""
        return self.changed + self.unknown + self.deleted + self.unreadable

    def unpublished(self) -> int:
        """How many differences it found and did not publish."""
        return self.differing - self.published

    def save_batch(self, *, begun_at: tuple[str, str, str]) -> bool:
        """Write down a batch that began at that source, phase and cursor. False if another process was first."""
        source, phase, cursor = begun_at
        mine = Reconciliation.objects.filter(
            pk=self.pk, state=self.State.RUNNING, source=source, phase=phase, cursor=cursor
        )
        moved = ("source", "phase", "cursor", "state", "finished_at", "examples", *COUNTERS)
        return mine.update(**{name: getattr(self, name) for name in moved}) == 1


COUNTERS = ("compared", "changed", "unknown", "deleted", "unreadable", "older")
