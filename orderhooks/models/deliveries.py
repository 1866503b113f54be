"""Deliveries and their attempts: what is owed to whom, and each time we tried."""

import uuid
from datetime import datetime

from django.db import connections, models, transaction
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from orderhooks.models import public_ids
from orderhooks.models.events import Event
from orderhooks.models.subscriptions import Subscription


class DeliveryQuerySet(models.QuerySet["Delivery"]):
    def due(self, *, now: datetime) -> "DeliveryQuerySet":
        """What may be sent now, longest due first. Deliveries of a paused or disabled subscription are held."""
        return self.filter(
            state=Delivery.State.PENDING,
            next_attempt_at__lte=now,
            subscription__state=Subscription.State.ACTIVE,
        ).order_by("next_attempt_at", "id")

    def lease_expired(self, *, now: datetime) -> "DeliveryQuerySet":
        """Claimed by a worker that has not been heard of in time."""
        return self.filter(state=Delivery.State.SENDING, lease_expires_at__lte=now)

    def claim(self, *, now: datetime, limit: int, lease_until: datetime) -> list["Delivery"]:
        """Take up to `limit` due deliveries: lease, fencing token, and the attempt counted before it is made.

        Where the database can, rows that another worker is claiming are skipped; elsewhere the second UPDATE finds them
        claimed already, since it repeats the condition.
        """
        token = uuid.uuid4()
        skip_locked = connections[self.db].features.has_select_for_update_skip_locked
        with transaction.atomic(using=self.db):
            rows = self.due(now=now).select_for_update(skip_locked=skip_locked, of=("self",) if skip_locked else ())
            ids = list(rows.values_list("pk", flat=True)[:limit])
            if not ids:
                return []
            self.filter(pk__in=ids, state=Delivery.State.PENDING, next_attempt_at__lte=now).update(
                state=Delivery.State.SENDING,
                attempts_made=F("attempts_made") + 1,
                lease_token=token,
                lease_expires_at=lease_until,
            )
        claimed = self.filter(state=Delivery.State.SENDING, lease_token=token).select_related("event", "subscription")
        return list(claimed.prefetch_related("subscription__secrets").order_by("next_attempt_at", "id"))

    def redeliver(self, *, now: datetime) -> int:
        """Send again, now, what is not being sent at this moment. Returns how many."""
        return self.exclude(state=Delivery.State.SENDING).update(
            state=Delivery.State.PENDING,
            next_attempt_at=now,
            finished_at=None,
            trigger=Delivery.Trigger.MANUAL,
        )


