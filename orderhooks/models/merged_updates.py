"""Merged updates: a delivery's part in Note [Merging updates]: what waits, what was merged away, what carries it."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from django.db import models

from orderhooks.db.encrypted_records import EncryptedJSONField

if TYPE_CHECKING:
    from orderhooks.models.deliveries import Delivery, DeliveryQuerySet

__all__ = ["HasMergedUpdates", "MergedUpdatesQuerySet"]


class MergedUpdatesQuerySet(models.QuerySet["Delivery"]):
    def merging(self) -> Self:
        """Updates that a later one of their order may take along: an interval applies, and no attempt has begun."""
        states, triggers = self.model.State, self.model.Trigger
        return self.filter(
            state=states.PENDING,
            trigger=triggers.AUTOMATIC,
            attempts_made=0,
            update_due_at__isnull=False,
            requested_by="",
        )

    def merged_away(self) -> Self:
        """Those that a later one carries: `is_merged` as a query."""
        return self.filter(state=self.model.State.SKIPPED, merges_from__isnull=False, merged_changes__isnull=True)

    def carriers(self) -> Self:
        """Those that carry the changes of others, with their events."""
        carrying = self.filter(merges_from__isnull=False, merged_changes__isnull=False)
        return carrying.select_related("event").defer("event__payload", "event__changes")

    def of_orders(self, source: str, order_pks: Sequence[str]) -> Self:
        """Those of some orders' events."""
        return self.filter(event__source=source, event__order_pk__in=order_pks)

    def end_interval(self, *, now: datetime) -> int:
        """Send now, of these, the updates that wait until an interval is over. Returns how many."""
        return self.merging().filter(next_attempt_at__gt=now).update(next_attempt_at=now, update_due_at=now)


class HasMergedUpdates(models.Model):
    """A delivery that may have to wait because of its subscription's `update_interval_seconds`, and may merge."""

    # Of an `order.updated` of a subscription with an interval: when it lets it out. Null: no interval applies.
    update_due_at = models.DateTimeField(null=True)
    # The sequence of the first of the updates that merged. All of them have it, those that were merged away and the one
    # that is sent. Null: it is sent by itself.
    merges_from = models.BigIntegerField(null=True)
    # The `changes` of all that merged, which it sends in place of its event's. Null: none did, or it was merged away.
    merged_changes = EncryptedJSONField(null=True)

    class Meta:
        abstract = True

    @property
    def is_merged(self) -> bool:
        """Whether it is not sent, because a later update of its order carries its changes."""
        row: Any = self
        return row.state == row.State.SKIPPED and self.merges_from is not None and self.merged_changes is None

    @property
    def waits_for_interval(self) -> bool:
        """Whether an interval between updates says when its first attempt is due, or was."""
        row: Any = self
        automatic = row.state == row.State.PENDING and row.trigger == row.Trigger.AUTOMATIC
        return automatic and self.update_due_at is not None and not row.attempts_made

    def carrier(self: Any) -> "Delivery | None":
        """The delivery that carries the changes of this one, if it was merged away. None if it has been pruned."""
        if not self.is_merged:
            return None
        found: Delivery | None = self._of_same_order().carriers().filter(merges_from=self.merges_from).first()
        return found

    def carried(self: Any) -> "DeliveryQuerySet":
        """Those that were merged into this one."""
        if self.merged_changes is None:
            return type(self).objects.none()  # type: ignore[no-any-return]
        return self._of_same_order().filter(merges_from=self.merges_from).exclude(pk=self.pk)  # type: ignore[no-any-return]
