"""The outbox: changes as transactions write them, and the events that are made of them."""

import json
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db import connections, models, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from orderhooks import operational, payloads, topics, tracing, versions
from orderhooks.db import DatabaseClock, public_ids
from orderhooks.db.encrypted_records import EncryptedJSONField
from orderhooks.db.indexes import PartialIndex

if TYPE_CHECKING:
    from orderhooks.models.subscriptions import Subscription

# The longest primary key, number and store of an order that is kept: what an index of any database takes.
IDENTIFIER_LENGTH = 255


def check_identifiers(**identifiers: Any) -> None:
    """Raises ValueError if an order's `number` or `store` can't be stored. Its text says what to change."""
    for name, text in identifiers.items():
        payloads.check(str(text))
        if len(str(text)) > IDENTIFIER_LENGTH:
            raise ValueError(
                f"The order's {name} has {len(str(text))} characters; at most {IDENTIFIER_LENGTH} can be stored. "
                f"Have the method {name}() of its source return a shorter one."
            )


class ChangeQuerySet(models.QuerySet["Change"]):
    def of_order(self, source: str, order_pk: str) -> "ChangeQuerySet":
        """An order's changes, oldest first."""
        return self.filter(source=source, order_pk=order_pk).order_by("id")

    def left_behind(self, *, before: datetime | None, now: datetime) -> "ChangeQuerySet":
        """Changes that a worker has to coalesce, and none is coalescing: those that triggers have captured, and those
        from `before`, whose process has died. None: all.
        """
        free = self.filter(Q(lease_expires_at=None) | Q(lease_expires_at__lte=now))
        return free if before is None else free.filter(Q(created_at__lt=before) | Q(is_raw=True))