class Delivery(models.Model):
    """One event owed to one subscription."""

    class State(models.TextChoices):
        PENDING = "pending", _("pending")  # waits for `next_attempt_at`, or for its subscription to be active
        SENDING = "sending", _("sending")  # a worker holds the lease
        DELIVERED = "delivered", _("delivered")  # the receiver answered 2xx
        FAILED = "failed", _("failed")  # given up; an operator can redeliver
        SKIPPED = "skipped", _("skipped")  # an operator decided not to send it

    class Trigger(models.TextChoices):
        AUTOMATIC = "automatic", _("automatic")  # by the retry table; counts for the endpoint's health
        MANUAL = "manual", _("manual")  # an operator redelivered
        TEST = "test", _("test")

    public_id = models.CharField(
        max_length=public_ids.MAX_LENGTH, unique=True, editable=False, default=public_ids.delivery_id
    )
    event = models.ForeignKey(Event, models.CASCADE, related_name="deliveries", verbose_name=_("event"))
    subscription = models.ForeignKey(
        Subscription,
        models.CASCADE,
        related_name="deliveries",
        verbose_name=_("subscription"),
        db_index=False,  # orderhooks_delivery_subscr begins with it
    )
    state = models.CharField(_("state"), max_length=16, choices=State, default=State.PENDING)
    # What causes the next attempt (or caused the last one).
    trigger = models.CharField(_("trigger"), max_length=16, choices=Trigger, default=Trigger.AUTOMATIC)
    attempts_made = models.PositiveIntegerField(_("attempts made"), default=0)
    next_attempt_at = models.DateTimeField(_("next attempt"), null=True)
    lease_token = models.UUIDField(null=True)
    lease_expires_at = models.DateTimeField(null=True)
    last_status_code = models.PositiveSmallIntegerField(_("last status"), null=True)
    last_error = models.CharField(_("last error"), max_length=32, blank=True)
    last_detail = models.CharField(_("last outcome"), max_length=500, blank=True)
    created_at = models.DateTimeField(_("created at"), default=timezone.now)
    finished_at = models.DateTimeField(_("finished at"), null=True)

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        verbose_name = _("delivery")
        verbose_name_plural = _("deliveries")
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["event", "subscription"], name="orderhooks_delivery_once"),
            models.CheckConstraint(
                condition=Q(state__in=["pending", "sending", "delivered", "failed", "skipped"]),
                name="orderhooks_delivery_state",
            ),
            models.CheckConstraint(
                condition=~Q(state="pending") | Q(next_attempt_at__isnull=False),
                name="orderhooks_delivery_pending_is_due",
            ),
            models.CheckConstraint(
                condition=~Q(state="sending") | Q(lease_token__isnull=False, lease_expires_at__isnull=False),
                name="orderhooks_delivery_sending_has_lease",
            ),
            models.CheckConstraint(
                condition=Q(state__in=["pending", "sending"]) | Q(finished_at__isnull=False),
                name="orderhooks_delivery_finished",
            ),
        ]
        indexes = [
            # The claim: what is due, longest due first.
            models.Index(
                fields=["next_attempt_at", "id"], condition=Q(state="pending"), name="orderhooks_delivery_due"
            ),
            # The pump's look for expired leases.
            models.Index(fields=["lease_expires_at"], condition=Q(state="sending"), name="orderhooks_delivery_lease"),
            # A claim's own rows.
            models.Index(fields=["lease_token"], condition=Q(state="sending"), name="orderhooks_delivery_token"),
            # The log of one subscription, newest first.
            models.Index(fields=["subscription", "-id"], name="orderhooks_delivery_subscr"),
            # The log filtered by state, newest first.
            models.Index(fields=["state", "-id"], name="orderhooks_delivery_log"),
        ]

    def __str__(self) -> str:
        return self.public_id

    def finish_claim(self, **fields: object) -> bool:
        """Write the claim's result and give the lease back. False, and nothing written, if the lease is not ours."""
        mine = Delivery.objects.filter(pk=self.pk, lease_token=self.lease_token, state=self.State.SENDING)
        return bool(mine.update(lease_token=None, lease_expires_at=None, **fields))


class Attempt(models.Model):
    """One HTTP request that was made for a delivery, and what came of it."""

    Trigger = Delivery.Trigger

    delivery = models.ForeignKey(
        Delivery, models.CASCADE, related_name="attempts", db_index=False
    )  # orderhooks_attempt_number begins with it
    number = models.PositiveIntegerField(_("number"))
    trigger = models.CharField(_("trigger"), max_length=16, choices=Delivery.Trigger)
    started_at = models.DateTimeField(_("started at"))
    duration_ms = models.PositiveIntegerField(_("duration in ms"))
    status_code = models.PositiveSmallIntegerField(_("status"), null=True)
    error = models.CharField(_("error"), max_length=32, blank=True)
    detail = models.TextField(_("detail"), blank=True)
    request_headers = models.JSONField(_("request headers"), default=dict)
    response_headers = models.JSONField(_("response headers"), default=dict)
    response_body = models.TextField(_("response body"), blank=True)

    class Meta:
        verbose_name = _("attempt")
        verbose_name_plural = _("attempts")
        ordering = ["number"]
        constraints = [
            # Also serves the attempts of one delivery, in order.
            models.UniqueConstraint(fields=["delivery", "number"], name="orderhooks_attempt_number"),
        ]

    def __str__(self) -> str:
        return f"attempt {self.number}"
