"""Deliveries and their attempts: each event for each subscription, and each request for it. Workers claim them."""

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime

from django.db import models
from django.db.models import Case, Count, Exists, F, Max, Min, OuterRef, Q, Subquery, When
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from orderhooks.db import public_ids
from orderhooks.db.clock import DatabaseNow
from orderhooks.db.encrypted_records import EncryptedTextField
from orderhooks.db.indexes import PartialIndex
from orderhooks.models.events import Event
from orderhooks.models.merged_updates import HasMergedUpdates, MergedUpdatesQuerySet
from orderhooks.models.subscriptions import Subscription

SKIP_AT_ONCE = 2000
# How many deliveries workers make side by side. Their public ids and primary keys may be in different order.
SIDE_BY_SIDE = 1000
# An e-mail address may be a user's name.
REQUESTED_BY_LENGTH = 254
EVENTS_AT_ONCE = 1000


class DeliveryQuerySet(MergedUpdatesQuerySet):
    def about_stores(self, stores: Collection[str] | None) -> "DeliveryQuerySet":
        """Those about the orders of these stores. None: of all."""
        return self.all() if stores is None else self.filter(event__store__in=stores)

    def of_stores(self, stores: Collection[str] | None, *, alarms: bool = True) -> "DeliveryQuerySet":
        """Those about the orders of these stores, for subscriptions to one of them. None: all. Makes a query.

        Both, because a subscription may have been of another store before, or get an event by hand. `alarms`: those to
        operational subscriptions too.
        """
        if stores is None:
            return self if alarms else self.exclude(subscription__in=Subscription.objects.operational_keys())
        keys = Subscription.objects.of_stores(stores, operational=alarms).values_list("pk", flat=True)
        # Primary keys, for which the log has indexes.
        return self.filter(subscription__in=list(keys)).about_stores(stores)

    def lease_expired(self, *, now: datetime) -> "DeliveryQuerySet":
        """Claimed by a worker whose lease has run out: it died, or was stopped."""
        return self.filter(state=Delivery.State.SENDING, lease_expires_at__lte=now)

    def blocking(self) -> "DeliveryQuerySet":
        """In a query of deliveries: those of the same subscription and order that have to end first.

        In an ordered subscription that is each that comes before and has not ended well (been delivered, or skipped by
        an operator), and one that comes after and is under way, because an earlier one was redelivered meanwhile.
        """
        same_order = Event.objects.filter(pk=OuterRef(OuterRef("event_id")))
        return self.filter(
            Q(event__lt=OuterRef("event_id"), state__in=UNENDED)
            | Q(event__gt=OuterRef("event_id"), state=Delivery.State.SENDING),
            subscription=OuterRef("subscription_id"),
            event__source=Subquery(same_order.values("source")[:1]),
            event__order_pk=Subquery(same_order.values("order_pk")[:1]),
        )

    def unblocked(self) -> "DeliveryQuerySet":
        """Those that an ordered subscription may get next: the first of each order that is not done."""
        mine = Event.objects.filter(pk=OuterRef(OuterRef("event_id")))
        unrouted = Event.objects.unrouted().filter(
            sequence__lt=OuterRef("event_id"),
            source=Subquery(mine.values("source")[:1]),
            order_pk=Subquery(mine.values("order_pk")[:1]),
        )
        return self.filter(~Exists(Delivery.objects.blocking()), ~Exists(unrouted))

    def since(self, at: datetime) -> "DeliveryQuerySet":
        """Those made since then, and what other workers made side by side with the first of them.

        The public ids, which contain the time, lead to the primary key, which all indexes of the log end with.
        """
        earliest = public_ids.earliest_at("dlv_", at)
        first = Delivery.objects.filter(public_id__gte=earliest).order_by("public_id")[:SIDE_BY_SIDE]
        key = first.aggregate(key=Min("pk"))["key"]
        return self.none() if key is None else self.filter(pk__gte=key)

    def until(self, at: datetime) -> "DeliveryQuerySet":
        """Those made before then, and what other workers made side by side with the last of them."""
        earliest = public_ids.earliest_at("dlv_", at)
        last = Delivery.objects.filter(public_id__lt=earliest).order_by("-public_id")[:SIDE_BY_SIDE]
        key = last.aggregate(key=Max("pk"))["key"]
        return self.none() if key is None else self.filter(pk__lte=key)

    def answered(self, status_class: int) -> "DeliveryQuerySet":
        """Those whose last attempt got a response of this class: 2 to 5 for 2xx to 5xx, or 0 for no response."""
        if status_class == 2:
            return self.filter(state=Delivery.State.DELIVERED)
        return self.filter(failure_class=status_class)

    def states_of_orders(self, source: str, order_pks: Sequence[str]) -> dict[str, Counter[str]]:
        """How many of each order's deliveries are in which state, by the newest events of them all. Two queries."""
        events = Event.objects.filter(source=source, order_pk__in=order_pks).order_by("-sequence")
        order_of = dict(events.values_list("pk", "order_pk")[:EVENTS_AT_ONCE])
        rows = self.filter(event__in=list(order_of)).order_by().values_list("event", "state").annotate(Count("pk"))
        states: dict[str, Counter[str]] = {}
        for event, state, count in rows:
            states.setdefault(order_of[event], Counter())[state] += count
        return states

    def redeliver(self, *, by: str = "") -> int:
        """Send again, now, what is not a test and not being sent. `by`: who requests it. Returns how many.

        What the retry table has planned stays planned. What had ended gets the whole table again.
        """
        waiting = Q(state=Delivery.State.PENDING)
        return self.exclude(Q(state=Delivery.State.SENDING) | Q(trigger=Delivery.Trigger.TEST)).update(
            # First, because MariaDB sets one column after the other, and these three depend on the others.
            planned_at=Case(
                When(waiting & Q(trigger=Delivery.Trigger.AUTOMATIC), then=F("next_attempt_at")),
                When(waiting, then=F("planned_at")),
                default=None,
            ),
            uncounted_attempts=Case(When(waiting, then=F("uncounted_attempts")), default=F("attempts_made")),
            # Who requests one that the filter left out wants it all the same.
            is_unjudged=Case(When(state=Delivery.State.SKIPPED, then=False), default=F("is_unjudged")),
            state=Delivery.State.PENDING,
            next_attempt_at=DatabaseNow(),
            finished_at=None,
            trigger=Delivery.Trigger.MANUAL,
            requested_by=by[:REQUESTED_BY_LENGTH],
        )

    def call_off(self) -> int:
        """Send none of them. The result of one that is under way is not recorded. Returns how many."""
        return self.filter(state__in=[Delivery.State.PENDING, Delivery.State.SENDING]).update(
            state=Delivery.State.SKIPPED,
            next_attempt_at=None,
            due_by=None,
            lease_token=None,
            lease_expires_at=None,
            finished_at=DatabaseNow(),
        )

    def skip(self, *, failed: bool = False) -> int:
        """Skip those that wait, in batches, because there may be a million. Returns how many.

        `failed`: also skip those that were given up, so that an ordered subscription's later events go on.
        """
        states = [Delivery.State.PENDING, *([Delivery.State.FAILED] if failed else [])]
        skipped = 0
        while keys := list(self.filter(state__in=states).values_list("pk", flat=True)[:SKIP_AT_ONCE]):
            skipped += Delivery.objects.filter(pk__in=keys, state__in=states).update(
                state=Delivery.State.SKIPPED, next_attempt_at=None, due_by=None, finished_at=DatabaseNow()
            )
        return skipped

    def bring_forward(self) -> int:
        """Make those due now that wait for a retry, in batches. Returns how many."""
        waiting = {"state": Delivery.State.PENDING, "trigger": Delivery.Trigger.AUTOMATIC, "attempts_made__gt": 0}
        moved = 0
        while keys := list(
            self.filter(**waiting, next_attempt_at__gt=DatabaseNow()).values_list("pk", flat=True)[:SKIP_AT_ONCE]
        ):
            moved += Delivery.objects.filter(pk__in=keys, **waiting).update(next_attempt_at=DatabaseNow())
        return moved


