"""Receipts: the webhooks that a receiver in this project has acted on. Written by `receiver.DatabaseReplays`."""

from django.db import models
from django.utils import timezone


class Receipt(models.Model):
    """One webhook that one receiver has acted on."""

    receiver = models.CharField(max_length=100, blank=True)
    webhook_id = models.CharField(max_length=200)
    received_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["receiver", "webhook_id"], name="orderhooks_receipt_once"),
        ]

    def __str__(self) -> str:
        return f"{self.receiver} {self.webhook_id}"
