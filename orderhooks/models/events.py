"""The outbox: changes as transactions write them, and the events that are made of them."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import connections, models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from orderhooks.db import public_ids
from orderhooks.db.indexes import PartialIndex

# The longest primary key, number and store of an order that is kept: what an index of any database takes.
IDENTIFIER_LENGTH = 255


class ChangeQuerySet(models.QuerySet["Change"]):
    def of_order(self, source: str, order_pk: str) -> "ChangeQuerySet":
        """An order's changes, oldest first."""
        return self.filter(source=source, order_pk=order_pk).order_by("id")

    def take(self, source: str, order_pk: str) -> "list[Change]":
        """An order's changes, oldest first, deleted in the running transaction: no other process can coalesce them.

        On PostgreSQL that transaction's commit need not wait for the disk. If the machine stops before the
        commit is written, the deletion is undone too, and the changes are coalesced again. No event can be sent before:
        the claim that comes before each request does wait for the disk, and earlier commits are written first.
        """
        if connections[self.db].vendor == "postgresql":
            taken = list(self.raw(TAKE, [source, order_pk], using=self.db))
            return sorted(taken, key=lambda change: change.pk)
        changes = list(self.of_order(source, order_pk).select_for_update())
        self.filter(pk__in=[change.pk for change in changes]).delete()
        return changes

    def take_many(self, source: str, order_pks: Iterable[str]) -> "dict[str, list[Change]]":
        """What `take` does, for many orders of a source at once: the changes of each order that has any."""
        taken: list[Change]
        if connections[self.db].vendor == "postgresql":
            taken = sorted(self.raw(TAKE_MANY, [source, list(order_pks)], using=self.db), key=lambda change: change.pk)
        else:
            taken = list(self.filter(source=source, order_pk__in=order_pks).order_by("id").select_for_update())
            self.filter(pk__in=[change.pk for change in taken]).delete()
        by_order: dict[str, list[Change]] = {}
        for change in taken:
            by_order.setdefault(change.order_pk, []).append(change)
        return by_order

    def left_behind(self, *, before: datetime) -> "ChangeQuerySet":
        """Changes whose process died before it coalesced them."""
        return self.filter(created_at__lt=before)


TAKE = """
DELETE FROM orderhooks_change
WHERE id IN (SELECT id FROM orderhooks_change WHERE source = %s AND order_pk = %s ORDER BY id FOR UPDATE)
    AND (SELECT set_config('synchronous_commit', 'off', true)) = 'off'
RETURNING *
"""
TAKE_MANY = TAKE.replace("order_pk = %s", "order_pk = ANY(%s)")


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
    # Blank for the order itself; otherwise the primary key of a line, or the topic of an explicit change.
    subject = models.CharField(max_length=IDENTIFIER_LENGTH, blank=True)
    before = models.JSONField(default=dict)
    after = models.JSONField(default=dict)
    # An order's payload, or a line's values, just before the deletion, because nothing is left to read afterwards.
    snapshot = models.JSONField(null=True)
    order_number = models.CharField(max_length=IDENTIFIER_LENGTH, blank=True)
    store = models.CharField(max_length=IDENTIFIER_LENGTH, blank=True)
    # What the order source raised while the change was captured. It becomes the event's error.
    error = models.TextField(blank=True)
    # How often a worker began to coalesce it. Counted before it begins, because the store's code may kill the process.
    coalesce_attempts = models.PositiveSmallIntegerField(default=0)
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

    def wanted(self, patterns: Iterable[str], *, store: str) -> "EventQuerySet":
        """Events that a subscription with these topics and this store wants, without the tests of endpoints."""
        events = self.about(patterns).of_orders()
        return events.filter(store=store) if store else events

    def of_orders(self) -> "EventQuerySet":
        """Events without the tests of endpoints."""
        return self.exclude(topic__startswith=OF_OPERATORS)

    def feed(self, *, after: int, at_most: int, now: datetime) -> "list[Event]":
        """Up to `at_most` events after `after`, stopping before any that a slower transaction could still precede.

        An event gets its sequence when it is written, and is visible when it is committed. So an event younger than
        SETTLED_AFTER, and all events after it, wait for the next call.
        """
        settled = now - SETTLED_AFTER
        feed: list[Event] = []
        for event in self.filter(sequence__gt=after).order_by("sequence")[:at_most]:
            if event.published_at is not None and event.published_at > settled:
                break
            feed.append(event)
        return feed

    def replace(self, changes: "Sequence[Change]", events: "Sequence[Event]") -> bool:
        """On PostgreSQL: insert the events that these changes of one order make, and delete the changes, in one go.

        False, with nothing done, if there are other changes of the order, or some of these are gone. Then use
        `ChangeQuerySet.take`, which also says why this need not wait for the disk.
        """
        rows = [{name: _as_json(getattr(event, name)) for name in REPLACED} for event in events]
        keys = sorted(change.pk for change in changes)
        values: dict[str, Any] = {
            "source": changes[0].source,
            "order_pk": changes[0].order_pk,
            "changes": keys,
            "events": json.dumps(rows),
        }
        with connections[self.db].cursor() as cursor:
            cursor.execute(REPLACE, values)
            made = cursor.fetchall()
        if made[0][0] != len(keys):
            return False
        inserted = {public_id: (sequence, occurred_at) for _taken, public_id, sequence, occurred_at in made}
        for event in events:
            event.sequence, event.occurred_at = inserted[event.public_id]
            event._state.adding, event._state.db = False, self.db
        return True

    def unpublished(self) -> "EventQuerySet":
        """Events whose payload could not be built."""
        # They are not routed either, and the index of unrouted events finds them.
        return self.filter(published_at=None, routed_at=None)


