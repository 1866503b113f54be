"""Order digests: what was last published of each order, in 64 characters. They outlive the events."""

from django.db import models
from django.db.models import Max, Q

from orderhooks.db.indexes import PartialIndex
from orderhooks.models.events import IDENTIFIER_LENGTH

__all__ = ["OrderDigest"]


class OrderDigestQuerySet(models.QuerySet["OrderDigest"]):
    def reached(self) -> int:
        """The sequence of the last event that has become a digest; 0 if none has."""
        return self.aggregate(reached=Max("sequence"))["reached"] or 0


class OrderDigest(models.Model):
    """The newest event of an order, without its payload. `digests` writes it."""

    source = models.CharField(max_length=64)
    order_pk = models.CharField(max_length=IDENTIFIER_LENGTH)
    # The `id` in the payload, as text, by which receivers tell orders apart. Blank if it has none.
    order_id = models.CharField(max_length=IDENTIFIER_LENGTH, blank=True)
    order_number = models.CharField(max_length=IDENTIFIER_LENGTH, blank=True)
    store = models.CharField(max_length=IDENTIFIER_LENGTH, blank=True)
    # Of the event.
    sequence = models.BigIntegerField()
    published_at = models.DateTimeField()
    # See `payloads.digest`. Blank: the event is the order's deletion.
    digest = models.CharField(max_length=64, blank=True)

    objects = OrderDigestQuerySet.as_manager()

    class Meta:
        base_manager_name = "objects"
        constraints = [
            models.UniqueConstraint(fields=["source", "order_pk"], name="orderhooks_digest_of_order"),
        ]
        indexes = [
            # The list of digests, and the last event that has become one.
            models.Index(fields=["sequence"], name="orderhooks_digest_sequence"),
            # Pruning: orders that were deleted.
            PartialIndex(fields=["published_at"], condition=Q(digest=""), name="orderhooks_digest_deleted"),
        ]

    def __str__(self) -> str:
        return f"{self.source}:{self.order_pk} {self.sequence}"
