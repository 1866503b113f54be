"""Jobs: what an operator has workers do for a subscription in the background, in batches. Replays and backfills."""

from typing import Any, Generic, Self, TypeVar

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from orderhooks.models.subscriptions import Subscription

__all__ = ["CANCELLED", "RUNNING", "Job", "JobQuerySet"]

Row = TypeVar("Row", bound=models.Model)
# States that each kind of job has.
RUNNING = "running"
CANCELLED = "cancelled"


class JobQuerySet(models.QuerySet[Row], Generic[Row]):
    def running(self) -> Self:
        """Those that have not finished, oldest first."""
        return self.filter(state=RUNNING).order_by("id")

    def cancel(self) -> int:
        """Stop them where they are: the deliveries made so far are sent. Returns how many were running."""
        return self.filter(state=RUNNING).update(state=CANCELLED, finished_at=timezone.now())


class Job(models.Model):
    """Deliveries that workers make for one subscription, batch by batch, until the job is done or cancelled."""

    subscription = models.ForeignKey(
        Subscription, models.CASCADE, related_name="%(class)ss", verbose_name=_("subscription")
    )
    # Deliveries that were made or became due again.
    done = models.PositiveIntegerField(_("deliveries"), default=0)
    requested_by = models.CharField(_("requested by"), max_length=150, blank=True)
    created_at = models.DateTimeField(_("created at"), default=timezone.now)
    finished_at = models.DateTimeField(_("finished at"), null=True)

    public_id: Any
    state: Any
    total: Any

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return str(self.public_id)

    @property
    def label(self) -> str:
        """The value of `requested_by` in its deliveries."""
        name = f"{self._meta.model_name} {self.public_id}"
        return f"{name} by {self.requested_by}" if self.requested_by else name

    @property
    def is_running(self) -> bool:
        return bool(self.state == RUNNING)

    def share_done(self) -> float:
        """How far it has got, from 0 to 1."""
        raise NotImplementedError