# The family of topics that are not about an order: tests, each for one endpoint.
OF_OPERATORS = "webhook."
# Longer than coalescing takes: it is one statement, or a transaction without calls to other services.
SETTLED_AFTER = timedelta(seconds=10)
REPLACED = (
    "public_id",
    "topic",
    "source",
    "order_pk",
    "order_number",
    "store",
    "payload",
    "changes",
    "error",
    "published_at",
)
REPLACE = """
WITH taken AS (
    DELETE FROM orderhooks_change
    WHERE id IN (
            SELECT id FROM orderhooks_change
            WHERE source = %(source)s AND order_pk = %(order_pk)s ORDER BY id FOR UPDATE
        )
        AND (
            SELECT array_agg(id ORDER BY id) FROM orderhooks_change
            WHERE source = %(source)s AND order_pk = %(order_pk)s
        ) = %(changes)s::bigint[]
        AND (SELECT set_config('synchronous_commit', 'off', true)) = 'off'
    RETURNING created_at
), counted AS (
    SELECT count(*) AS taken, max(created_at) AS occurred_at FROM taken
), made AS (
    INSERT INTO orderhooks_event (
        public_id, topic, source, order_pk, order_number, store, payload, changes, error, occurred_at, published_at
    )
    SELECT
        public_id, topic, source, order_pk, order_number, store, payload, changes, error, occurred_at, published_at
    FROM counted, ROWS FROM (
        jsonb_to_recordset(%(events)s::jsonb) AS (
            public_id text, topic text, source text, order_pk text, order_number text, store text, payload jsonb,
            changes jsonb, error text, published_at timestamptz
        )
    ) WITH ORDINALITY
    WHERE taken = cardinality(%(changes)s::bigint[])
    ORDER BY ordinality
    RETURNING public_id, sequence, occurred_at
)
SELECT taken, public_id, sequence, made.occurred_at FROM counted LEFT JOIN made ON true
"""


def _as_json(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


class Event(models.Model):
    """One thing that happened to one order. Never altered once published; outlives the order."""

    # The primary key is the sequence. It grows, with gaps. The changes of one order are coalesced one transaction after
    # the other, so it grows in the order of their commits.
    sequence = models.BigAutoField(primary_key=True)
    public_id = models.CharField(
        max_length=public_ids.MAX_LENGTH, unique=True, editable=False, default=public_ids.event_id
    )
    topic = models.CharField(_("topic"), max_length=128)
    source = models.CharField(_("source"), max_length=64)
    order_pk = models.CharField(max_length=IDENTIFIER_LENGTH)
    order_number = models.CharField(_("order number"), max_length=IDENTIFIER_LENGTH, blank=True)
    store = models.CharField(_("store"), max_length=IDENTIFIER_LENGTH, blank=True)
    payload = models.JSONField(_("payload"), null=True)
    changes = models.JSONField(_("changes"), default=dict)
    # Why there is no payload: the error of the order source.
    error = models.TextField(_("error"), blank=True)
    occurred_at = models.DateTimeField(_("occurred at"))
    published_at = models.DateTimeField(_("published at"), null=True)
    # When its deliveries were made.
    routed_at = models.DateTimeField(null=True)

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
        ]

    def __str__(self) -> str:
        return f"{self.topic} {self.order_number}".strip()

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

    def publish(self, payload: Any, *, now: datetime) -> bool:
        """Publish an event that had no payload, with this one. False if another process was first."""
        changed = Event.objects.filter(pk=self.pk, published_at=None).update(
            payload=payload, error="", published_at=now
        )
        if changed:
            self.refresh_from_db()
        return bool(changed)
