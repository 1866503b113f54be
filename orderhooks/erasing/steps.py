"""Steps: each erases at most ROWS rows of an erasure's next order, in one transaction. See Note [Erasures].

# Note [What an erasure can't miss]
The order's row is locked first, where it is ours. So a transaction that changes the order has either committed before,
and its captured changes are coalesced here, or it comes after and finds a blank order. Events are locked before their
deliveries are looked at: routing holds that lock while it makes them. A delivery that is being sent is taken from its
worker, which then records nothing of the response, and it is sent again with the erased payload.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connections, models, router, transaction

from orderhooks import digests, logs, sources, triggers
from orderhooks.db import DatabaseClock, DatabaseNow
from orderhooks.db.locks import brief_transaction, locked, locked_if_free
from orderhooks.db.transient_errors import is_transient
from orderhooks.erasing import mentions
from orderhooks.erasing.planning import configured_source
from orderhooks.models import Attempt, Change, Delivery, Erasure, Event, Order, OrderDigest
from orderhooks.models.erasures import ErasedOrder
from orderhooks.outbox import coalesce
from orderhooks.outbox.coalescing import give_up
from orderhooks.outbox.guarding import describe_error
from orderhooks.payloads import REDACTED
from orderhooks.retention import BLANK
from orderhooks.sources import Erased, OrderSource, PersonalData, WatchedModel

__all__ = ["Step", "advance"]

logger = logs.get_logger(__name__)

# Rows that a transaction changes, at most.
ROWS = 1000
# Payloads that are in memory together; one may have some megabytes.
PAYLOADS_AT_ONCE = 50
ERROR = "Erased, because it may quote the order. Publish the event again."


@dataclass(frozen=True, slots=True)
class Step:
    """What a step came to: whether it did anything, whether the erasure goes on, and the events that it published."""

    moved: bool
    is_running: bool
    events: Sequence[Event] = ()


def advance(erasure: Erasure) -> Step:
    """Erase the next rows. It does nothing if another process is at it.

    Raises:
        ErasureError: SOURCES of this process does not have the source of the next order.
        OperationalError: for which `locks.is_lock_timeout` is true if another session keeps a row locked.
    """
    using = Erasure.objects.db
    # The store's own code may run in it.
    with brief_transaction(using, may_be_silent=True):
        rows = Erasure.objects.running().filter(pk=erasure.pk)
        mine = locked_if_free(rows).first()
        if mine is None:
            return Step(moved=False, is_running=rows.exists())
        events = _Turn.of(mine, using).run()
        mine.save()
    logger.info("erasure", erasure=mine.public_id, orders=mine.orders_done, of=len(mine.orders))
    return Step(True, mine.is_running, list(Event.objects.filter(pk__in=events).order_by("pk")))


@dataclass(slots=True)
class _Turn:
    """One step's work on the order that is next."""

    erasure: Erasure
    order: ErasedOrder
    source: OrderSource
    of_payload: PersonalData
    of_changes: PersonalData
    using: str
    erased: Erased
    # How many rows it may still change.
    left: int

    @classmethod
    def of(cls, erasure: Erasure, using: str) -> "_Turn":
        order = erasure.next_order
        if order is None:
            raise ValueError(f"{erasure} has no order left, and is running.")
        source = configured_source(order.source)
        of_payload, of_changes = sources.personal_data_of(source)
        return cls(erasure, order, source, of_payload, of_changes, using, Erased(), ROWS)

    def run(self) -> list[int]:
        """Returns the keys of the events that were published."""
        published: list[int] = []
        if not self.erasure.event_cursor:
            published = self._begin()
        while self.left and self._next_rows():
            pass
        order_id = str(self._order_id()) if self._built_in_keys() else ""
        # The API names an order's members as the columns.
        mentions.erase(
            self.erased.values, self.order, order_id=order_id, erase_order=lambda data: self._erase_row("", data)
        )
        self.erasure.paths = sorted({*self.erasure.paths, *self.erased.paths})
        if self.left:
            published += self._end()
        return published

    def _begin(self) -> list[int]:
        """Leave nothing that could still become an event with personal data."""
        self._lock_order()
        events = self._coalesce()
        self._blank_order()
        # They must not be sent before their turn comes.
        self._erase_events(Event.objects.filter(pk__in=[event.pk for event in events]))
        return [event.pk for event in events if event.published_at]

    def _next_rows(self) -> int:
        """Erase the next rows of each kind, as many as are left. Returns how many."""
        order, erasure = self.order, self.erasure
        events = Event.objects.filter(source=order.source, order_pk=order.order_pk)
        deliveries = Delivery.objects.of_orders(order.source, [order.order_pk])
        attempts = Attempt.objects.filter(delivery__in=deliveries)
        found = self._take(events, "event")
        self._erase_events(Event.objects.filter(pk__in=found))
        erasure.events += len(found)
        of_deliveries = self._take(deliveries, "delivery")
        self._erase_deliveries(Delivery.objects.filter(pk__in=of_deliveries))
        erasure.deliveries += len(of_deliveries)
        of_attempts = self._take(attempts, "attempt")
        Attempt.objects.filter(pk__in=of_attempts).update(**BLANK, detail="")
        erasure.attempts += len(of_attempts)
        return len(found) + len(of_deliveries) + len(of_attempts)

    def _take(self, rows: "models.QuerySet[Any]", kind: str) -> list[int]:
        """The keys of the next rows; moves the cursor of that kind."""
        name = f"{kind}_cursor"
        after = getattr(self.erasure, name)
        keys = list(rows.filter(pk__gt=after).order_by("pk").values_list("pk", flat=True)[: self.left])
        self.left -= len(keys)
        setattr(self.erasure, name, keys[-1] if keys else after)
        return keys

    def _erase_events(self, events: "models.QuerySet[Event]") -> None:
        keys = list(events.order_by("pk").select_for_update().values_list("pk", flat=True))
        for start in range(0, len(keys), PAYLOADS_AT_ONCE):
            for event in Event.objects.filter(pk__in=keys[start : start + PAYLOADS_AT_ONCE]).exclude(topic=REDACTED):
                self._erase_event(event)

    def _erase_event(self, event: Event) -> None:
        changes = self._erase_changes(event.changes)
        values: dict[str, Any] = {"changes": changes}
        if event.payload is not None:
            order = self.of_payload.erase(event.payload.get("order"), self.erased)
            values["payload"] = {**event.payload, "order": order}
            if "changes" in event.payload:
                values["payload"]["changes"] = self._erase_changes(event.payload["changes"])
        if event.error:
            # Republishing goes by the name of the error's class.
            name = event.error.partition(":")[0]
            values["error"] = f"{name}: {ERROR}" if name.isidentifier() and name.endswith("Error") else ERROR
        if any(getattr(event, name) != value for name, value in values.items()):
            Event.objects.filter(pk=event.pk).update(**values)

    def _erase_changes(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """`{field: [old, new]}`, whose sides are erased like rows of the order. `paths` are those of payloads."""
        erased = Erased(values=self.erased.values)
        sides = [self.of_changes.erase({name: pair[side] for name, pair in changes.items()}, erased) for side in (0, 1)]
        return {name: [side[name] for side in sides] for name in changes}

    def _erase_deliveries(self, deliveries: "models.QuerySet[Delivery]") -> None:
        deliveries = deliveries.order_by("pk").select_for_update()
        for delivery in deliveries.only("pk", "merged_changes"):
            if delivery.merged_changes:
                merged = self._erase_changes(delivery.merged_changes)
                Delivery.objects.filter(pk=delivery.pk).update(merged_changes=merged)
        keys = list(deliveries.values_list("pk", flat=True))
        rows = Delivery.objects.filter(pk__in=keys)
        rows.update(last_detail="")
        # Its worker has the payload in memory.
        rows.filter(state=Delivery.State.SENDING).update(
            state=Delivery.State.PENDING, next_attempt_at=DatabaseNow(), lease_token=None, lease_expires_at=None
        )

    def _lock_order(self) -> None:
        """Wait for transactions that are changing the order, if it is in our database."""
        model: Any = self.source.get_model()
        if router.db_for_write(model) == self.using:
            rows = sources.plain(model, self.using).filter(pk__in=sources.valid_keys(model, [self.order.order_pk]))
            list(locked(rows).values_list("pk"))

    def _coalesce(self) -> list[Event]:
        """Make events of the changes that were captured and not coalesced yet, to be erased like the others."""
        order = self.order
        if not Change.objects.of_order(order.source, order.order_pk).exists():
            return []
        try:
            with transaction.atomic(using=self.using):
                return coalesce(order.source, order.order_pk, now=DatabaseClock().now(), using=self.using)
        except Exception as error:
            if is_transient(error):
                raise
            logger.exception("could not coalesce the changes of an order", source=order.source, order=order.order_pk)
            text = describe_error(error)
            return give_up(order.source, order.order_pk, text, now=DatabaseClock().now(), using=self.using)

    def _blank_order(self) -> None:
        """Erase the built-in order itself, and the rows that belong to it, without a captured change."""
        source: Any = self.source
        for key in self._built_in_keys():
            using = router.db_for_write(Order)
            self._blank_rows(WatchedModel(source), sources.plain(Order, using).filter(pk=key))
            for related in source.all_related:
                rows = sources.plain(related.get_model(), using).filter(**{related.path: key})
                self._blank_rows(WatchedModel(source, related), rows)
            self._drop_captured_blanks()

    def _blank_rows(self, watched: WatchedModel, rows: "models.QuerySet[Any]") -> None:
        for row in rows:
            values = sources.watched_values(row, watched.watched)
            erased = self._erase_row(watched.key, values)
            changed = {name: value for name, value in erased.items() if value != values[name]}
            if changed:
                sources.plain(watched.model, rows.db).filter(pk=row.pk).update(**changed)

    def _erase_row(self, key: str, values: dict[str, Any]) -> dict[str, Any]:
        erased = Erased(values=self.erased.values)
        if not key:
            return dict(self.of_changes.erase(values, erased))
        return dict(self.of_changes.erase({key: [values]}, erased)[key][0])

    def _drop_captured_blanks(self) -> None:
        """What triggers have captured of the blanking, which is no change to publish."""
        if triggers.are_used_for(self.order.source, self.using):
            with connections[self.using].cursor() as cursor:
                cursor.execute("SELECT lpad(to_hex(pg_current_xact_id()::text::bigint), 32, '0')::uuid")
                [mine] = cursor.fetchone()
            captured = Change.objects.of_order(self.order.source, self.order.order_pk)
            captured.filter(transaction_id=mine, is_raw=True).delete()

    def _end(self) -> list[int]:
        """Publish `order.redacted`, and go on with the next order. Returns the keys of the events."""
        order_id = self._order_id()
        events = [self._redacted(order_id, store) for store in self._stores()]
        self._renew_digest()
        self.erasure.end_order()
        for event in events:
            event.save(force_insert=True)
        return [event.pk for event in events]

    def _stores(self) -> list[str]:
        """The stores whose receivers may have been sent the order: it may have changed its store."""
        events = Event.objects.of_orders().filter(source=self.order.source, order_pk=self.order.order_pk)
        published = events.filter(published_at__isnull=False).order_by().values_list("store", flat=True)
        return sorted({self.order.store, *published.distinct()})

    def _redacted(self, order_id: str | int, store: str) -> Event:
        order, now = self.order, DatabaseClock().now()
        payload = {
            "order": {"id": order_id, "number": order.number, "store": store},
            "changes": {},
            "redacted": self.erasure.paths,
        }
        return Event(
            topic=REDACTED,
            source=order.source,
            order_pk=order.order_pk,
            order_number=order.number,
            store=store,
            payload=payload,
            changes={},
            occurred_at=now,
            published_at=now,
        )

    def _order_id(self) -> str | int:
        """The `id` in the order's payload, by which receivers know it."""
        events = Event.objects.of_orders().filter(source=self.order.source, order_pk=self.order.order_pk)
        event = events.exclude(topic=REDACTED).filter(payload__isnull=False).order_by("-sequence").first()
        found = digests.published_order(event).get("id") if event else None
        if found is None:
            rows = Order.objects.filter(pk__in=self._built_in_keys())
            found = rows.values_list("public_id", flat=True).first()
        return found if isinstance(found, int) else str(found or self.order.order_pk)

    def _built_in_keys(self) -> list[Any]:
        """The order's key if it is a built-in one, otherwise nothing."""
        is_built_in = self.source.get_model()._meta.concrete_model is Order
        return sources.valid_keys(Order, [self.order.order_pk]) if is_built_in else []

    def _renew_digest(self) -> None:
        """The digest of the order as it is published now. Without an event to make it of, none."""
        row = OrderDigest.objects.filter(source=self.order.source, order_pk=self.order.order_pk).exclude(digest="")
        sequence = row.values_list("sequence", flat=True).first()
        if sequence is None:
            return
        event = Event.objects.filter(pk=sequence, published_at__isnull=False).first()
        if event is None:
            row.delete()
        else:
            row.update(digest=digests.digest_of(event))