class Delivery(HasMergedUpdates):
    """One event for one subscription."""

    class State(models.TextChoices):
        PENDING = "pending", _("pending")  # waits for `next_attempt_at`, or for its subscription to be active
        SENDING = "sending", _("sending")  # a worker holds the lease
        DELIVERED = "delivered", _("delivered")  # the receiver responded with 2xx
        FAILED = "failed", _("failed")  # given up; an operator can redeliver
        SKIPPED = "skipped", _("skipped")  # an operator decided not to send it, or it was merged into a later one

    class Trigger(models.TextChoices):
        AUTOMATIC = "automatic", _("automatic")  # by the retry table; counts for the endpoint's health
        MANUAL = "manual", _("manual")  # an operator redelivered
        TEST = "test", _("test")  # an operator tests the endpoint; tried once, and does not change its health

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
    # Who requested the next attempt (or the last one): a user's name, or a replay. Blank: nobody.
    requested_by = models.CharField(_("requested by"), max_length=REQUESTED_BY_LENGTH, blank=True)
    attempts_made = models.PositiveIntegerField(_("attempts made"), default=0)
    # Of these, what the retry table does not count: attempts that people requested, and all before it began again.
    uncounted_attempts = models.PositiveIntegerField(default=0, db_default=0)
    next_attempt_at = models.DateTimeField(_("next attempt"), null=True)
    # When the retry table's next attempt is due, while one that a person requested goes first. Null: the table begins
    # again if that one fails.
    planned_at = models.DateTimeField(null=True)
    lease_token = models.UUIDField(null=True)
    lease_expires_at = models.DateTimeField(null=True)
    last_status_code = models.PositiveSmallIntegerField(_("last status"), null=True)
    last_error = models.CharField(_("last error"), max_length=32, blank=True)
    # How the last attempt failed: 3, 4 or 5 for a response of that class, 0 without a valid one. Computed by the
    # database, which has statistics of a column and not of an index's expression.
    failure_class = models.GeneratedField(
        expression=Case(
            When(last_error="", then=None),
            When(~Q(last_error__in=["status", "aborted"]), then=0),
            When(last_status_code__gte=500, then=5),
            When(last_status_code__gte=400, then=4),
            When(last_status_code__gte=300, then=3),
            default=0,
        ),
        output_field=models.PositiveSmallIntegerField(null=True),
        db_persist=True,
    )
    last_detail = models.CharField(_("last outcome"), max_length=500, blank=True)
    # Whether its attempts have to judge the event, because the subscription's filter could not when it was made.
    is_unjudged = models.BooleanField(default=False, db_default=False)
    # By when it has to arrive, for its subscription's objective. Null: there is none, or it counts no more. See Note
    # [What counts for an objective].
    due_by = models.DateTimeField(null=True)
    created_at = models.DateTimeField(_("created at"), default=timezone.now)
    finished_at = models.DateTimeField(_("finished at"), null=True)

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("delivery")
        verbose_name_plural = _("deliveries")
        ordering = ["-id"]
        permissions = [("redeliver_delivery", _("Can send deliveries again"))]
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
            # The log of one subscription, newest first. Before the next one: InnoDB checks the foreign key whenever the
            # first index that begins with it changes, and then waits while the subscription is locked.
            models.Index(fields=["subscription", "-id"], name="orderhooks_delivery_subscr"),
            # The claim: what is due for a subscription, longest due first; what people requested apart.
            PartialIndex(
                fields=["subscription", "trigger", "next_attempt_at", "id"],
                condition=Q(state="pending"),
                name="orderhooks_delivery_due",
            ),
            # The pump's search for expired leases; also what is in flight.
            PartialIndex(fields=["lease_expires_at"], condition=Q(state="sending"), name="orderhooks_delivery_lease"),
            # The log filtered by state, newest first.
            models.Index(fields=["state", "-id"], name="orderhooks_delivery_log"),
            # The log filtered by the class of the response, newest first. Successes are not in it, and cost nothing.
            PartialIndex(
                fields=["failure_class", "-id"],
                condition=Q(failure_class__isnull=False),
                name="orderhooks_delivery_failure",
            ),
            # What is overdue, for objectives. Rows leave it when they end; most subscriptions have no objective.
            PartialIndex(
                fields=["subscription", "due_by"],
                condition=Q(due_by__isnull=False),
                name="orderhooks_delivery_due_by",
            ),
        ]

    def __str__(self) -> str:
        return self.public_id

    @property
    def table_attempts(self) -> int:
        """How many attempts of the retry table are used up, with the one under way."""
        return self.attempts_made - self.uncounted_attempts

    @property
    def is_held(self) -> bool:
        """Whether it waits for its subscription to be active."""
        return self.state == self.State.PENDING and self.subscription.state != Subscription.State.ACTIVE

    @property
    def expected_at(self) -> datetime | None:
        """When its next attempt can begin: an automatic one not before the endpoint has cooled down. None: never."""
        if self.state != self.State.PENDING or self.next_attempt_at is None:
            return None
        if self.trigger != self.Trigger.AUTOMATIC:
            return self.next_attempt_at
        return self.subscription.after_cooling_down(self.next_attempt_at)

    def blockers(self) -> DeliveryQuerySet:
        """What has to end before it in an ordered subscription, in order. For many: `blocking`."""
        if not self.subscription.ordered:
            return Delivery.objects.none()
        earlier = Q(event__lt=self.event_id, state__in=UNENDED)
        under_way = Q(event__gt=self.event_id, state=self.State.SENDING)
        return self._of_same_order().filter(earlier | under_way).order_by("event_id")

    def held_up(self) -> DeliveryQuerySet:
        """What waits for it in an ordered subscription while it has not ended well, in order."""
        if not self.subscription.ordered or self.state not in UNENDED:
            return Delivery.objects.none()
        return self._of_same_order().filter(event__gt=self.event_id, state=self.State.PENDING).order_by("event_id")

    def _of_same_order(self) -> DeliveryQuerySet:
        return Delivery.objects.filter(
            subscription=self.subscription_id, event__source=self.event.source, event__order_pk=self.event.order_pk
        )