class Change(models.Model):
    """What one save changed of an order, written in the order's own transaction until it is coalesced into events.

    # Note [Changes and transactions]
    The changes of one transaction share a `transaction_id`. They are written inside the transaction, so a rollback,
    also to a savepoint, takes them back. After the commit the remaining ones are coalesced: the net change is the first
    `before` against the last `after`.
    """

    class Kind(models.TextChoices):
        CREATED = "created"
        UPDATED = "updated"
        DELETED = "deleted"
        EXPLICIT = "explicit"  # the store called publish(); `subject` is the topic

    transaction_id = models.UUIDField()
    source = models.CharField(max_length=64)
    order_pk = models.CharField(max_length=IDENTIFIER_LENGTH)
    kind = models.CharField(max_length=16, choices=Kind)
    # The key of the related rows, such as `lines`. Blank for the order itself.
    related = models.CharField(max_length=64, blank=True)
    # Blank for the order itself; otherwise the primary key of a related row, or the topic of an explicit change.
    subject = models.CharField(max_length=IDENTIFIER_LENGTH, blank=True)
    before = EncryptedJSONField(default=dict)
    after = EncryptedJSONField(default=dict)
    # An order's payload, or a related row's values, just before the deletion: nothing is left to read afterwards.
    snapshot = EncryptedJSONField(null=True)
    order_number = models.CharField(max_length=IDENTIFIER_LENGTH, blank=True)
    store = models.CharField(max_length=IDENTIFIER_LENGTH, blank=True)
    # What the order source raised while the change was captured. It becomes the event's error.
    error = models.TextField(blank=True)
    # Written by a trigger of PostgreSQL: `before` and `after` are as the columns are, for `triggers.converted`.
    is_raw = models.BooleanField(default=False)
    # How often a worker began to coalesce it. Counted before it begins, because the store's code may kill the process.
    coalesce_attempts = models.PositiveSmallIntegerField(default=0)
    # Until when other workers leave it to the one that began. Null: none has.
    lease_expires_at = models.DateTimeField(null=True)
    # The trace of the process that wrote it, or "". See `tracing`.
    traceparent = models.CharField(
        max_length=tracing.LONGEST, blank=True, default=tracing.traceparent, db_default="", editable=False
    )
    created_at = models.DateTimeField(default=timezone.now)

    objects = ChangeQuerySet.as_manager()

    class Meta:
        base_manager_name = "objects"
        indexes = [
            # Coalescing: all changes of an order, oldest first.
            models.Index(fields=["source", "order_pk", "id"], name="orderhooks_change_order"),
            # The pump's search for changes that were left behind.
            models.Index(fields=["created_at"], name="orderhooks_change_created"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.source}:{self.order_pk} {self.subject}".strip()


class EventQuerySet(models.QuerySet["Event"]):
    def of_stores(self, stores: Collection[str] | None, *, alarms: bool = True) -> "EventQuerySet":
        """Those of the orders of these stores. None: all. `alarms`: the operational ones too."""
        found = self.all() if stores is None else self.filter(store__in=stores)
        return found if alarms else found.exclude(topic__in=[*operational.TOPICS])

    def unrouted(self) -> "EventQuerySet":
        """Published events that have not become deliveries yet, oldest first."""
        return self.filter(routed_at=None, published_at__isnull=False).order_by("sequence")

    def about(self, patterns: Iterable[str]) -> "EventQuerySet":
        """Events whose topic matches one of the patterns: `topics.matches` as a query."""
        patterns = list(patterns)
        if "*" in patterns:
            return self
        wanted = Q(topic__in=[pattern for pattern in patterns if not pattern.endswith(".*")])
        for pattern in patterns:
            if pattern.endswith(".*"):
                wanted |= Q(topic__startswith=pattern[:-1])
        return self.filter(wanted)

    def wanted_by(self, subscription: "Subscription") -> "EventQuerySet":
        """Events of the topics and the store of a subscription, without tests of endpoints and what is for others.

        What else a subscription chooses by, no database can judge: see `matching.wanted`.
        """
        events = self.about(subscription.topics)
        if subscription.operational:
            return events.filter(topic__in=[*operational.TOPICS]).exclude(order_pk=subscription.public_id)
        events = events.of_orders()
        events = events.filter(Q(only_for=None) | Q(only_for=subscription.pk))
        return events.filter(store=subscription.store) if subscription.store else events

    def of_orders(self) -> "EventQuerySet":
        """Events without the tests of endpoints, and without operational ones."""
        return self.exclude(topic__startswith=OF_OPERATORS).exclude(topic__in=[*operational.TOPICS])

    def for_all(self) -> "EventQuerySet":
        """Published events of orders, without those that were made for one subscription alone."""
        return self.of_orders().filter(published_at__isnull=False, only_for=None)

    def feed(self, *, after: int, at_most: int, now: datetime) -> "list[Event]":
        """Up to `at_most` events after `after`, stopping before any that a slower transaction could still precede.

        An event gets its sequence when it is inserted, and is visible when it is committed. So an event younger than
        SETTLED_AFTER, and all events after it, wait for the next call.
        """
        settled = now - SETTLED_AFTER
        feed: list[Event] = []
        for event in self.filter(sequence__gt=after).order_by("sequence")[:at_most]:
            if event.inserted_at > settled:
                break
            feed.append(event)
        return feed

    def has_feed(self, *, after: int, now: datetime) -> bool:
        """Whether `feed` would return something. Reads no payload."""
        events = self.filter(sequence__gt=after).order_by("sequence").only("public_id", "published_at")[:1]
        return any(event.inserted_at <= now - SETTLED_AFTER for event in events)

    def unpublished(self) -> "EventQuerySet":
        """Events whose payload could not be built."""
        # They are not routed either, and the index of unrouted events finds them.
        return self.filter(published_at=None, routed_at=None)


# The family of topics that are not about an order: tests, each for one endpoint.
OF_OPERATORS = "webhook."
# Longer than it takes from the INSERT of events to the commit.
SETTLED_AFTER = timedelta(seconds=10)


class Event(models.Model):
    """One thing that happened to one order. Never altered once published; outlives the order."""

    # The primary key is the sequence. It grows, with gaps. The changes of one order are coalesced one transaction after
    # the other, so it grows in the order of their commits. An event that is published later gets its own then.
    sequence = models.BigAutoField(primary_key=True)
    public_id = models.CharField(
        max_length=public_ids.MAX_LENGTH, unique=True, editable=False, default=public_ids.event_id
    )
    topic = models.CharField(_("topic"), max_length=topics.LONGEST)
    source = models.CharField(_("source"), max_length=64)
    # Of an operational event: the public id of the subscription that it is about, or the event's own.
    order_pk = models.CharField(max_length=IDENTIFIER_LENGTH)
    order_number = models.CharField(_("order number"), max_length=IDENTIFIER_LENGTH, blank=True)
    store = models.CharField(_("store"), max_length=IDENTIFIER_LENGTH, blank=True)
    payload = EncryptedJSONField(_("payload"), null=True)
    # In which version of the body the payload was made. Receivers may get it in an older one: see `versions`.
    # The database's default is for rows that a worker of an earlier release writes, which has the first one alone.
    api_version = models.CharField(
        _("version"), max_length=versions.LONGEST, default=versions.newest, db_default=payloads.API_VERSION
    )
    changes = EncryptedJSONField(_("changes"), default=dict)
    # Why there is no payload: the error of the order source.
    error = models.TextField(_("error"), blank=True)
    occurred_at = models.DateTimeField(_("occurred at"))
    published_at = models.DateTimeField(_("published at"), null=True)
    # When its deliveries were made.
    routed_at = models.DateTimeField(null=True)
    # The primary key of the only subscription that it is for: it was made by a backfill, or by hand. Null: for all that
    # want it. Not a foreign key, because it stays when the subscription is deleted.
    only_for = models.BigIntegerField(null=True)
    # The trace of the process that published it, or "". See `tracing`.
    traceparent = models.CharField(
        max_length=tracing.LONGEST, blank=True, default=tracing.traceparent, db_default="", editable=False
    )

    objects = EventQuerySet.as_manager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("event")
        verbose_name_plural = _("events")
        ordering = ["-sequence"]
        permissions = [("view_payload", _("Can see payloads, and headers and bodies of requests and responses"))]
        constraints = [
            models.CheckConstraint(
                condition=Q(published_at__isnull=True) | Q(payload__isnull=False),
                name="orderhooks_event_published_has_payload",
            ),
            models.CheckConstraint(
                condition=Q(published_at__isnull=False) | ~Q(error=""),
                name="orderhooks_event_unpublished_has_error",
            ),
        ]
        indexes = [
            # The pump: events that wait to be routed. Small, because routed events leave it.
            PartialIndex(
                fields=["sequence"],
                condition=Q(routed_at__isnull=True),
                name="orderhooks_event_unrouted",
            ),
            # Earlier events of the same order, for ordered subscriptions.
            models.Index(fields=["source", "order_pk", "sequence"], name="orderhooks_event_of_order"),
            # The events of an order, in sequence: the order's page and `?order_number=`.
            models.Index(fields=["order_number", "sequence"], name="orderhooks_event_order"),
            # The event list filtered by topic.
            models.Index(fields=["topic", "sequence"], name="orderhooks_event_topic"),
            # The event list and the feed of one store; which stores there are. Empty where a project has one shop.
            PartialIndex(fields=["store", "sequence"], condition=~Q(store=""), name="orderhooks_event_store"),
        ]

    def __str__(self) -> str:
        return f"{self.topic} {self.order_number}".strip()

    @property
    def inserted_at(self) -> datetime:
        """When it got its `sequence`. If it could not be published, only its id says so."""
        return self.published_at or public_ids.time_of(self.public_id)

    @staticmethod
    def as_stored(payload: Any, *, using: str) -> Any:
        """The payload as the database returns it: PostgreSQL and MySQL sort the keys of objects."""
        connection = connections[using]
        is_mariadb = getattr(connection, "mysql_is_mariadb", False)
        select = {"postgresql": "SELECT %s::jsonb", "mysql": "SELECT CAST(%s AS JSON)"}.get(connection.vendor)
        if select is None or is_mariadb:
            return payload
        with connection.cursor() as cursor:
            cursor.execute(select, [json.dumps(payload)])
            [stored] = cursor.fetchone()
        return json.loads(stored) if isinstance(stored, str) else stored

    def publish(self, payload: Any, *, number: str, store: str) -> bool:
        """Publish an event that had no payload, with this one. False if another process was first.

        `number` and `store` of the order are kept if the event has neither, as nobody could read the order.
        It gets a new `sequence`, the highest, as its payload shows the order as it is now: consumers of the feed are
        past the old one, and receivers would take it for outdated.
        """
        using = self._state.db or Event.objects.db
        with transaction.atomic(using=using):
            row = Event.objects.using(using).filter(pk=self.pk, published_at=None).select_for_update().first()
            if row is None:
                return False
            # Nothing refers to it; should something, the database refuses.
            Event.objects.using(using).filter(pk=row.pk)._raw_delete(using)
            row.pk = None
            row.payload, row.api_version, row.error = payload, versions.newest(), ""
            row.published_at = DatabaseClock().now()  # the order may have been read slowly
            if not (row.order_number or row.store):
                row.order_number, row.store = number, store
            row.save(using=using, force_insert=True)
            self.pk = row.pk
            self.refresh_from_db(using=using)
        return True
