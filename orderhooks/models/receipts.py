"""Receipts: the webhooks that receivers in this project have acted on, and how far they are with each order.

Written by `receiver.DatabaseDeduplicator` and `receiver.DatabaseSequenceGuard`.
"""

from django.db import IntegrityError, models, router, transaction
from django.utils import timezone


class ReceiptQuerySet(models.QuerySet["Receipt"]):
    def record(self, *, receiver: str, webhook_id: str) -> bool:
        """Record that a webhook was acted on. False if it was recorded before."""
        using = router.db_for_write(Receipt)
        try:
            with transaction.atomic(using=using):
                self.using(using).create(receiver=receiver, webhook_id=webhook_id)
        except IntegrityError:
            return False
        return True


class Receipt(models.Model):
    """One webhook that one receiver has acted on. Also a request that a receiver has made, under `resume sub_…`."""

    receiver = models.CharField(max_length=100, blank=True)
    webhook_id = models.CharField(max_length=200)
    received_at = models.DateTimeField(default=timezone.now)

    objects = ReceiptQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["receiver", "webhook_id"], name="orderhooks_receipt_once"),
        ]

    def __str__(self) -> str:
        return f"{self.receiver} {self.webhook_id}"


class LatestSequence(models.Model):
    """The newest event of one order that one receiver has acted on."""

    receiver = models.CharField(max_length=100, blank=True)
    order = models.CharField(max_length=200)
    sequence = models.PositiveBigIntegerField()
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["receiver", "order"], name="orderhooks_latest_sequence_once"),
        ]
        indexes = [
            # Pruning.
            models.Index(fields=["updated_at"], name="orderhooks_latest_sequence_age"),
        ]

    def __str__(self) -> str:
        return f"{self.receiver} {self.order}: {self.sequence}"