# What holds up the later events of its order in an ordered subscription.
UNENDED = (Delivery.State.PENDING, Delivery.State.SENDING, Delivery.State.FAILED)


class AttemptQuerySet(models.QuerySet["Attempt"]):
    """See `db.primary`."""


class Attempt(models.Model):
    """One HTTP request that was made for a delivery, and its result."""

    Trigger = Delivery.Trigger

    delivery = models.ForeignKey(
        Delivery, models.CASCADE, related_name="attempts", db_index=False
    )  # orderhooks_attempt_number begins with it
    number = models.PositiveIntegerField(_("number"))
    trigger = models.CharField(_("trigger"), max_length=16, choices=Delivery.Trigger)
    requested_by = models.CharField(_("requested by"), max_length=REQUESTED_BY_LENGTH, blank=True)
    started_at = models.DateTimeField(_("started at"))
    duration_ms = models.PositiveIntegerField(_("duration in ms"))
    method = models.CharField(_("method"), max_length=8, default="POST")
    # As it was requested: percent-encoded, international names in ASCII. Blank: the worker died before it recorded it.
    url = models.TextField(_("URL"), blank=True)
    status_code = models.PositiveSmallIntegerField(_("status"), null=True)
    error = models.CharField(_("error"), max_length=32, blank=True)
    detail = models.TextField(_("detail"), blank=True)
    request_headers = models.JSONField(_("request headers"), default=dict)
    response_headers = models.JSONField(_("response headers"), default=dict)
    response_body = EncryptedTextField(_("response body"), blank=True)

    objects = AttemptQuerySet.as_manager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("attempt")
        verbose_name_plural = _("attempts")
        ordering = ["number"]
        constraints = [
            # Also serves the attempts of one delivery, in order.
            models.UniqueConstraint(fields=["delivery", "number"], name="orderhooks_attempt_number"),
        ]

    def __str__(self) -> str:
        return f"attempt {self.number}"
