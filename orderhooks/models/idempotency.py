"""Requests to the API that carried an `Idempotency-Key`, with the responses that they got; kept for a day or longer."""

import hashlib
from datetime import datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, models, transaction
from django.utils import timezone

from orderhooks import retention_periods

__all__ = ["IdempotentRequest"]


def kept_since(now: datetime) -> datetime:
    """A request that was made after this time is recognized when it is repeated."""
    return now - timedelta(days=retention_periods.current().idempotency_keys)


def digest_of(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


class IdempotentRequestQuerySet(models.QuerySet["IdempotentRequest"]):
    def claim(self, user_id: int, key: str, *, fingerprint: str, now: datetime) -> "tuple[IdempotentRequest, bool]":
        """The user's request of that key, and whether it is this one. In a transaction, which another request of the
        same key waits for.
        """
        mine = {"user_id": user_id, "key_digest": digest_of(key.encode())}
        self.filter(**mine, created_at__lte=kept_since(now)).delete()
        try:
            with transaction.atomic(using=self.db):
                return self.create(**mine, fingerprint=fingerprint, created_at=now), True
        except IntegrityError:
            return self.get(**mine), False

    def find(self, user_id: int, key: str, *, now: datetime) -> "IdempotentRequest | None":
        """The user's request of that key, if it was made and responded to within the time that keys are kept."""
        return self.filter(user=user_id, key_digest=digest_of(key.encode()), created_at__gt=kept_since(now)).first()


class IdempotentRequest(models.Model):
    """A request that is handled once: who repeats it gets the same response."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        related_name="+",
        db_index=False,  # orderhooks_idempotent_once begins with it
    )
    # Of the key: databases differ in what texts are the same.
    key_digest = models.CharField(max_length=64)
    # Of method, address, body, and the user's rights: another request may not come under the same key.
    fingerprint = models.CharField(max_length=64)
    status_code = models.PositiveSmallIntegerField(default=0)
    # Encrypted, because the response to a new subscription holds its secret.
    response = models.TextField(blank=True)
    headers = models.JSONField(default=dict)
    created_at = models.DateTimeField(default=timezone.now)

    objects = IdempotentRequestQuerySet.as_manager()

    class Meta:
        base_manager_name = "objects"
        constraints = [models.UniqueConstraint(fields=["user", "key_digest"], name="orderhooks_idempotent_once")]
        indexes = [
            # Pruning.
            models.Index(fields=["created_at"], name="orderhooks_idempotent_created")
        ]

    def __str__(self) -> str:
        return f"request {self.pk}"
