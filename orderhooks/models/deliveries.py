"""Deliveries and their attempts: what is owed to whom, and each time we tried. How they are shared out: `claims`."""

from datetime import datetime

from django.db import models
from django.db.models import Exists, OuterRef, Q, Subquery
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from orderhooks.models import public_ids
from orderhooks.models.clock import DatabaseNow
from orderhooks.models.events import Event
from orderhooks.models.indexes import PartialIndex
from orderhooks.models.subscriptions import Subscription

SKIP_AT_ONCE = 2000


class DeliveryQuerySet(models.QuerySet["Delivery"]):
    def lease_expired(self, *, now: datetime) -> "DeliveryQuerySet":
        """Claimed by a worker that has not been heard of in time."""
        return self.filter(state=Delivery.State.SENDING, lease_expires_at__lte=now)

    def blocking(self) -> "DeliveryQuerySet":
        """In a query of deliveries: those of the same subscription and order that have to end before.

        In an ordered subscription that is each that comes before and has not ended well (been delivered, or skipped by
        an operator), and one that comes after and is under way: somebody had an earlier one sent again meanwhile.
        """
        same_order = Event.objects.filter(pk=OuterRef(OuterRef("event_id")))
        unfinished = [Delivery.State.PENDING, Delivery.State.SENDING, Delivery.State.FAILED]
        return self.filter(
            Q(event__lt=OuterRef("event_id"), state__in=unfinished)
            | Q(event__gt=OuterRef("event_id"), state=Delivery.State.SENDING),
            subscription=OuterRef("subscription_id"),
            event__source=Subquery(same_order.values("source")),
            event__order_pk=Subquery(same_order.values("order_pk")),
        )

    def unblocked(self) -> "DeliveryQuerySet":
        """Those that an ordered subscription may get next: the first of each order that is not done."""
        mine = Event.objects.filter(pk=OuterRef(OuterRef("event_id")))
        unrouted = Event.objects.unrouted().filter(
            sequence__lt=OuterRef("event_id"),
            source=Subquery(mine.values("source")),
            order_pk=Subquery(mine.values("order_pk")),
        )
        return self.filter(~Exists(Delivery.objects.blocking()), ~Exists(unrouted))

    def redeliver(self) -> int:
        """Send again, now, what is not being sent at this moment. Returns how many."""
        return self.exclude(state=Delivery.State.SENDING).update(
            state=Delivery.State.PENDING,
            next_attempt_at=DatabaseNow(),
            finished_at=None,
            trigger=Delivery.Trigger.MANUAL,
        )

    def skip(self) -> int:
        """Decide not to send what waits, in batches: it may be a million. Returns how many."""
        skipped = 0
        while keys := list(self.filter(state=Delivery.State.PENDING).values_list("pk", flat=True)[:SKIP_AT_ONCE]):
            skipped += Delivery.objects.filter(pk__in=keys, state=Delivery.State.PENDING).update(
                state=Delivery.State.SKIPPED, next_attempt_at=None, finished_at=DatabaseNow()
            )
        return skipped


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

    public_id = models.CharField(max_length=public_ids.MAX_LENGTH, editable=False, default=public_ids.delivery_id)
    event = models.ForeignKey(
        Event,
        models.CASCADE,
        related_name="deliveries",
        verbose_name=_("event"),
        db_index=False,  # orderhooks_delivery_once begins with it
    )
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
            # Not `unique=True`, which on PostgreSQL makes a second index for LIKE.
            models.UniqueConstraint(fields=["public_id"], name="orderhooks_delivery_public_id"),
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
            # The claim: what is due for a subscription, longest due first; what people asked for apart.
            PartialIndex(
                fields=["subscription", "trigger", "next_attempt_at", "id"],
                condition=Q(state="pending"),
                name="orderhooks_delivery_due",
            ),
            # The pump's look for expired leases; also what is in flight.
            PartialIndex(fields=["lease_expires_at"], condition=Q(state="sending"), name="orderhooks_delivery_lease"),
            # The log of one subscription, newest first.
            models.Index(fields=["subscription", "-id"], name="orderhooks_delivery_subscr"),
            # The log filtered by state, newest first.
            models.Index(fields=["state", "-id"], name="orderhooks_delivery_log"),
        ]

    def __str__(self) -> str:
        return self.public_id


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
